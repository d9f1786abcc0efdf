"""A custom emitter: an object of the application's own with a method `input`, as an emitter like others."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Sequence
from types import MappingProxyType
from typing import Any

from snowplow_aio.abc import AcceptingEmitter
from snowplow_aio.model.payload import Payload
from snowplow_aio.outcomes import EmitterStats, FlushResult
from snowplow_aio.runtime.confirmations import Confirmations
from snowplow_aio.runtime.tasks import start_task
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.tracking")

# How long `track` waits for an object that does not answer.
_INPUT_SECONDS = 1.0


class CustomEmitter(AcceptingEmitter):
    """
    Hands events to an object of the application's own, whose failures reach no other emitter.

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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Payload] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted = self._delivered = self._reported = 0
        self._dropped: Counter[str] = Counter()
        self._last_error: str | None = None
        self._throttled = ThrottledLog(log)
        self._confirmations = Confirmations()

    def accept(self, payloads: Sequence[Payload]) -> Awaitable[None] | None:  # noqa: D102 - see AcceptingEmitter
        self._loop = asyncio.get_running_loop()
        self._start_waiting()
        waits = [(payload, wait) for payload in payloads if (wait := self._call(payload)) is not None]
        return self._finish(waits) if waits else None

    def accept_nowait(self, payloads: Sequence[Payload]) -> None:  # noqa: D102 - see AcceptingEmitter
        self._waiting.extend(payloads)
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - public in C, and does not raise
            self._loop = asyncio.get_running_loop()
            self._start_waiting()
        elif not inspect.iscoroutinefunction(self._target.input):
            self._start_waiting()
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._start_waiting)

    def watch(self, payload: Payload) -> Awaitable[str | None]:  # noqa: D102 - see AcceptingEmitter
        return self._confirmations.watch(payload)

    def _start_waiting(self) -> None:
        """Hand over the events that came while there was no loop to wait in."""
        while self._waiting:
            payload = self._waiting.popleft()
            wait = self._call(payload)
            if wait is not None:
                finish = self._finish([(payload, wait)])
                task = start_task(asyncio.get_running_loop(), finish)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _call(self, payload: Payload) -> Awaitable[object] | None:
        """Call `input`; return the awaitable that it leaves, or None."""
        self._accepted += 1
        try:
            result = self._target.input(payload)
        except Exception as error:  # noqa: BLE001 - an emitter's fault must not reach the others
            self._failed(payload, error)
            return None
        if inspect.isawaitable(result):
            return result
        self._succeeded(payload)
        return None

    async def _finish(self, waits: Sequence[tuple[Payload, Awaitable[object]]]) -> None:
        for payload, wait in waits:
            try:
                async with asyncio.timeout(_INPUT_SECONDS):
                    await wait
            except Exception as error:  # noqa: BLE001 - an emitter's fault must not reach the others
                self._failed(payload, error)
            else:
                self._succeeded(payload)

    def _succeeded(self, payload: Payload) -> None:
        self._delivered += 1
        self._confirmations.tell(payload, None)

    def _failed(self, payload: Payload, error: Exception) -> None:
        reason = "timeout" if isinstance(error, TimeoutError) else "error"
        self._dropped[reason] += 1
        self._last_error = type(error).__name__
        self._confirmations.tell(payload, self._last_error)
        self._throttled.log(reason, logging.ERROR, "%s: input failed: %s", self.name, type(error).__name__)

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:
        """Hand over what waits for a loop, wait until that is done, and flush the target if it can."""
        self._loop = asyncio.get_running_loop()
        self._start_waiting()
        if wait and self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        await self._call_if_there("flush", timeout)
        return self._report()

    async def aclose(self, timeout: float | None = None) -> FlushResult:
        """Hand over what waits for a loop, wait until that is done, and close the target if it can."""
        self._loop = asyncio.get_running_loop()
        self._start_waiting()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_INPUT_SECONDS if timeout is None else timeout)
        await self._call_if_there("aclose", timeout)
        return self._report()

    async def _call_if_there(self, method: str, timeout: float | None) -> None:
        call = getattr(self._target, method, None)
        if call is None:
            return
        try:
            async with asyncio.timeout(timeout):
                result = call()
                if inspect.isawaitable(result):
                    await result
        except Exception as error:  # noqa: BLE001 - an emitter's fault must not reach the others
            self._last_error = type(error).__name__
            self._throttled.log(
                method, logging.ERROR, "%s: %s failed: %s", self.name, method, type(error).__name__
            )

    def _report(self) -> FlushResult:
        fresh, self._reported = self._delivered - self._reported, self._delivered
        return FlushResult(delivered=fresh, pending=len(self._waiting) + len(self._tasks))

    def stats(self) -> EmitterStats:  # noqa: D102 - see Emitter
        waiting = len(self._waiting)
        dropped = self._dropped.total()
        return EmitterStats(
            accepted=self._accepted + waiting,
            pending=waiting,
            leased=self._accepted - self._delivered - dropped,
            delivered=self._delivered,
            dropped=MappingProxyType(dict(self._dropped)),
            last_error=self._last_error,
        )


def accepting_emitter(emitter: Any) -> AcceptingEmitter:
    """Return *emitter* itself if it accepts payloads in one step, else a `CustomEmitter` around it."""
    # A subclass of our emitters may have an `input` of its own, which must then be called.
    if isinstance(emitter, AcceptingEmitter) and type(emitter).input is AcceptingEmitter.input:
        return emitter
    return CustomEmitter(emitter)
