"""
Batches of events as messages of Celery; needs the extra ``celery``.

Celery publishes synchronously, and by default waits for its broker for ever. So
each batch is published in a thread, once, over a connection of our own that has
time-outs. The delivery loop decides whether and when it is published again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import move_on_after
from redis import exceptions as redis

from snowplow_aio.abc import Response, Transport
from snowplow_aio.celery.messages import DELIVER, check_app, publish
from snowplow_aio.exceptions import ConfigurationError, TransportError
from snowplow_aio.model.payload import Payload
from snowplow_aio.runtime import fork
from snowplow_aio.runtime.foreign_text import shown
from snowplow_aio.runtime.optional import Needs

with Needs("snowplow-aio[celery]"):
    import amqp
    from celery import Celery
    from celery.exceptions import ImproperlyConfigured, QueueNotFound
    from kombu import Connection
    from kombu.exceptions import VersionMismatch

# Seconds for closing a connection to a broker that may not answer.
_CLOSE_SECONDS = 0.1

# Errors that do not pass by themselves: somebody must change a setting, here or at the broker.
_MISCONFIGURED = (
    QueueNotFound,
    ImproperlyConfigured,
    VersionMismatch,
    ImportError,
    # kombu raises the first for a URL whose transport it does not know, and the second for one that it
    # cannot read.
    KeyError,
    ValueError,
    amqp.AccessRefused,
    amqp.NotAllowed,
    amqp.PreconditionFailed,
    redis.AuthenticationError,
    redis.NoPermissionError,
)


class CeleryTransport(Transport):
    """
    Publishes each batch as one message for the task ``snowplow_aio.deliver``.

    Args:
        app: The Celery app whose broker is used.

        queue: The queue that the messages go to.

        publish_timeout: Seconds to wait for the broker's answer, above 0.

    Raises:
        ConfigurationError: If workers of *app* would not accept the messages.

    Example:
        >>> app = Celery("shop", broker="redis://redis.example.com:6379/1")
        >>> transport = CeleryTransport(app, queue="snowplow", publish_timeout=5)
    """

    # JSON has a comma and a space between two events.
    event_bytes: int = 2

    def __init__(self, app: Celery, *, queue: str, publish_timeout: float) -> None:
        check_app(app)
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
    Do *work* in a thread of its own, and raise what it raises.

    The thread is a daemon, so that a program can end while a broker does not
    answer. Those of asyncio and anyio are not.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        # The caller may have been cancelled.
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

    A thread whose caller has given up keeps the connection until its time-outs end
    it. There can be only one such thread.
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

        Raises:
            TransportError: If the thread of an earlier batch has still not ended.
            Exception: The error of Celery or one of its libraries, without the errors that wrap it.
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
            # After a failure the answer may still come, and would be taken for that to the next batch.
            if not is_done or not self._is_wanted:
                self._drop()
            self._lock.release()

    def _send(self, events: list[dict[str, str]], *, anonymous: bool) -> None:
        if self._connection is None:
            # The settings may have changed since the app was handed over.
            check_app(self._app)
            self._connection = self._connect()
        with self._app.amqp.Producer(self._connection.default_channel, auto_declare=False) as producer:
            publish(
                self._app,
                producer,
                DELIVER,
                events,
                {"anonymous": anonymous},
                queue=self._queue,
                retry=False,
                timeout=self._timeout,
                confirm_timeout=self._timeout,
            )

    def _connect(self) -> Connection:
        timeout = self._timeout
        options: dict[str, Any] = {
            "max_retries": 0,
            # Redis.
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry_on_timeout": False,
            # RabbitMQ, which may lose a message that it has not confirmed.
            "read_timeout": timeout,
            "write_timeout": timeout,
            "confirm_publish": True,
        }
        connection = self._app.connection_for_write(
            connect_timeout=timeout,
            # Between two batches nothing would send heartbeats, and RabbitMQ would take us for dead.
            heartbeat=0,
            transport_options=options,
        )
        # Each broker of a list is tried once.
        return connection.ensure_connection(max_retries=max(0, len(connection.alt) - 1))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.collect()

    def close(self) -> None:
        """Close the connection now, or when the thread that uses it ends."""
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
    """Return why the broker did not take a batch, without any part of an event."""
    if isinstance(error, QueueNotFound):
        return "the app does not know the queue: add it to task_queues"
    if isinstance(error, ConfigurationError | VersionMismatch | ImportError):
        return shown(error)
    if isinstance(error, KeyError | ValueError):
        # Its text may be a part of the URL, and that the password.
        return "the URL of the broker cannot be read: see broker_url"
    if isinstance(error, OSError | redis.RedisError | amqp.AMQPError):
        return f"the broker did not take the batch: {shown(error)}"
    return "the broker did not take the batch"
