"""
Batches of events as messages of Celery; needs the extra ``celery``.

Celery publishes synchronously and, left to itself, waits for a broker for ever.
So it is done in a worker thread, once, over a connection of our own that has
time-outs; whether and when it is done again is for the delivery loop to say.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

import amqp
from anyio import move_on_after
from celery import Celery
from celery.app.defaults import DEFAULTS
from celery.exceptions import ImproperlyConfigured, QueueNotFound
from kombu import Connection
from kombu.exceptions import VersionMismatch
from redis import exceptions as redis

from snowplow_aio.abc import Response, Transport
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.payload import Payload
from snowplow_aio.runtime import fork
from snowplow_aio.settings import REDIS_URL, Settings

DELIVER = "snowplow_aio.deliver"
DEAD = "snowplow_aio.dead"

# The module that configures our app where it can be imported, as in the trackers before this one.
CONFIG_MODULE = "snowplow_celery_config"

# For saying good-bye to a broker that may not answer.
_CLOSE_SECONDS = 0.1

# What does not pass by itself: somebody must change a setting, here or at the broker.
_MISCONFIGURED = (
    QueueNotFound,
    ImproperlyConfigured,
    VersionMismatch,
    ImportError,
    # kombu's answer to a URL with a transport that it does not know.
    KeyError,
    amqp.AccessRefused,
    amqp.NotAllowed,
    amqp.PreconditionFailed,
    redis.AuthenticationError,
    redis.NoPermissionError,
)


def new_app(settings: Settings) -> Celery:
    """
    Return a Celery app of our own; the process's default app is not touched.

    It is configured by the module ``snowplow_celery_config`` where there is one,
    else by us; but the broker of *settings* comes before the module's, and the
    queue and the serialiser are always ours, so that emitters and workers agree.
    """
    app = Celery("snowplow", set_as_current=False)
    if find_spec(CONFIG_MODULE) is not None:
        app.config_from_object(CONFIG_MODULE)
    conf = app.conf
    defaults: dict[str, Any] = {
        "broker_url": REDIS_URL,
        # Celery's own gives up after 100 attempts.
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "task_ignore_result": True,
        # A batch is hundreds of events: another worker may be free for the next one.
        "worker_prefetch_multiplier": 1,
    }
    # Not `add_defaults`, which would come before what the module says.
    conf.update({name: value for name, value in defaults.items() if conf[name] == DEFAULTS[name]})
    # Redis gives what a worker holds to another after this time: longer than any of it is
    # held, which is a minute's countdown and a few deliveries.
    visibility = math.ceil(240 + 6 * settings.celery_delivery_timeout)
    # What the module says of the transport does not put aside the rest.
    options = {"visibility_timeout": visibility, "confirm_publish": True} | conf.broker_transport_options
    conf.update(
        broker_transport_options=options,
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=settings.celery_queue,
    )
    if settings.celery_broker_url:
        # All three: Celery would take CELERY_BROKER_URL, which may be another app's, before the first.
        names = ("broker_url", "broker_read_url", "broker_write_url")
        conf.update(dict.fromkeys(names, settings.celery_broker_url))
    return app


class CeleryTransport(Transport):
    """
    Publishes each batch as one message for the task ``snowplow_aio.deliver``.

    Args:
        app: The app whose broker is used.

        queue: The queue of the messages.

        publish_timeout: Seconds after which a broker that does not answer is given up.
    """

    # A comma and a space.
    event_bytes: int = 2

    def __init__(self, app: Celery, *, queue: str, publish_timeout: float) -> None:
        self._app = app
        self._queue = queue
        self._publish_timeout = publish_timeout
        self._publisher = _Publisher(app, queue, publish_timeout)

    async def send(self, payloads: Sequence[Payload]) -> Response:
        try:
            async with asyncio.timeout(self._publish_timeout):
                await _in_a_thread(partial(self._publisher.publish, payloads))
        except TimeoutError as error:
            raise TransportError(f"no answer within {self._publish_timeout:g} s") from error
        except _MISCONFIGURED as error:
            reason, detail = type(error).__name__, _explain(error)
            return Response(status=0, reason=reason, detail=detail, is_misconfigured=True)
        except TransportError:
            raise
        except Exception as error:
            # Brokers have errors of their own, and Celery does not wrap all of them.
            raise TransportError(_explain(error)) from error
        return Response(status=200)

    def abandon(self) -> None:
        fork.never_finalize(self._publisher)
        self._publisher = _Publisher(self._app, self._queue, self._publish_timeout)

    async def aclose(self) -> None:
        with move_on_after(_CLOSE_SECONDS):
            await _in_a_thread(self._publisher.close)


async def _in_a_thread(work: Callable[[], None]) -> None:
    """
    Do *work* in a thread, and raise what it raises.

    The thread is a daemon, as those of asyncio and anyio are not: a program ends
    though a broker does not answer.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        # Nobody may wait any more.
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001 - raised where it is waited for
            error = raised
        # The loop may be closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="snowplow_aio celery", daemon=True).start()
    await done


class _Publisher:
    """
    A connection to the broker of *app*, for one thread at a time.

    A thread that nobody waits for any more keeps it until it ends, which the
    time-outs of the connection see to. Only one such thread can be left over.
    """

    def __init__(self, app: Celery, queue: str, timeout: float) -> None:
        self._app = app
        self._queue = queue
        self._timeout = timeout
        self._lock = threading.Lock()
        self._is_wanted = False
        self._connection: Connection | None = None

    def publish(self, payloads: Sequence[Payload]) -> None:
        """
        Publish a batch, once.

        Raises whatever Celery and its libraries do, but their errors unwrapped.
        """
        if not self._lock.acquire(blocking=False):
            raise TransportError("the broker has still not answered an earlier batch")
        self._is_wanted = True
        is_done = False
        try:
            self._send([payload.fields() for payload in payloads], anonymous=payloads[0].anonymous)
            is_done = True
        except Exception as error:  # noqa: BLE001 - raised again
            # kombu's own errors say less than what they were raised from.
            raise _root(error) from None
        finally:
            # After a failure nobody knows what is still to come on the connection.
            if not is_done or not self._is_wanted:
                self._drop()
            self._lock.release()

    def _send(self, events: list[dict[str, str]], *, anonymous: bool) -> None:
        if self._connection is None:
            self._connection = self._connect()
        about = f"<{len(events)} events>"
        with self._app.amqp.Producer(self._connection.default_channel, auto_declare=False) as producer:
            self._app.send_task(
                DELIVER,
                args=[events],
                kwargs={"anonymous": anonymous},
                queue=self._queue,
                producer=producer,
                serializer="json",
                retry=False,
                timeout=self._timeout,
                confirm_timeout=self._timeout,
                ignore_result=True,
                add_to_parent=False,
                # What logs and monitors show of the arguments: nothing of an event.
                argsrepr=about,
                kwargsrepr="{}",
            )

    def _connect(self) -> Connection:
        timeout = self._timeout
        options: dict[str, Any] = {
            "max_retries": 0,
            # Redis.
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry_on_timeout": False,
            # RabbitMQ, which without a confirmation may lose what it was sent.
            "read_timeout": timeout,
            "write_timeout": timeout,
            "confirm_publish": True,
        }
        connection = self._app.connection_for_write(
            connect_timeout=timeout,
            # Nobody would send them between two batches, and RabbitMQ would take us for dead.
            heartbeat=0,
            transport_options=options,
        )
        # Each broker of a list once.
        return connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.collect()

    def close(self) -> None:
        """Close the connection, now or when the thread that has it is done."""
        self._is_wanted = False
        if self._lock.acquire(blocking=False):
            try:
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.release()
            finally:
                self._lock.release()


def _root(error: Exception) -> Exception:
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _explain(error: Exception) -> str:
    """Return why the broker did not take a batch, without anything of an event."""
    if isinstance(error, QueueNotFound):
        return "the app does not know the queue: add it to task_queues"
    if isinstance(error, VersionMismatch | ImportError):
        return str(error)
    if isinstance(error, OSError | redis.RedisError | amqp.AMQPError):
        return f"the broker did not take the batch: {error}"
    return "the broker did not take the batch"
