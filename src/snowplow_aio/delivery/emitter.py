"""An emitter that is a store, the delivery loop and a transport: what nearly every emitter is."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import sys
import time
import warnings
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from anyio import CancelScope, move_on_after

from snowplow_aio.abc import AcceptingEmitter, EventStore, Hook, LocalStore, Transport
from snowplow_aio.delivery import at_exit as leftovers
from snowplow_aio.delivery.back_pressure import BackPressure
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.hooks import Hooks, OnFailure, OnSuccess, failure_hook, success_hook
from snowplow_aio.delivery.loop import DeliveryLoop
from snowplow_aio.delivery.memory_store import MemoryStore
from snowplow_aio.exceptions import QueueFullError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.outcomes import EmitterStats, FlushResult, State
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.runtime import fork
from snowplow_aio.runtime.throttled_log import QuietLogger, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.delivery")

# After so many events in a row the caller lets the loop run once: two milliseconds
# of work, so that a tight loop starves nobody. It is the longest wait of a busy
# `track`, and with the slow ones right after it hits fewer than one in a hundred.
_STREAK = 192

# How long a delivery that was cancelled from outside stays down. A loop that
# `asyncio.run` is closing never gets there, and so can end.
_REVIVE_SECONDS = 0.05

# How long a delivery goes on when it is cancelled with its whole loop, as
# `asyncio.run` does at its end: it waits for what cancelled tasks still do.
_DRAIN_ON_CANCEL_SECONDS = 1.0

# What is left for the transport to close after the drain.
_CLOSE_SECONDS = 0.15


class BufferedEmitter(AcceptingEmitter):
    """
    Takes events into a store, from which one delivery loop sends them.

    It can be made anywhere. The loop starts with the first event that is taken
    inside a running event loop, and moves to another one when that has ended.

    Args:
        transport: How events are sent.

        batching: When a request is made and how much goes into it.

        retry: What happens to events that were not delivered.

        store: Where events wait; memory where it is None.

        on_success: Called with the number of events of each request that was taken.

        on_failure: Called with 0 and the events, as dicts, that were given up.

        hooks: Called with every outcome.

        drain_timeout: Seconds that `aclose` takes at most where it is not told, at least 0.

        name: What statistics and logs call the emitter.

    Raises ConfigurationError when a value is out of range.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        batching: Batching,
        retry: Retry | None = None,
        store: LocalStore | None = None,
        on_success: OnSuccess | None = None,
        on_failure: OnFailure | None = None,
        hooks: Iterable[Hook] = (),
        drain_timeout: float = 5.0,
        name: str,
    ) -> None:
        check_seconds("drain_timeout", drain_timeout, zero=True)
        check_argument(isinstance(name, str) and name != "", "name", name, "must be a non-empty string")
        check_argument(retry is None or isinstance(retry, Retry), "retry", retry, "must be a Retry")
        rule = "must be a store of this process, like MemoryStore()"
        check_argument(store is None or isinstance(store, LocalStore), "store", store, rule)
        for argument, function in (("on_success", on_success), ("on_failure", on_failure)):
            check_argument(function is None or callable(function), argument, function, "must be a function")
        rule = "must be a sequence of functions"
        check_argument(isinstance(hooks, Iterable), "hooks", hooks, rule)
        hooks = tuple(hooks)
        check_argument(all(map(callable, hooks)), "hooks", hooks, rule)
        self.name: str = name
        self._transport = transport
        self._batching = batching
        self._retry = retry or Retry()
        self._store = store if store is not None else MemoryStore()
        self._waits_for_room = self._store.waits_for_room
        self._drain_timeout = drain_timeout
        given = [success_hook(on_success)] if on_success else []
        given += [failure_hook(on_failure)] if on_failure else []
        self._hooks = Hooks([*given, *hooks])
        self._begin()

    def _begin(self) -> None:
        """Start the books anew, in this process."""
        self._process_marker = fork.process_marker()
        self._counters = Counters()
        self._delivery = self.new_delivery(self._store, self._counters)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._root: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[FlushResult] | None = None
        self._closed: FlushResult | None = None
        self._is_closed = False
        self._streak = 0
        self._back_pressure = self.new_back_pressure(self._store)
        self._restarts = 0
        self._interrupted: asyncio.Task[None] | None = None
        self._said_left = 0
        leftovers.watch(self)

    def new_back_pressure(self, store: LocalStore) -> BackPressure:
        """Return a rule that makes `track` wait while *store* is nearly full."""
        return BackPressure(store)

    @property
    def hooks(self) -> Hooks:
        """What is told of every outcome."""
        return self._hooks

    def new_delivery(self, store: EventStore, counters: Counters) -> DeliveryLoop:
        """Return a delivery by this emitter's transport and settings, from *store*: its own or a worker's."""
        return DeliveryLoop(
            name=self.name,
            store=store,
            transport=self._transport,
            batching=self._batching,
            retry=self._retry,
            counters=counters,
            hooks=self._hooks,
        )

    def __repr__(self) -> str:
        stats = self.stats()
        kind = type(self).__name__
        return f"<{kind} {self.name!r}: {stats.pending} pending, {stats.leased} leased, {stats.state}>"

    # --- the door

    def accept_nowait(self, payloads: Sequence[Payload]) -> None:
        if not self._process_marker[0]:
            self._after_fork()
        loop = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
        if loop is not None:
            self._attach(loop)
        self._take(payloads, self._now())

    def accept(self, payloads: Sequence[Payload]) -> Awaitable[None] | None:
        loop = asyncio.get_running_loop()
        # After a fork no inherited loop runs, so that another loop stands for another process as well.
        if loop is not self._loop or self._root is None or self._root.done():
            self._attach(loop)
        if self._waits_for_room and not self._is_closed:
            return self._add(payloads, loop.time())
        self._take(payloads, loop.time())
        self._streak += len(payloads)
        return self._breathe() if self._streak >= _STREAK else None

    def _take(self, payloads: Sequence[Payload], now: float) -> None:
        if self._is_closed:
            self._refuse_closed(payloads)
            return
        window = self._counters.accept(len(payloads))
        try:
            dropped = self._store.add_nowait(payloads, now, window)
        except QueueFullError:
            self._counters.refuse(window, len(payloads))
            raise
        if dropped:
            self._drop_at_the_door(dropped, "queue_full")

    async def _add(self, payloads: Sequence[Payload], now: float) -> None:
        window = self._counters.accept(len(payloads))
        await self._store.add(payloads, now=now, window=window, dropped=self._drop_at_the_door)
        await self._breathe()

    def _drop_at_the_door(self, entries: Sequence[StoredEvent], reason: str = "queue_full") -> None:
        # A hook that gives back what it was told of must not hear of it again and again.
        self._delivery.drop(entries, reason, is_told=not self._hooks.are_calling())

    def _refuse_closed(self, payloads: Sequence[Payload]) -> None:
        window = self._counters.accept(len(payloads))
        self._drop_at_the_door([StoredEvent(payload, self._now(), window) for payload in payloads], "closed")

    async def _breathe(self) -> None:
        """Let the loop run, and a destination that works make room."""
        self._streak = 0
        await asyncio.sleep(0)
        if self._delivery.breaker.failures == 0:
            await self._back_pressure.wait(self._counters.delivered)

    def _now(self) -> float:
        return self._loop.time() if self._loop is not None else time.monotonic()

    def watch(self, payload: Payload) -> Awaitable[str | None]:
        self._attach(asyncio.get_running_loop())
        return self._delivery.confirmations.watch(payload)

    # --- process, loop and root task

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the delivery run in *loop* and in this process."""
        if not self._process_marker[0]:
            self._after_fork()
        if self._is_closed:
            return
        bound = self._loop
        if bound is not None and bound is not loop and bound.is_running():
            # Tracked from another thread with a loop of its own: the delivery stays where it is.
            return
        self._loop = loop
        if self._root is None or self._root.done():
            self._start(loop, self._deliver())
        elif bound is not loop:
            self._start(loop, self._deliver(self._take_over()))

    # Whether the interpreter is: then modules are gone that compiled code must have.
    _is_ending = staticmethod(sys.is_finalizing)

    async def _deliver(self, left: Sequence[StoredEvent] = ()) -> None:
        """Deliver until cancelled; what is *left* of another loop waits again first."""
        try:
            try:
                # `_start` runs it up to here.
                await asyncio.sleep(0)
            finally:
                if not self._is_ending():
                    await self._store.release(left)
            await self._delivery.deliver()
        except asyncio.CancelledError:
            if not self._is_closed:
                self._interrupted = asyncio.current_task()
                self._restarts += 1
                await self._drain()
            raise

    async def _drain(self) -> None:
        """Go on a little although cancelled: it may be the end of the loop, and nobody may have closed us."""
        window = self._counters.close_window()
        if self._counters.is_settled(window):
            return
        seconds, now = min(self._drain_timeout, _DRAIN_ON_CANCEL_SECONDS), asyncio.get_running_loop().time()
        self._delivery.flush_soon(window, now, ends_at=now + seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._delivery.deliver(until=window)
                await self._hooks.settle()
        except TimeoutError:
            pass
        finally:
            self._delivery.breaker.ends_at = None
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if all(task.cancelling() for task in others):
            self.warn_undelivered()

    def warn_undelivered(self) -> None:
        """Say how many events are undelivered, once: the loop or the process ends without `aclose`."""
        left = self._left()
        if left and left != self._said_left:
            self._said_left = left
            message = "%s: ended without aclose(), with %d events undelivered (last error: %s)"
            leftovers.announce(log, message, self.name, left, self._delivery.last_error)

    def _left(self) -> int:
        if self._is_closed or not self._process_marker[0]:
            return 0
        store = self._store.statistics()
        return store.pending + store.leased

    def _take_over(self) -> Sequence[StoredEvent]:
        """Begin anew where a loop was closed under the delivery; return what that had leased."""
        left, old = self._delivery.abandon(), self._delivery
        self._transport.abandon()
        self._delivery = self.new_delivery(self._store, self._counters)
        self._delivery.requests, self._delivery.retries = old.requests, old.retries
        self._delivery.last_error, self._delivery.last_success = old.last_error, old.last_success
        self._restarts += old.restarts + 1
        return left

    def _after_fork(self) -> None:
        fork.never_finalize(self._root)
        # The parent delivers what it has; its connections are not touched.
        log.debug("%s: forked; the child begins with an empty store", self.name)
        self._store.abandon()
        self._transport.abandon()
        self._hooks.abandon()
        self._begin()

    def _start(self, loop: asyncio.AbstractEventLoop, delivery: Coroutine[Any, Any, None]) -> None:
        # A task that is cancelled before its first step never runs: `asyncio.run`
        # does that to a program that tracks and exits, which must drain all the same.
        delivery.send(None)
        # An empty context: a request of the application must not live as long as the delivery.
        self._root = loop.create_task(delivery, context=contextvars.Context())
        # An emitter that is dropped says so itself, with the number of its events.
        self._root._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._root.add_done_callback(self._root_ended, context=contextvars.Context())

    def _root_ended(self, root: asyncio.Task[None]) -> None:
        if not root.cancelled() and (error := root.exception()) is not None:
            log.error("%s: the delivery failed and starts again", self.name, exc_info=error)
        if self._is_closed:
            # A sender that took longer to end than the close waits for has given its events back only now.
            self._delivery.drop(self._store.withdraw(), "closed")
            return
        if self._loop is None or self._loop.is_closed():
            return
        self._restarts += root is not self._interrupted
        if root is self._root:
            self._loop.call_later(_REVIVE_SECONDS, self._revive, root, context=contextvars.Context())

    def _revive(self, ended: asyncio.Task[None]) -> None:
        if self._root is ended and not self._is_closed and self._loop is not None:
            self._start(self._loop, self._deliver())

    # --- flush and close

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:
        check_seconds("timeout", timeout, optional=True, zero=True)
        loop = asyncio.get_running_loop()
        self._attach(loop)
        window = self._counters.close_window()
        self._delivery.flush_soon(window, loop.time())
        if wait:
            await self._settled(window, timeout)
        return self._counters.report(window)

    async def _settled(self, window: int, timeout: float | None) -> None:
        """Wait until everything up to *window* is settled, *timeout* seconds at most."""
        loop = asyncio.get_running_loop()
        settled = loop.create_future()

        def settle() -> None:
            if not settled.done():
                settled.set_result(None)

        def wake() -> None:
            loop.call_soon_threadsafe(settle)

        self._counters.when_settled(window, wake)
        try:
            async with asyncio.timeout(timeout):
                await settled
        except TimeoutError:
            pass
        finally:
            self._counters.forget(wake)

    async def aclose(self, timeout: float | None = None) -> FlushResult:
        """
        Send what is left, drop what cannot be sent in time, and end.

        Every call gets the same answer. Cancelling one ends the draining at once.

        Args:
            timeout: Seconds that it takes at most; None for `drain_timeout`.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        if self._closed is not None:
            return self._closed
        self._hooks.release_closers()
        loop = asyncio.get_running_loop()
        if self._closing is None or self._closing.get_loop() is not loop:
            self._attach(loop)
            seconds = self._drain_timeout if timeout is None else timeout
            closing = self._close(seconds)
            # Up to its first wait: cancelled before that it would never begin.
            closing.send(None)
            self._closing = loop.create_task(closing, context=contextvars.Context())
        try:
            return await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            self._closing.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([self._closing])
            raise

    async def _close(self, seconds: float) -> FlushResult:
        """Drain, end and count, for all callers. A cancellation ends the wait in which it comes."""
        deadline = asyncio.get_running_loop().time() + seconds
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
            window = self._counters.close_window()
            if seconds > 0 and not self._counters.is_settled(window):
                self._delivery.flush_soon(window, asyncio.get_running_loop().time(), ends_at=deadline)
                await self._settled(window, seconds)
        self._is_closed = True
        leftovers.forget(self)
        with suppress(asyncio.CancelledError), move_on_after(_CLOSE_SECONDS, shield=True):
            await self._end()
        self._delivery.drop(self._store.withdraw(), "closed")
        # What the hooks do with the last events may take the rest of the time.
        rest = max(_CLOSE_SECONDS / 2, deadline - asyncio.get_running_loop().time())
        with suppress(asyncio.CancelledError), move_on_after(rest, shield=True):
            await self._hooks.settle()
        with suppress(asyncio.CancelledError), move_on_after(_CLOSE_SECONDS, shield=True):
            await self._hooks.end()
        # Events that came while we drained belong to the answer as well.
        self._closed = self._counters.report(self._counters.close_window())
        self._warn_of_loss(self._closed)
        return self._closed

    async def _end(self) -> None:
        """Stop the delivery; what it was sending is back in the store afterwards."""
        if (
            self._root is not None
            and not self._root.done()
            and self._root.get_loop() is asyncio.get_running_loop()
        ):
            self._root.cancel()
            await asyncio.wait([self._root])
        await self._transport.aclose()
        await self._store.aclose()

    def _warn_of_loss(self, result: FlushResult) -> None:
        lost = self._counters.dropped["closed"]
        if lost:
            log.warning(
                "%s: closed with %d events undelivered (last error: %s)",
                self.name,
                lost,
                self._delivery.last_error,
            )
        elif result.dropped == 0:
            log.info("%s: closed, everything is delivered", self.name)

    def __del__(self) -> None:
        if getattr(self, "_said_left", None) is None:
            return
        left = self._left()
        if left and left != self._said_left:
            warnings.warn(
                f"{self.name}: dropped without aclose() with {left} events undelivered",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    # --- while it runs

    def set_flush_timer(self, seconds: float) -> None:
        """
        Send what waits every so often, from now on.

        Args:
            seconds: Longest that an event waits, above 0.

        Raises ConfigurationError when it is not above 0.
        """
        check_seconds("seconds", seconds)
        self._set_flush_interval(seconds)

    def cancel_flush_timer(self) -> None:
        """Send by count, bytes and `flush` only, from now on."""
        self._set_flush_interval(None)

    def _set_flush_interval(self, seconds: float | None) -> None:
        self._batching = dataclasses.replace(self._batching, flush_interval=seconds)
        self._delivery.batching = self._batching
        self._store.notify()

    def stats(self) -> EmitterStats:
        stats = self._delivery.stats(self._now())
        state: State = "closed" if self._is_closed else stats.state
        return dataclasses.replace(stats, restarts=self._restarts + stats.restarts, state=state)
