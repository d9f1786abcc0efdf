"""A custom emitter: an object of the application's own with a method `input`, as an emitter like others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

from snowplow_aio.abc import AcceptingEmitter
from snowplow_aio.model.payload import Payload
from snowplow_aio.outcomes import EmitterStats, FlushResult, State
from snowplow_aio.runtime import fork, losses, portal
from snowplow_aio.runtime.bounded_call import called_within, within
from snowplow_aio.runtime.confirmations import Confirmations
from snowplow_aio.runtime.foreign_text import events_text
from snowplow_aio.runtime.tasks import start_task
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.runtime.turns import PIECE_BYTES, TURNS
from snowplow_aio.runtime.waiting import LoopEndedError, LoopLateError, result_of

log: QuietLogger = quiet_logger("snowplow_aio.tracking")

# How long an object has for one event.
_INPUT_SECONDS = 1.0

# How long it has for `flush` and for `aclose` where the caller does not say: the `drain_timeout` of other
# emitters.
_DRAIN_SECONDS = 5.0

# A close has a moment for it even if it has no time at all.
_LEAST_SECONDS = 0.1

# The most calls of its `flush` at a time. They are given up one after the other, and may not end.
_MOST_CALLS = 4

# The most events that wait for it, or that it works on, and their bytes of JSON.
_MOST_HELD = 10_000
_MOST_BYTES = 16 * 2**20

# Events of one call, each with what `input` has returned, that are not handed over yet.
_Rest = deque[tuple[Payload, Awaitable[object]]]


class CustomEmitter(AcceptingEmitter):
    """
    Hands events to an object of the application's own, whose failures reach no other emitter.

    Each event is handed over in a task of the emitter's. So it is delivered or dropped in time, also
    when the caller of `track` is cancelled.

    Args:
        target: Any object with a method `input`, plain or coroutine. Its `flush` and
            `aclose` are called if they exist.

    Example:
        An object that a tracker takes; the tracker wraps it by itself::

            class Printing:
                async def input(self, payload):
                    print(payload["e"])

            tracker = Tracker(Printing())
    """

    def __init__(self, target: Any) -> None:
        self.name: str = str(getattr(target, "name", None) or type(target).__name__)
        self._target = target
        self._stays_in_thread = False
        self._begin()
        losses.watch(self)

    def _begin(self) -> None:
        """Start from nothing, in this process."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Payload] = deque()
        self._tasks: dict[asyncio.Task[None], _Rest] = {}
        # Calls of `flush` and `aclose` that have not ended, also those that were given up.
        self._under_way: Counter[str] = Counter()
        self._accepted = self._delivered = self._held_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._reported = (0, 0)
        self._closed: FlushResult | None = None
        self._last_error: str | None = None
        self._throttled = ThrottledLog(log)
        self._confirmations = Confirmations()
        self._warned_of = 0
        self._process_marker = fork.process_marker()

    # --- accepting

    def accept(self, payloads: Sequence[Payload]) -> Awaitable[None] | None:  # noqa: D102 - see AcceptingEmitter
        if not self._process_marker[0]:
            self._after_fork()
        loop = self._loop = asyncio.get_running_loop()
        self._start_waiting()
        task = self._hand_over(payloads) if self._take(payloads) else None
        if task is not None:
            return _ended(task)
        for payload in payloads:
            TURNS.left -= 1 + len(payload.tail) // PIECE_BYTES
        return None if TURNS.left > 0 or TURNS.has_time(loop, loop.time()) else TURNS.rest(loop)

    def accept_nowait(self, payloads: Sequence[Payload]) -> None:  # noqa: D102 - see AcceptingEmitter
        if not self._process_marker[0]:
            self._after_fork()
        if not self._take(payloads):
            return
        self._waiting.extend(payloads)
        if self._stays_in_thread and inspect.iscoroutinefunction(self._target.input):
            self._enter_thread(self._go_on_here)
        elif not self._stays_in_thread and asyncio._get_running_loop() is not None:  # noqa: SLF001 - public in C, and does not raise
            self._loop = asyncio.get_running_loop()
            self._start_waiting()
        elif not inspect.iscoroutinefunction(self._target.input):
            self._start_waiting()
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._start_waiting)

    def deliver_in_thread(self) -> None:  # noqa: D102 - see AcceptingEmitter
        self._stays_in_thread = True
        self.closer = "close()"

    @property
    def running_loop(self) -> asyncio.AbstractEventLoop | None:  # noqa: D102 - see AcceptingEmitter
        loop = self._loop if self._process_marker[0] else None
        return loop if loop is not None and loop.is_running() else portal.loop_of(self)

    def accept_blocking(self, payloads: Sequence[Payload]) -> None:  # noqa: D102 - see AcceptingEmitter
        if not inspect.iscoroutinefunction(self._target.input):
            self.accept_nowait(payloads)
            return
        if not self._process_marker[0]:
            self._after_fork()
        self.start_delivery()
        loop = self.running_loop
        if loop is None or self._closed is not None:
            self.accept_nowait(payloads)
        else:
            # As `accept` has its caller wait: a tight loop would fill the memory otherwise.
            try:
                # Where something blocks the loop, the events go on by themselves.
                with suppress(LoopLateError):
                    result_of(partial(self._accept_here, payloads), loop)
            except LoopEndedError:
                self.accept_nowait(payloads)

    async def _accept_here(self, payloads: Sequence[Payload]) -> None:
        wait = self.accept(payloads)
        if wait is not None:
            await wait

    def start_delivery(self) -> None:  # noqa: D102 - see AcceptingEmitter
        if self._closed is None and self.running_loop is None:
            self._enter_thread(self._go_on_here)

    def _enter_thread(self, call: Callable[[], Any]) -> None:
        # At the very end of the interpreter no thread can be started any more: the events are spoken of.
        with suppress(RuntimeError):
            portal.enter(self, call)

    def _go_on_here(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start_waiting()

    def at_exit(self, spent: float, *, ends: bool) -> tuple[float, concurrent.futures.Future[None]] | None:  # noqa: ARG002
        """Begin to hand over what is left, *spent* seconds late; return how long it takes, and its end."""
        loop = self.running_loop
        if loop is None or not (self._waiting or self._tasks):
            return None
        seconds = max(0.0, _DRAIN_SECONDS - spent)
        return seconds, asyncio.run_coroutine_threadsafe(self._settle("flush", seconds, waits=True), loop)

    async def bind(self) -> None:  # noqa: D102 - see AcceptingEmitter
        if not self._process_marker[0]:
            self._after_fork()
        self._loop = asyncio.get_running_loop()
        self._start_waiting()

    def watch(self, payload: Payload) -> Awaitable[str | None]:  # noqa: D102 - see AcceptingEmitter
        if not self._process_marker[0]:
            self._after_fork()
        return self._confirmations.watch(payload)

    def _take(self, payloads: Sequence[Payload]) -> bool:
        """Count *payloads* in; return whether they can be handed over. Otherwise they are dropped."""
        size = sum([payload.size for payload in payloads])
        held = self._accepted - self._delivered - self._dropped.total()
        # Python changes threads at calls, and there is none between the reading and the writing of a number.
        count = len(payloads)
        self._accepted += count
        self._held_bytes += size
        fits = held + count <= _MOST_HELD and self._held_bytes <= max(size, _MOST_BYTES)
        if fits and self._closed is None:
            return True
        for payload in payloads:
            self._drop(payload, "queue_full" if self._closed is None else "closed")
        return False

    def _start_waiting(self) -> None:
        """Hand over the events that came while there was no loop to wait in."""
        # Several threads may do so.
        with suppress(IndexError):
            while True:
                self._hand_over([self._waiting.popleft()])

    def _after_fork(self) -> None:
        # The parent hands over its events. Its tasks belong to a loop that does not run here.
        with fork.lock():
            if not self._process_marker[0]:
                fork.never_finalize(self._tasks)
                self._begin()

    # --- handing over

    def _hand_over(self, payloads: Sequence[Payload]) -> asyncio.Task[None] | None:
        """Call `input` for each of *payloads*; return the task that does the rest, where there is a rest."""
        rest: _Rest = deque()
        for number, payload in enumerate(payloads, start=1):
            try:
                result = self._target.input(payload)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - must not reach the others
                self._failed(payload, error)
            except BaseException as error:
                # Ctrl-C, for one: it ends the call.
                self._waiting.extendleft(reversed(payloads[number:]))
                self._failed(payload, error)
                raise
            else:
                if inspect.isawaitable(result):
                    rest.append((payload, result))
                else:
                    self._succeeded(payload)
        if not rest:
            return None
        here = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
        if here is not None and (not self._stays_in_thread or here is portal.loop_of(self)):
            return self._start(rest)
        # A plain function that leaves something to await, called in a thread.
        if self._stays_in_thread:
            self._enter_thread(partial(self._start, rest))
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._start, rest)
        else:
            self._drop_all(rest)
        return None

    def _start(self, rest: _Rest) -> asyncio.Task[None]:
        context = contextvars.copy_context()
        task = start_task(asyncio.get_running_loop(), self._finish(rest), context=context)
        self._tasks[task] = rest
        task.add_done_callback(self._finished, context=contextvars.Context())
        return task

    async def _finish(self, rest: _Rest) -> None:
        while rest:
            payload, wait = rest.popleft()
            try:
                await within(_INPUT_SECONDS, wait)
            except asyncio.CancelledError:
                self._drop(payload, "closed")
                raise
            except Exception as error:  # noqa: BLE001 - an emitter's fault must not reach the others
                self._failed(payload, error)
            except BaseException as error:
                self._failed(payload, error)
                raise
            else:
                self._succeeded(payload)

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Forget *task*; drop what it has left, because it was cancelled or its loop was closed."""
        self._drop_all(self._tasks.pop(task, deque()))

    def _drop_all(self, rest: _Rest) -> None:
        while rest:
            payload, wait = rest.popleft()
            if inspect.iscoroutine(wait):
                # Python warns of a coroutine that nobody awaits.
                wait.close()
            self._drop(payload, "closed")

    def _succeeded(self, payload: Payload) -> None:
        size = payload.size
        self._held_bytes -= size
        self._delivered += 1
        self._confirmations.tell(payload, None)

    def _failed(self, payload: Payload, error: BaseException) -> None:
        reason = "timeout" if isinstance(error, TimeoutError) else "error"
        self._last_error = type(error).__name__
        self._drop(payload, reason, self._last_error)
        self._throttled.log(reason, logging.ERROR, "%s: input failed: %s", self.name, self._last_error)

    def _drop(self, payload: Payload, reason: str, fault: str | None = None) -> None:
        size = payload.size
        # Nothing is called between the reading and the writing: a signal handler may track.
        self._held_bytes -= size
        self._dropped.setdefault(reason, 0)
        self._dropped[reason] += 1
        self._confirmations.tell(payload, fault or reason)
        message = "%s: events are dropped (%s)"
        losses.say_once(reason, message, self.name, reason, count=1)
        if fault is None:
            self._throttled.log(f"dropped:{reason}", logging.WARNING, message, self.name, reason)

    # --- flush and close

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:
        """Hand over what waits for a loop, wait until that is done, and flush the target if it can."""
        if not self._process_marker[0]:
            self._after_fork()
        if self._closed is None:
            await self._settle("flush", timeout, waits=wait)
        return self._report()

    async def aclose(self, timeout: float | None = None) -> FlushResult:
        """Hand over what waits for a loop, wait until that is done, and close the target if it can."""
        if not self._process_marker[0]:
            self._after_fork()
        if self._closed is not None:
            return self._closed
        try:
            await self._settle("aclose", timeout, waits=True)
        finally:
            # What comes meanwhile, or is never done, is dropped.
            self._closed = FlushResult()
            tasks = self._tasks_of(asyncio.get_running_loop())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            self._closed = self._report()
            portal.leave(self, is_last_to_stay=portal.loop_of(self) is asyncio.get_running_loop())
        if self._closed.dropped:
            message = "%s: closed with %s undelivered (last error: %s)"
            log.warning(message, self.name, events_text(self._closed.dropped), self._last_error)
        return self._closed

    async def _settle(self, method: str, timeout: float | None, *, waits: bool) -> None:
        """Hand over what waits, and call *method* of the target, within *timeout* in all."""
        loop = self._loop = asyncio.get_running_loop()
        seconds = _DRAIN_SECONDS if timeout is None else timeout
        ends_at = loop.time() + seconds
        self._start_waiting()
        tasks = self._tasks_of(loop)
        if waits and tasks:
            await asyncio.wait(tasks, timeout=seconds)
        call = getattr(self._target, method, None)
        if call is None:
            return
        if self._under_way[method] >= _MOST_CALLS:
            self._complain(method, "earlier calls have not ended")
            return
        try:
            await called_within(max(_LEAST_SECONDS, ends_at - loop.time()), self._counted(method, call))
        except Exception as error:  # noqa: BLE001 - an emitter's fault must not reach the others
            self._complain(method, type(error).__name__)

    def _tasks_of(self, loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[None]]:
        """Return the tasks of *loop*; drop what those of closed loops have left."""
        for task in tuple(self._tasks):
            if task.get_loop().is_closed():
                self._finished(task)
        return [task for task in tuple(self._tasks) if task.get_loop() is loop]

    def _counted(self, method: str, call: Callable[[], Any]) -> Callable[[], Any]:
        """Return a function of the same kind as *call* that is counted until it really ends."""

        def plain() -> Any:
            self._under_way[method] += 1
            try:
                return call()
            finally:
                self._under_way[method] -= 1

        async def coroutine() -> Any:
            self._under_way[method] += 1
            try:
                return await call()
            finally:
                self._under_way[method] -= 1

        return coroutine if inspect.iscoroutinefunction(call) else plain

    def _complain(self, method: str, failure: str) -> None:
        self._last_error = failure
        self._throttled.log(method, logging.ERROR, "%s: %s failed: %s", self.name, method, failure)

    def _report(self) -> FlushResult:
        settled = self._delivered, self._dropped.total()
        (delivered, dropped), self._reported = self._reported, settled
        pending = self._accepted - sum(settled)
        return FlushResult(delivered=settled[0] - delivered, dropped=settled[1] - dropped, pending=pending)

    def newly_undelivered(self) -> tuple[int, str | None]:
        """Return the number of undelivered events, 0 if it was asked for before, and the last error."""
        count = self._accepted - self._delivered - self._dropped.total() if self._process_marker[0] else 0
        if count == self._warned_of:
            return 0, None
        self._warned_of = count
        return count, self.stats().last_error

    def __del__(self) -> None:
        # It may be half made.
        count, _ = self.newly_undelivered() if hasattr(self, "_warned_of") else (0, None)
        if count:
            message = "%s: dropped without %s with %s undelivered"
            said = (self.name, self.closer, events_text(count))
            self._throttled.log("forgotten", logging.WARNING, message, *said)
            losses.say_once("forgotten", message, *said, count=count)

    def stats(self) -> EmitterStats:  # noqa: D102 - see Emitter
        # What has left first: what is accepted meanwhile waits.
        delivered, dropped = self._delivered, dict(self._dropped)
        unsettled = self._accepted - delivered - sum(dropped.values())
        pending = min(len(self._waiting), unsettled)
        state: State = "ok" if self._closed is None else "closed"
        if state == "ok" and pending and (self._loop is None or self._loop.is_closed()):
            state = "stalled"
        return EmitterStats(
            accepted=delivered + sum(dropped.values()) + unsettled,
            pending=pending,
            leased=unsettled - pending,
            delivered=delivered,
            dropped=MappingProxyType(dropped),
            bytes=max(0, self._held_bytes),
            last_error=losses.NO_LOOP_BUT_ADVICE if state == "stalled" else self._last_error,
            state=state,
        )


async def _ended(task: asyncio.Task[None]) -> None:
    # It does not pass a cancellation on: the event is on its way.
    await asyncio.wait([task])


def accepting_emitter(emitter: Any) -> AcceptingEmitter:
    """Return *emitter* itself if it accepts payloads in one step, else a `CustomEmitter` around it."""
    # A subclass of our emitters may have an `input` of its own, which must then be called.
    if isinstance(emitter, AcceptingEmitter) and type(emitter).input is AcceptingEmitter.input:
        return emitter
    return CustomEmitter(emitter)
