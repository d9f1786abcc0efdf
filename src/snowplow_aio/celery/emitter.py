"""Batches of events as tasks of Celery, whose workers deliver them; needs the extra ``celery``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.options import EmitterOptions, with_short_pauses
from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.policies import Batching
from snowplow_aio.settings import Settings

if TYPE_CHECKING:
    from celery import Celery


class CeleryEmitter(BufferedEmitter):
    """
    Hands batches of events to Celery, for ``celery -A snowplow_aio.celery_app worker`` to deliver.

    A batch is one message for the task ``snowplow_aio.deliver``. It is published
    in a thread of its own, so that a broker that is slow, frozen or gone never
    reaches `track`: the events wait here and are tried again.

    Args:
        app: The application's own Celery app, whose broker is used and which is not
            changed; where it is None, one of ours with the broker of the environment
            (``SNOWPLOW_CELERY_BROKER_URL``) or of the module ``snowplow_celery_config``.

        queue: The queue of the batches; ``SNOWPLOW_CELERY_QUEUE`` or ``snowplow`` where it is None.

        batch_size: Waiting events that make a batch due, from 1.

        max_batch: Most events in a batch, from 1.

        byte_limit: Most bytes of a batch, as JSON. An event that is larger travels alone.

        flush_interval: Seconds after which a waiting event is handed over in any case; None for never.

        publish_timeout: Seconds after which a broker that does not answer is given up, above 0.

        name: What statistics and logs call the emitter.

        **options: The rest of what `BufferedEmitter` takes. Where there is no `retry`, pauses
            are up to five seconds: a broker is near, and back soon.

    Raises ConfigurationError when a value is out of range, ModuleNotFoundError
    when Celery is not installed.
    """

    def __init__(
        self,
        app: Celery | None = None,
        *,
        queue: str | None = None,
        batch_size: int = 50,
        max_batch: int = 500,
        byte_limit: int = 500_000,
        flush_interval: float | None = 1.0,
        publish_timeout: float = 5.0,
        name: str = "celery",
        **options: Unpack[EmitterOptions],
    ) -> None:
        try:
            # Only here: who has no such emitter needs no Celery, nor the time it takes to load.
            from celery import Celery  # noqa: PLC0415

            from snowplow_aio.celery.transport import CeleryTransport, new_app  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if error.name != "celery":
                raise
            message = 'CeleryEmitter needs Celery: pip install "snowplow-aio[celery]"'
            raise ModuleNotFoundError(message, name="celery") from None
        check_argument(app is None or isinstance(app, Celery), "app", app, "must be a Celery app or None")
        rule = "must be a non-empty string"
        check_argument(queue is None or (isinstance(queue, str) and queue != ""), "queue", queue, rule)
        check_count("byte_limit", byte_limit)
        check_seconds("publish_timeout", publish_timeout)
        if app is None or queue is None:
            # Who says both is not asked for the environment.
            settings = Settings.read()
            app, queue = app or new_app(settings), queue or settings.celery_queue
        transport = CeleryTransport(app, queue=queue, publish_timeout=publish_timeout)
        # Celery's connections are made for one thread each.
        batching = Batching.one_at_a_time(
            batch_size=batch_size,
            max_batch=max_batch,
            byte_limit=byte_limit,
            flush_interval=flush_interval,
        )
        super().__init__(transport, batching=batching, name=name, **with_short_pauses(options))
