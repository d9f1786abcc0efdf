"""
The tasks of a worker: one delivers a batch of events, one tries dead letters again.

A batch is acknowledged when each of its events has a place: it was delivered, it
is in the queue of dead letters, or it went back to the broker in a new message.
The transport is handed in.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

from snowplow_aio.abc import Response, Transport
from snowplow_aio.celery.messages import DEAD, DELIVER, check_app, publish, publish_again
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.hooks import Hooks
from snowplow_aio.delivery.loop import DeliveryLoop
from snowplow_aio.delivery.memory_store import MemoryStore
from snowplow_aio.exceptions import ConfigurationError, InvalidEventError
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.runtime.foreign_text import events_text, shown
from snowplow_aio.runtime.optional import Needs
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.settings import Settings

with Needs("snowplow-aio[celery]"):
    from celery import Celery, Task, signals
    from celery.exceptions import Reject

log: QuietLogger = quiet_logger("snowplow_aio.celery")
# A batch that is kept comes back after a second, and so do all others.
_throttled = ThrottledLog(log)

# A worker holds a message back during a pause. A minute is far below the time after which
# Redis as a broker takes a worker for dead (`visibility_timeout`).
_PAUSES = Retry(initial_delay=1.0, max_delay=60.0)

# Seconds before a broker that takes nothing back is asked again.
_REQUEUE_SECONDS = 1.0

# Celery's own default: a connection of its pool may have ended while nobody used it.
_RETRY: dict[str, Any] = {
    "retry": True,
    "retry_policy": {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
}

# In seconds, longer than any worker runs: None would be the app's own limit.
_NO_LIMIT = 10 * 365 * 86_400


class Destination(NamedTuple):
    """Where a worker delivers."""

    transport: Transport
    """Sends the events."""

    max_batch: int
    """Most events in one request."""


def add_tasks(
    app: Celery, read_settings: Callable[[], Settings], connect: Callable[[Settings], Destination]
) -> None:
    """
    Add the tasks to *app*.

    Args:
        app: Any Celery app.

        read_settings: Returns the settings. Called in a worker, by the first task of each thread.

        connect: Returns a new destination for these settings. Called as `read_settings` is.

    Raises:
        ConfigurationError: If workers of *app* would not accept the messages. They do not start either.
    """
    _refuse_to_throw_away(app)
    thread = _WorkerThread(read_settings, connect)

    def deliver(task: Task[Any, Any], *args: Any, **kwargs: Any) -> None:
        _guarded(_deliver, task, thread, args, kwargs)

    def dead(task: Task[Any, Any], *args: Any, **kwargs: Any) -> None:
        _guarded(_try_again, task, thread, args, kwargs)

    options: dict[str, Any] = {
        "bind": True,
        "acks_late": True,
        "reject_on_worker_lost": True,
        # A task that was ended from outside is not acknowledged. A time limit of the app's would end
        # one, and not all versions of Celery keep its message then. So there is none: it ends in time.
        "acks_on_failure_or_timeout": False,
        "time_limit": _NO_LIMIT,
        "soft_time_limit": _NO_LIMIT,
        "ignore_result": True,
        "serializer": "json",
        "max_retries": None,
        # A shared task would be in every app of the process, the default one too.
        "shared": False,
    }
    # Its types know only the use as a decorator.
    task: Any = app.task
    task(name=DELIVER, **options)(deliver)
    task(name=DEAD, **options)(dead)


def _refuse_to_throw_away(app: Celery) -> None:
    check_app(app)

    def check_again(sender: Any, **_: Any) -> None:
        if sender.app is not app:
            return
        try:
            check_app(app)
        except ConfigurationError as error:
            # Celery would log any other error here and start all the same.
            raise SystemExit(f"snowplow_aio: {error}") from None

    # Settings may change until a worker starts.
    signals.worker_init.connect(check_again, weak=False)


# --- one task


class _DeadLetter(NamedTuple):
    """An event that is not tried again by itself, and why."""

    event: Any
    reason: str
    status: int | None


_Work = Callable[["Task[Any, Any]", "_WorkerThread", Sequence[Any], Mapping[str, Any]], None]


def _guarded(
    work: _Work, task: Task[Any, Any], thread: _WorkerThread, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Do *work*. If it fails, the broker keeps the message."""
    try:
        work(task, thread, args, kwargs)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be lost
        _complain("a batch cannot be handled and is kept", error)
    else:
        return
    time.sleep(_REQUEUE_SECONDS)
    raise Reject("kept", requeue=True)


def _deliver(
    task: Task[Any, Any], thread: _WorkerThread, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Deliver a batch. The rest of it goes back to the broker before the message is acknowledged."""
    payloads, letters, anonymous = _read(args, kwargs)
    given_up: list[_DeadLetter] = []
    rest = payloads
    try:
        given_up, rest = thread.sender().send(payloads)
    except Exception as error:  # noqa: BLE001
        # A fault of ours or of the settings. The events wait until somebody has mended it.
        _complain("a batch cannot be delivered and is kept", error)
    delivered = _said_of(len(payloads) - len(rest) - len(given_up), len(letters) + len(given_up))
    events: list[Any] = [payload.fields() for payload in rest]
    events += _put_aside(task, thread, letters + given_up, anonymous=anonymous)
    if not events:
        log.info("%s", delivered)
        return
    countdown = _countdown(task.request.retries)
    left = f"{len(events)} {'is' if len(events) == 1 else 'are'} left"
    log.warning("%s, %s; next attempt in %.0f s", delivered, left, countdown)
    details = {"anonymous": anonymous}
    with task.app.producer_or_acquire() as producer:
        publish_again(task.app, producer, task.request, events, details, countdown=countdown, **_RETRY)


def _said_of(delivered: int, refused: int) -> str:
    return f"{events_text(delivered)} delivered" + (f", {refused} refused" if refused else "")


def _try_again(
    task: Task[Any, Any], thread: _WorkerThread, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Deliver dead letters again. Only a worker that is told to read their queue gets here."""
    batch, anonymous = args[0], kwargs.get("anonymous", False)
    _publish(task, DELIVER, thread.settings().celery_queue, batch, {"anonymous": anonymous})


def _countdown(retries: int) -> float:
    """Return the seconds to wait before a batch is tried again that was retried *retries* times."""
    # From a half to the whole of the longest pause: an attempt may hold a process of the pool for
    # as long as a delivery may take, so that the next one must not follow at once.
    chance = (1 + random.random()) / 2  # noqa: S311 - nothing secret
    return _PAUSES.pause_after(retries + 1, random=chance)


def _read(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Payload], list[_DeadLetter], bool]:
    """Return the events of a message, dead letters of everything else in it, and whether it is anonymous."""
    anonymous = kwargs.get("anonymous", False)
    if len(args) != 1 or not isinstance(args[0], list) or set(kwargs) - {"anonymous"}:
        whole = {"args": list(args), "kwargs": dict(kwargs)}
        return [], [_DeadLetter(whole, "not a batch of events", None)], False
    payloads, letters = [], []
    for event in args[0]:
        try:
            payloads.append(Payload(event, anonymous=anonymous is not False))
        except InvalidEventError as error:
            letters.append(_DeadLetter(event, str(error), None))
    return payloads, letters, anonymous is not False


def _put_aside(
    task: Task[Any, Any], thread: _WorkerThread, letters: Sequence[_DeadLetter], *, anonymous: bool
) -> list[Any]:
    """Put *letters* into the queue of dead letters; return the events that the broker did not take."""
    rest: list[Any] = []
    for (reason, status), group in groupby(letters, lambda letter: letter[1:]):
        events = [letter.event for letter in group]
        details = {"reason": reason, "status": status, "anonymous": anonymous}
        try:
            queue = f"{thread.settings().celery_queue}.dead"
            _publish(task, DEAD, queue, events, details)
        except Exception as error:  # noqa: BLE001
            _complain("refused events cannot be put aside and are kept", error, count=len(events))
            rest += events
        else:
            log.error("%d refused events are put aside in the queue %s", len(events), queue)
    return rest


def _publish(
    task: Task[Any, Any], name: str, queue: str, events: Sequence[Any], details: dict[str, Any]
) -> None:
    with task.app.producer_or_acquire() as producer:
        publish(task.app, producer, name, events, details, queue=queue, **_RETRY)


def _complain(message: str, error: Exception, *, count: int = 1) -> None:
    # Without a traceback: it would have the whole text of the error, which may be that of a broker's URL.
    _throttled.log(
        message,
        logging.ERROR,
        f"{message}: %s: %s",
        type(error).__name__,
        shown(error),
        count=count,
    )


# --- one thread of a worker


class _WorkerThread(threading.local):
    """
    What a thread of a worker keeps from task to task; each thread sees its own.

    A process of the prefork pool has one such thread, the threads pool has several.
    """

    def __init__(
        self, read_settings: Callable[[], Settings], connect: Callable[[Settings], Destination]
    ) -> None:
        self._read_settings = read_settings
        self._connect = connect
        self._settings: Settings | None = None
        self._sender: _BatchSender | None = None

    def settings(self) -> Settings:
        self._settings = self._settings or self._read_settings()
        return self._settings

    def sender(self) -> _BatchSender:
        if self._sender is None:
            settings = self.settings()
            self._sender = _BatchSender(self._connect(settings), settings.celery_delivery_timeout)
        return self._sender


class _BatchSender:
    """Delivers one batch after the other. The event loop and connections are kept in between."""

    def __init__(self, destination: Destination, seconds: float) -> None:
        self._transport = destination.transport
        self._batching = Batching(max_batch=destination.max_batch)
        self._seconds = seconds
        self._runner = asyncio.Runner()
        atexit.register(self._close)

    def send(self, payloads: Sequence[Payload]) -> tuple[list[_DeadLetter], list[Payload]]:
        """Deliver *payloads* as far as time allows; return those that were given up, and the rest."""
        return self._runner.run(self._send(payloads)) if payloads else ([], [])

    async def _send(self, payloads: Sequence[Payload]) -> tuple[list[_DeadLetter], list[Payload]]:
        now = asyncio.get_running_loop().time()
        store, counters = _BatchStore(payloads), Counters()
        store.add_nowait(payloads, now=now, window=counters.accept(len(payloads)))
        delivery = DeliveryLoop(
            name="celery worker",
            store=store,
            transport=_KeptTransport(self._transport),
            batching=self._batching,
            retry=Retry(),
            counters=counters,
            hooks=Hooks(()),
        )
        window = counters.close_window()
        delivery.flush_soon(window, now)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await delivery.deliver(until=window)
        return store.letters, [event.payload for event in store.withdraw()]

    def _close(self) -> None:
        with self._runner as runner:
            runner.run(self._transport.aclose())


class _KeptTransport(Transport):
    """Leaves a transport open when a delivery ends, for the next one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.request_bytes = transport.request_bytes
        self.event_bytes = transport.event_bytes
        self.max_events = transport.max_events

    async def send(self, payloads: Sequence[Payload]) -> Response:
        return await self._transport.send(payloads)

    def abandon(self) -> None:
        self._transport.abandon()


class _BatchStore(MemoryStore):
    """Holds one batch, and keeps the events that are given up."""

    def __init__(self, payloads: Sequence[Payload]) -> None:
        size = sum(payload.size for payload in payloads)
        super().__init__(capacity=len(payloads), capacity_bytes=size)
        self.letters: list[_DeadLetter] = []

    async def give_up(self, events: Sequence[StoredEvent], *, reason: str, status: int | None) -> None:
        self.letters += [_DeadLetter(event.payload.fields(), reason, status) for event in events]
        await self.ack(events)
