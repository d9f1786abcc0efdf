"""`CeleryEmitter`: batches of events as tasks of Celery, whose workers deliver them (extra ``celery``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.options import EmitterOptions, with_short_pauses
from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.policies import Batching

if TYPE_CHECKING:
    from celery import Celery


class CeleryEmitter(BufferedEmitter):
    """
    Hands batches of events to Celery, for ``celery -A snowplow_aio.celery_app worker`` to deliver.

    A batch is one message for the task ``snowplow_aio.deliver``. It is published
    in a thread of its own, so that a broker that is slow, frozen or gone never
    makes `track` wait: events stay in memory and are tried again.

    Args:
        app: The application's own Celery app. Its broker is used, and the app is not
            changed. None for an app of ours, which ``SNOWPLOW_CELERY_BROKER_URL`` and
            the module ``snowplow_celery_config`` configure.

        queue: The queue of the batches; None for ``SNOWPLOW_CELERY_QUEUE``, or ``snowplow``
            if that is not set.

        batch_size: Number of waiting events that makes a batch due, from 1.

        max_batch: Most events in a batch, from 1.

        byte_limit: Most bytes of a batch as JSON, from 1. An event that is larger travels alone.

        flush_interval: Seconds after which a waiting event is handed over in any case, above 0;
            None for never.

        publish_timeout: Seconds to wait for the broker's answer, above 0.

        name: The emitter's name in statistics and logs.

        **options: Other arguments of `BufferedEmitter`. Without `retry`, pauses grow to five
            seconds only: a broker is near, and back soon.

    Raises:
        ConfigurationError: If an argument has the wrong type or is out of range, or if ``accept_content``
            of the app lacks JSON: its workers would throw the events away.
        ModuleNotFoundError: If Celery is not installed.

    Example:
        >>> app = Celery("shop", broker="redis://redis.example.com:6379/1")
        >>> emitter = CeleryEmitter(app, queue="events")
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
            # Loaded here only: programs without such an emitter need no Celery, nor the time to load it.
            from celery import Celery  # noqa: PLC0415

            from snowplow_aio.celery.app import from_environment  # noqa: PLC0415
            from snowplow_aio.celery.transport import CeleryTransport  # noqa: PLC0415
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
            app, queue = from_environment(app, queue)
        transport = CeleryTransport(app, queue=queue, publish_timeout=publish_timeout)
        # A connection of Celery's is for one thread, and one batch at a time keeps the order of events.
        batching = Batching.one_at_a_time(
            batch_size=batch_size,
            max_batch=max_batch,
            byte_limit=byte_limit,
            flush_interval=flush_interval,
        )
        super().__init__(transport, batching=batching, name=name, **with_short_pauses(options))
