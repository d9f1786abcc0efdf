"""The usual kind of emitter: a store, the delivery loop and a transport."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import time
import weakref
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from anyio import CancelScope, move_on_after

from snowplow_aio.abc import AcceptingEmitter, EventStore, Hook, LocalStore, Transport
from snowplow_aio.delivery import at_exit, complaints
from snowplow_aio.delivery.back_pressure import BackPressure
from snowplow_aio.delivery.binding import Binding, Job
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.entry import add_blocking, add_nowait
from snowplow_aio.delivery.hooks import Hooks, OnFailure, OnSuccess, hooks_of
from snowplow_aio.delivery.loop import DeliveryLoop
from snowplow_aio.delivery.memory_store import MemoryStore
from snowplow_aio.delivery.settled import settled
from snowplow_aio.delivery.supervisor import LifeCycle, Supervisor
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_flush_timeout, check_seconds
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.outcomes import EmitterStats, FlushResult
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.runtime import fork, losses, one_by_one, servers, turns
from snowplow_aio.runtime.tasks import start_task
from snowplow_aio.runtime.throttled_log import QuietLogger, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.delivery")

# What waits without a loop is spoken of after this time.
_NO_LOOP_SECONDS = 5.0

# For each event: names of a module are read faster than members of a class.
_RUNNING, _STOPPED = LifeCycle.RUNNING, LifeCycle.STOPPED
_TURNS, _PIECE_BYTES = turns.TURNS, turns.PIECE_BYTES


class BufferedEmitter(AcceptingEmitter):
    """
    Takes events into a store, from which one delivery loop sends them.

    It can be made anywhere. The loop starts with the first event that is taken inside a running
    event loop. When that ends before the events are delivered, the delivery goes on in a thread
    of ours, the portal, until another event loop that lasts takes it over.

    Args:
        transport: Makes the requests.

        batching: Says when a request is made and how much goes into it.

        retry: Says what happens to events that were not delivered; `Retry()` by default.

        store: Holds the events that wait; a new `MemoryStore()` by default.

        on_success: Called with the number of events of each request that was taken.

        on_failure: Called with 0 and a list of the events, as dicts, that were given up.

        hooks: Called with every outcome; plain or coroutine functions.

        drain_timeout: Longest time that `aclose` takes where its caller does not say, in seconds, at least 0.

        name: The name of the emitter in statistics and logs, not empty.

    Attributes:
        close_seconds: Time that `aclose` has, beyond its timeout, to stop the
            delivery and close the transport, in seconds.

        last_drain_seconds: Longest time that the interpreter waits at its end for
            the events of emitters that nobody has closed, in seconds; all of them
            together.

    Raises:
        ConfigurationError: If a value is out of range or has the wrong type.

    Example:
        An emitter with a transport of your own::

            class MyEmitter(BufferedEmitter):
                def __init__(self, name: str = "mine") -> None:
                    super().__init__(MyTransport(), batching=Batching(), name=name)
    """

    close_seconds: float = 0.15
    last_drain_seconds: float = 1.0

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
        self.name: str = name
        self._transport = transport
        self._batching = batching
        self._retry = retry or Retry()
        self._store = store if store is not None else MemoryStore()
        self.waits_for_room: bool = self._store.waits_for_room
        self._drain_timeout = drain_timeout
        self._hooks = hooks_of(on_success, on_failure, hooks)
        self._stays_in_thread = False
        self._forgotten: weakref.finalize[[], BufferedEmitter] | None = None
        self._begin()

    def _begin(self) -> None:
        """Start from nothing, in this process."""
        self._counters = Counters()
        self._delivery = self.new_delivery(self._store, self._counters)
        self._supervisor = Supervisor(self.name, log=log, failure="%s: the delivery failed and starts again")
        self._binding = Binding(self._supervisor)
        self._binding.stays_in_portal = self._stays_in_thread
        # Events that were leased in a loop that is gone: they wait again once the delivery runs.
        self._taken_over: Sequence[StoredEvent] = ()
        self._back_pressure = self.new_back_pressure(self._store)
        self._closing: asyncio.Task[FlushResult] | None = None
        # The part of the close that is under way, and whether callers want it to end at once.
        self._phase: CancelScope | None = None
        self._is_cut_short = False
        self._closed: FlushResult | None = None
        self._warned_of = 0
        self._is_loss_told = False
        at_exit.watch(self)
        self._process_marker = fork.process_marker()

    def new_back_pressure(self, store: LocalStore) -> BackPressure:
        """Return a rule that makes `track` wait while *store* is nearly full."""
        return BackPressure(store)

    @property
    def hooks(self) -> Hooks:
        """The functions that are called with every outcome."""
        return self._hooks

    def new_delivery(self, store: EventStore, counters: Counters) -> DeliveryLoop:
        """Return a delivery loop with this emitter's settings, from its own *store* or a worker's."""
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

    # --- accepting

    def accept_nowait(self, payloads: Sequence[Payload]) -> None:
        if not self._process_marker[0]:
            self._after_fork()
        loop = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
        supervisor = self._supervisor
        is_elsewhere = loop is not supervisor.loop or supervisor.state is not _RUNNING
        if is_elsewhere and loop is not None:
            self._attach(loop)
        with one_by_one.ONE_BY_ONE:
            self._take(payloads, self._now())
        if is_elsewhere and not self._supervisor.has_loop:
            self._wait_for_loop(loop)

    def accept(self, payloads: Sequence[Payload]) -> Awaitable[None] | None:
        loop = asyncio.get_running_loop()
        supervisor = self._supervisor
        # No loop of the parent runs after a fork, so another loop stands for another process as well.
        is_elsewhere = loop is not supervisor.loop or supervisor.state is not _RUNNING
        if is_elsewhere:
            self._attach(loop)
        if self.waits_for_room and self._supervisor.state is not _STOPPED:
            return self._add(payloads, loop)
        now = loop.time()
        self._take(payloads, now)
        if is_elsewhere and not self._supervisor.has_loop:
            self._wait_for_loop(loop)
        for payload in payloads:
            _TURNS.left -= 1 + len(payload.tail) // _PIECE_BYTES
        return None if _TURNS.left > 0 or _TURNS.has_time(loop, now) else self._breathe(loop)

    def accept_blocking(self, payloads: Sequence[Payload]) -> None:
        if not self._process_marker[0]:
            self._after_fork()
        supervisor = self._supervisor
        if supervisor.state is not _RUNNING or supervisor.loop is None or not supervisor.loop.is_running():
            self.start_delivery()
        if self.waits_for_room and supervisor.state is not _STOPPED:
            now, loop, drop = self._now(), self._binding.running_loop, self._drop_at_entry
            add_blocking(self._store, self._counters, payloads, now=now, drop=drop, loop=loop)
            return
        with one_by_one.ONE_BY_ONE:
            self._take(payloads, self._now())
        if self._store.is_above_high_water and self._delivery.breaker.failures == 0:
            self._back_pressure.block(self._counters.delivered, self._binding.running_loop)

    def _take(self, payloads: Sequence[Payload], now: float) -> None:
        if self._supervisor.state is _STOPPED:
            self._refuse_closed(payloads)
        else:
            add_nowait(self._store, self._counters, payloads, now, self._drop_at_entry)

    async def _add(self, payloads: Sequence[Payload], loop: asyncio.AbstractEventLoop) -> None:
        window = self._counters.accept(len(payloads))
        await self._store.add(payloads, now=loop.time(), window=window, dropped=self._drop_at_entry)
        await self._breathe(loop)

    def _drop_at_entry(
        self, events: Sequence[StoredEvent], counted: list[int] | None = None, reason: str = "queue_full"
    ) -> None:
        # A hook that gives dropped events back must not be called for them again and again.
        calls = not self._hooks.are_calling()
        self._delivery.reporter.dropped(events, reason, calls_hooks=calls, counted=counted)

    def _refuse_closed(self, payloads: Sequence[Payload]) -> None:
        complaints.tracked_late(self.name, self.closer, len(payloads))
        window = self._counters.accept(len(payloads))
        self._drop_at_entry(
            [StoredEvent(payload, self._now(), window) for payload in payloads], reason="closed"
        )

    async def _breathe(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let *loop* run, and a destination that works make room."""
        await _TURNS.rest(loop)
        if self._delivery.breaker.failures == 0:
            await self._back_pressure.wait(self._counters.delivered)

    def _now(self) -> float:
        loop = self._supervisor.loop
        return loop.time() if loop is not None else time.monotonic()

    def watch(self, payload: Payload) -> Awaitable[str | None]:
        self._attach(asyncio.get_running_loop())
        return self._delivery.reporter.confirmations.watch(payload)

    # --- process and loop

    def deliver_in_thread(self) -> None:
        if self._transport.needs_its_loop:
            raise ConfigurationError("session: must be None: it belongs to a loop, and delivery has a thread")
        self._stays_in_thread = self._binding.stays_in_portal = True
        self.closer = "close()"

    def start_delivery(self) -> None:
        if self._supervisor.state is not _STOPPED:
            self._binding.deliver_in_portal(self._job())

    @property
    def closing_seconds(self) -> float:
        return self._drain_timeout + 4 * self.close_seconds

    @property
    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        return self._binding.running_loop if self._process_marker[0] else None

    async def bind(self) -> None:
        if not self._process_marker[0]:
            self._after_fork()
        await self._binding.bind(self._job(), self.close_seconds)

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the delivery run in *loop*, the running one, and in this process."""
        if not self._process_marker[0]:
            self._after_fork()
        self._binding.attach(loop, self._job())

    def _job(self) -> Job:
        return Job(
            deliver=self._deliver,
            is_needed=lambda: self._undelivered() > 0,
            settle=self._hooks.settle,
            take_over=self._take_over,
            when_stopped=self._drop_rest,
            can_move=not self._transport.needs_its_loop,
        )

    def _wait_for_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Find a loop for events that were taken while the delivery left one; say if there is none."""
        if loop is not None:
            self._attach(loop)
        elif self._stays_in_thread:
            self.start_delivery()
        elif (oldest := self._store.oldest()) is not None:
            is_late = self._now() - oldest.accepted_at > _NO_LOOP_SECONDS
            if is_late and not self._binding.has_loop:
                complaints.no_loop(self.name, self._undelivered())

    def _take_over(self) -> None:
        """Begin with a new delivery loop: the event loop was closed under the old one."""
        old = self._delivery
        self._taken_over = [*self._taken_over, *old.abandon()]
        self._transport.abandon()
        self._delivery = self.new_delivery(self._store, self._counters)
        self._delivery.reporter.continue_from(old.reporter)
        self._supervisor.restarts += old.restarts + 1

    async def _release_taken_over(self) -> None:
        events, self._taken_over = self._taken_over, ()
        if events:
            await self._store.release(events)

    def _after_fork(self) -> None:
        # The parent delivers its events; its connections are not touched.
        with fork.lock():
            if not self._process_marker[0]:
                log.debug("%s: forked; the child begins with an empty store", self.name)
                for left in (self._binding, self._store, self._transport, self._hooks):
                    left.abandon()
                self._begin()

    # --- the supervised work

    async def _deliver(self) -> None:
        if self._forgotten is None:
            # Whoever forgets to close the emitter gets its one warning, and none for each connection.
            self._forgotten = weakref.finalize(self, self._transport.discard)
            self._forgotten.atexit = False
        await self._release_taken_over()
        await self._delivery.deliver()

    # --- at the end of the interpreter

    def at_exit(self, spent: float, *, ends: bool) -> tuple[float, concurrent.futures.Future[None]] | None:
        """Begin to deliver what is left, *spent* seconds late; return how long it takes, and its end."""
        if self._undelivered():
            self._binding.deliver_in_portal(self._job())
        loop = self._binding.running_loop if self._process_marker[0] else None
        if loop is None:
            return None
        # A program without a loop has no other end than this one.
        longest = self._drain_timeout if self._stays_in_thread else self.last_drain_seconds
        seconds = max(0.0, min(self._drain_timeout, longest) - spent)
        # A thread of the application may go on with its loop after the main thread has ended.
        leaves = ends or loop is self._binding.portal_loop
        return seconds, asyncio.run_coroutine_threadsafe(self._deliver_last(seconds, leaves=leaves), loop)

    async def _deliver_last(self, seconds: float, *, leaves: bool) -> None:
        """Deliver what is left, *seconds* at most; then leave the loop, if that is wanted."""
        loop = asyncio.get_running_loop()
        if self._closing is not None and self._closing.get_loop() is loop:
            # A signal handler may have begun it, and could not wait.
            await asyncio.wait([self._closing], timeout=seconds)
        if self._supervisor.loop is not loop or self._closing is not None:
            return
        window = self._counters.close_window()
        self._delivery.flush_soon(window, loop.time(), ends_at=loop.time() + seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await settled(self._counters, window, None)
                await self._hooks.settle()
        self._delivery.breaker.ends_at = None
        if leaves:
            # It closes its connections, of which Python would complain otherwise.
            await self._supervisor.leave()
            # Threads that a transport has started there, and that Python waits for, end with it.
            loop.call_soon(self._binding.leave_portal)

    def newly_undelivered(self) -> tuple[int, str | None]:
        """Return the number of undelivered events, 0 if it was asked for before, and the last error."""
        count = self._undelivered()
        if count == self._warned_of:
            return 0, None
        self._warned_of = count
        error = self._delivery.reporter.last_error or "no answer"
        # The loop of the thread may have gone meanwhile, which is no reason.
        return count, error if self._stays_in_thread else self.stats().last_error

    def _undelivered(self) -> int:
        if self._supervisor.state is _STOPPED or not self._process_marker[0]:
            return 0
        store = self._store.statistics()
        return store.pending + store.leased

    # --- flush and close

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:
        check_flush_timeout(timeout)
        loop = asyncio.get_running_loop()
        self._attach(loop)
        window = self._counters.close_window()
        self._delivery.flush_soon(window, loop.time())
        if wait:
            await settled(self._counters, window, timeout)
        return self._counters.report(window)

    async def aclose(self, timeout: float | None = None) -> FlushResult:
        """
        Send the events that are left, drop those that cannot be sent in time, and end.

        Every call returns the same result. Cancelling one ends the draining at once.

        Args:
            timeout: Longest time that it takes, in seconds, at least 0; None for `drain_timeout`.

        Returns:
            What became of the events since the last flush.

        Raises:
            ConfigurationError: If *timeout* is negative or no number.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        if self._closed is not None:
            return self._closed
        self._is_loss_told = at_exit.is_loss_told()
        self._hooks.release_closers()
        self._attach(asyncio.get_running_loop())
        seconds = self._drain_timeout if timeout is None else timeout
        try:
            closed = await self._binding.run_elsewhere(
                partial(self._until_closed, seconds), self._cut_short, seconds, 4 * self.close_seconds
            )
            if closed is not None:
                return closed
            self._attach(asyncio.get_running_loop())
            return await self._until_closed(seconds)
        except asyncio.CancelledError:
            self._cut_short()
            with CancelScope(shield=True):
                await self._until_closed(seconds)
            raise
        finally:
            # Ending now, the thread would cancel a hook that closes.
            is_there = asyncio.get_running_loop() is self._binding.portal_loop
            self._binding.leave_portal(is_last_to_stay=is_there)

    async def _until_closed(self, seconds: float) -> FlushResult:
        """Wait for the one task that closes, for all callers; start it where there is none."""
        loop = asyncio.get_running_loop()
        while self._closed is None:
            if self._closing is None or self._closing.cancelled() or self._closing.get_loop() is not loop:
                self._phase = None
                self._closing = start_task(loop, self._close(seconds))
            closing = self._closing
            # It does not pass a cancellation on, in neither direction.
            await asyncio.wait([closing])
            # Once begun it sees to its end. Cancelled before that, by somebody else, it starts again.
            if not closing.cancelled():
                return closing.result()
        return self._closed

    def _cut_short(self) -> None:
        """End the part of the close that is under way; if it has not begun, nothing is sent any more."""
        self._is_cut_short = True
        self._hooks.hurry(0.0)
        if self._phase is not None:
            self._phase.cancel()

    async def _close(self, seconds: float) -> FlushResult:
        """Drain, end and count. A cancellation ends the phase in which it comes."""
        deadline = asyncio.get_running_loop().time() + seconds
        self._hooks.hurry(0.0 if self._is_cut_short else seconds)
        with suppress(asyncio.CancelledError):
            # An eager task gets here before it is known as the one that closes.
            await asyncio.sleep(0)
            await self._drain(deadline)
        at_exit.forget(self)
        await self._bounded(self._end(), self.close_seconds)
        self._drop_rest()
        # Hooks that handle the last events may take the rest of the time.
        rest = 0.0 if self._is_cut_short else deadline - asyncio.get_running_loop().time()
        await self._bounded(self._hooks.settle(), max(self.close_seconds / 2, rest))
        await self._bounded(self._hooks.end(), self.close_seconds)
        # The result includes events that came during the drain.
        self._closed = self._counters.report(self._counters.close_window())
        self._say_what_became()
        return self._closed

    async def _bounded(self, phase: Coroutine[Any, Any, None], seconds: float) -> None:
        """Await one *phase* of the close, *seconds* at most; an error in it is logged."""
        try:
            with suppress(asyncio.CancelledError), move_on_after(seconds, shield=True) as self._phase:
                await phase
        except Exception:
            # Of a transport or a store. The events that are left are counted all the same.
            log.exception("%s: a part of the close failed", self.name)
        finally:
            self._phase = None

    async def _drain(self, deadline: float) -> None:
        """Send what is left until *deadline*, in seconds of the loop's clock."""
        now = asyncio.get_running_loop().time()
        window = self._counters.close_window()
        if now < deadline and not self._is_cut_short and not self._counters.is_settled(window):
            self._delivery.flush_soon(window, now, ends_at=deadline)
            await self._bounded(settled(self._counters, window, None), deadline - now)

    async def _end(self) -> None:
        """Stop the delivery; the events that it was sending are back in the store afterwards."""
        delivering = self._supervisor.stop()
        await self._release_taken_over()
        if delivering is not None:
            await asyncio.wait([delivering])
        await self._transport.aclose()
        await self._store.aclose()

    def _drop_rest(self) -> None:
        """Drop the events in the store; also when a sender that outlives the close gives its events back."""
        self._delivery.reporter.dropped(self._store.withdraw(), "closed")

    def _say_what_became(self) -> None:
        lost = self._counters.dropped["closed"]
        if lost:
            error = self._delivery.reporter.last_error
            complaints.closed_too_early(self.name, lost, error, is_told=self._is_loss_told)
        log.info("%s: %s", self.name, self.stats().summary)

    def __del__(self) -> None:
        if getattr(self, "_warned_of", None) is None:
            return
        self._supervisor.drop()
        count = self._undelivered()
        if count and count != self._warned_of:
            complaints.forgotten(self, count)

    # --- while it runs

    def set_flush_timer(self, seconds: float) -> None:
        """
        Set the longest time that an event waits before it is sent.

        Args:
            seconds: The time, in seconds, above 0.

        Raises:
            ConfigurationError: If *seconds* is not above 0.
        """
        check_seconds("seconds", seconds)
        self._set_flush_interval(seconds)

    def cancel_flush_timer(self) -> None:
        """Send only by count, by bytes and at a `flush` from now on."""
        self._set_flush_interval(None)

    def _set_flush_interval(self, seconds: float | None) -> None:
        self._batching = dataclasses.replace(self._batching, flush_interval=seconds)
        self._delivery.batching = self._batching
        self._store.notify()

    def stats(self) -> EmitterStats:
        stats = self._delivery.stats(self._now())
        restarts = self._supervisor.restarts + stats.restarts
        if self._supervisor.state is _STOPPED:
            return dataclasses.replace(stats, restarts=restarts, state="closed")
        if (reason := self._why_stalled(stats)) is not None:
            return dataclasses.replace(stats, restarts=restarts, state="stalled", last_error=reason)
        return dataclasses.replace(stats, restarts=restarts)

    def _why_stalled(self, stats: EmitterStats) -> str | None:
        """Return why nothing is delivered whatever the destination does, or None."""
        if (error := self._supervisor.error(self._now())) is not None:
            return f"the delivery fails: {error}"
        if stats.pending + stats.leased == 0:
            return None
        threads_stand = servers.why_threads_stand() if self._stays_in_thread else None
        if threads_stand is not None or self._binding.has_loop:
            return threads_stand
        # A loop that stands still for a moment, as between two cells of a notebook, goes on.
        if (stats.oldest_age or 0.0) <= _NO_LOOP_SECONDS and self._supervisor.has_open_loop:
            return None
        return losses.NO_LOOP if self._transport.needs_its_loop else losses.NO_LOOP_BUT_ADVICE
