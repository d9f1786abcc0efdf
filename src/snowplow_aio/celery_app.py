"""
What ``celery -A snowplow_aio.celery_app worker`` loads: the task that delivers batches of events.

Its app is configured by the environment (`Settings`) and, where there is one,
by the module ``snowplow_celery_config``. An app of one's own learns the task by
`register`. The pools ``prefork``, ``solo`` and ``threads`` can run it.
"""

from __future__ import annotations

import asyncio
import atexit
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

from celery import Celery, Task
from celery.exceptions import Reject, TaskPredicate

from snowplow_aio.celery.transport import DEAD, DELIVER, new_app
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.hooks import Hooks
from snowplow_aio.delivery.loop import DeliveryLoop
from snowplow_aio.delivery.memory_store import MemoryStore
from snowplow_aio.exceptions import ConfigurationError, InvalidEventError
from snowplow_aio.http.transport import Collector, HttpTransport
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.runtime.throttled_log import QuietLogger, quiet_logger
from snowplow_aio.settings import Settings

log: QuietLogger = quiet_logger("snowplow_aio.celery")

# Workers hold messages back for so long: far below what Redis as a broker takes
# for the end of a worker (`visibility_timeout`).
_MOST_SECONDS = 60.0

# A broker that takes nothing back is asked again after so many seconds.
_REQUEUE_SECONDS = 1.0

# Longer than any worker runs, in seconds; None would be the app's own limit.
_NO_LIMIT = 10 * 365 * 86_400


def register(app: Celery, settings: Settings | None = None) -> None:
    """
    Have the workers of *app* deliver what a `CeleryEmitter` hands them.

    Args:
        app: The application's own Celery app.

        settings: Where to deliver; the environment's where it is None, read when
            a worker delivers for the first time.
    """
    couriers = _Couriers(settings)

    def deliver(task: Task[Any, Any], *args: Any, **kwargs: Any) -> None:
        _guarded(_work, task, couriers, args, kwargs)

    def dead(task: Task[Any, Any], *args: Any, **kwargs: Any) -> None:
        _guarded(_revive, task, couriers, args, kwargs)

    options: dict[str, Any] = {
        "bind": True,
        "acks_late": True,
        "reject_on_worker_lost": True,
        # A task that was ended from outside is not acknowledged. But a limit of the app's would end
        # one, and not all versions of Celery keep its message then; it ends by itself in time.
        "acks_on_failure_or_timeout": False,
        "time_limit": _NO_LIMIT,
        "soft_time_limit": _NO_LIMIT,
        "ignore_result": True,
        "serializer": "json",
        "max_retries": None,
        # It would be in every app of the process, the default one too.
        "shared": False,
    }
    # Its types know only the use as a decorator.
    task: Any = app.task
    task(name=DELIVER, **options)(deliver)
    task(name=DEAD, **options)(dead)


def __getattr__(name: str) -> Any:
    # Not before somebody asks: `register` alone needs no app of ours, and no collector in the environment.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = Settings.read()
    _collector(settings)
    own = new_app(settings)
    register(own, settings)
    globals()["app"] = own
    return own


# --- one task


class _Letter(NamedTuple):
    """An event that is not to be tried again, and why."""

    event: Any
    reason: str
    status: int | None


_Work = Callable[["Task[Any, Any]", "_Couriers", Sequence[Any], Mapping[str, Any]], None]


def _guarded(
    work: _Work, task: Task[Any, Any], couriers: _Couriers, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Do *work*; where it fails, the broker keeps the message."""
    try:
        work(task, couriers, args, kwargs)
    except TaskPredicate as error:
        if not isinstance(error, Reject):
            raise
        # Celery could not publish the rest of the batch, and would throw away the whole.
    except Exception:
        log.exception("a batch cannot be handled and is kept")
    else:
        return
    time.sleep(_REQUEUE_SECONDS)
    raise Reject("kept", requeue=True)


def _work(task: Task[Any, Any], couriers: _Couriers, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Deliver a batch; what is left of it goes back to the broker before the message is acknowledged."""
    payloads, letters, anonymous = _read(args, kwargs)
    given_up: list[_Letter] = []
    left = payloads
    try:
        given_up, left = couriers.here().deliver(payloads)
    except Exception:
        # A fault of ours or of the settings: the events wait for somebody to mend it.
        log.exception("a batch cannot be delivered and is kept")
    delivered = len(payloads) - len(left) - len(given_up)
    events: list[Any] = [payload.fields() for payload in left]
    events += _bury(task, couriers, letters + given_up, anonymous=anonymous)
    if not events:
        log.info("%d events delivered", delivered)
        return
    countdown = _countdown(task.request.retries, random.random())  # noqa: S311 - nothing secret
    message = "%d events delivered, %d are left; next attempt in %.0f s"
    log.warning(message, delivered, len(events), countdown)
    again: dict[str, Any] = {"args": [events], "kwargs": {"anonymous": anonymous}, **_shown(len(events))}
    raise task.retry(countdown=countdown, throw=False, **again)


def _revive(
    task: Task[Any, Any], couriers: _Couriers, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Have events tried again that were put aside: only where a worker is told to read their queue."""
    batch, anonymous = args[0], kwargs.get("anonymous", False)
    _publish(task, DELIVER, couriers.settings().celery_queue, batch, {"anonymous": anonymous})


def _countdown(retries: int, chance: float) -> float:
    """Return the seconds after which a batch is tried again, by a number in [0, 1)."""
    return min(_MOST_SECONDS, 2.0 ** min(retries, 10)) * (1 + chance) / 2


def _read(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Payload], list[_Letter], bool]:
    """Return the events of a message, what in it is none, and whether they are anonymous."""
    anonymous = kwargs.get("anonymous", False)
    if len(args) != 1 or not isinstance(args[0], list) or set(kwargs) - {"anonymous"}:
        whole = {"args": list(args), "kwargs": dict(kwargs)}
        return [], [_Letter(whole, "not a batch of events", None)], False
    payloads, letters = [], []
    for event in args[0]:
        try:
            payloads.append(Payload(event, anonymous=anonymous is not False))
        except InvalidEventError as error:
            letters.append(_Letter(event, str(error), None))
    return payloads, letters, anonymous is not False


def _bury(
    task: Task[Any, Any], couriers: _Couriers, letters: Sequence[_Letter], *, anonymous: bool
) -> list[Any]:
    """Put *letters* into the queue of the dead; return the events that the broker did not take."""
    left: list[Any] = []
    for (reason, status), group in groupby(letters, lambda letter: letter[1:]):
        events = [letter.event for letter in group]
        details = {"reason": reason, "status": status, "anonymous": anonymous}
        try:
            queue = f"{couriers.settings().celery_queue}.dead"
            _publish(task, DEAD, queue, events, details)
        except Exception:
            log.exception("%d refused events cannot be put aside and are kept", len(events))
            left += events
        else:
            log.error("%d refused events are put aside in the queue %s", len(events), queue)
    return left


def _publish(
    task: Task[Any, Any], name: str, queue: str, events: Sequence[Any], details: dict[str, Any]
) -> None:
    task.app.send_task(
        name,
        args=[events],
        kwargs=details,
        queue=queue,
        serializer="json",
        ignore_result=True,
        add_to_parent=False,
        **_shown(len(events)),
    )


def _shown(count: int) -> dict[str, Any]:
    """Return what logs and monitors show of a message's arguments: nothing of an event."""
    return {"argsrepr": f"<{count} events>", "kwargsrepr": "{}"}


# --- one thread of a worker


def _collector(settings: Settings) -> Collector:
    if settings.collector is None:
        rule = "must be set to the collector's host or URL"
        raise ConfigurationError.about("SNOWPLOW_COLLECTOR", None, rule)
    try:
        return Collector.at(settings.collector, protocol=None, port=None, post_path=None)
    except ConfigurationError as error:
        raise ConfigurationError(f"SNOWPLOW_COLLECTOR: {error}") from None


class _Couriers(threading.local):
    """The courier of each thread: a process of the prefork pool has one, the threads pool several."""

    def __init__(self, settings: Settings | None) -> None:
        self._settings = settings
        self._courier: _Courier | None = None

    def settings(self) -> Settings:
        self._settings = self._settings or Settings.read()
        return self._settings

    def here(self) -> _Courier:
        if self._courier is None:
            self._courier = _Courier(self.settings())
        return self._courier


class _Courier:
    """Delivers one batch after the other; connections and event loop are kept in between."""

    def __init__(self, settings: Settings) -> None:
        is_get = settings.method == "get"
        self._seconds = settings.celery_delivery_timeout
        self._batching = Batching(max_batch=1 if is_get else 500)
        self._transport = _KeptTransport(_collector(settings), method=settings.method)
        self._runner = asyncio.Runner()
        atexit.register(self._close)

    def deliver(self, payloads: Sequence[Payload]) -> tuple[list[_Letter], list[Payload]]:
        """Deliver *payloads* as far as time allows; return what was given up and what is left."""
        return self._runner.run(self._deliver(payloads)) if payloads else ([], [])

    async def _deliver(self, payloads: Sequence[Payload]) -> tuple[list[_Letter], list[Payload]]:
        now = asyncio.get_running_loop().time()
        store, counters = _BatchStore(payloads), Counters()
        store.add_nowait(payloads, now=now, window=counters.accept(len(payloads)))
        delivery = DeliveryLoop(
            name="celery worker",
            store=store,
            transport=self._transport,
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
        return store.letters, [entry.payload for entry in store.withdraw()]

    def _close(self) -> None:
        with self._runner as runner:
            runner.run(self._transport.close())


class _KeptTransport(HttpTransport):
    """Keeps its connections when a delivery ends, for the next one."""

    async def aclose(self) -> None:
        return

    async def close(self) -> None:
        await super().aclose()


class _BatchStore(MemoryStore):
    """Holds one batch, and keeps what is given up."""

    def __init__(self, payloads: Sequence[Payload]) -> None:
        size = sum(payload.size for payload in payloads)
        super().__init__(capacity=len(payloads), capacity_bytes=size)
        self.letters: list[_Letter] = []

    async def give_up(self, entries: Sequence[StoredEvent], *, reason: str, status: int | None) -> None:
        self.letters += [_Letter(entry.payload.fields(), reason, status) for entry in entries]
        await self.ack(entries)
