"""Waiting in one thread for a coroutine that runs in the event loop of another."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_Result = TypeVar("_Result")

# A loop that ends under its coroutine is noticed after this time.
_LOOK_SECONDS = 0.5

# So many looks in a row at a loop that does not run: it has ended, and is not only about to start.
_MOST_LOOKS = 4

# So many looks in a row at which the loop has not even called a function: something blocks it, such as a
# lock that the caller holds.
_MOST_SILENT_LOOKS = 20

# What a cancelled call gets to end in order.
_END_SECONDS = 1.0


class LoopEndedError(RuntimeError):
    """The event loop has ended before the call did."""


class LoopLateError(RuntimeError):
    """The call has not ended in time, or something blocks its loop; it goes on."""


def result_of(
    call: Callable[[], Coroutine[Any, Any, _Result]],
    loop: asyncio.AbstractEventLoop,
    seconds: float | None = None,
) -> _Result:
    """
    Run *call*, a coroutine function, in *loop*, which runs in another thread, and wait for its result.

    It sees the context variables of the caller. A caller that is interrupted, as by Ctrl-C, has it
    cancelled, gives it a second to end, and raises.

    Args:
        call: The coroutine function. It is called in *loop*, so an interrupt leaves no coroutine behind that
            nobody awaits.

        loop: The loop.

        seconds: Longest wait. A call that has a bound of its own exceeds it only where something blocks
            the loop, such as a hook, or a lock of a logging handler that the caller holds.

    Raises:
        LoopEndedError: If the loop has ended before, or ends it.
        LoopLateError: If it takes longer, or the loop stands still for ten seconds.
    """
    ended: concurrent.futures.Future[_Result] = concurrent.futures.Future()
    # Released at the end. The lock of the future itself may be held by a frame that a signal handler has
    # interrupted, so nobody waits on that.
    end = _thread.allocate_lock()
    end.acquire()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        try:
            ended.set_result(await call())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            ended.set_exception(error)

    def start() -> None:
        task = loop.create_task(run())
        tasks.append(task)
        # Also where it is cancelled before its first step.
        task.add_done_callback(lambda _task: end.release())

    def cancel() -> None:
        for task in tasks:
            task.cancel()

    try:
        loop.call_soon_threadsafe(start)
    except RuntimeError as error:
        raise LoopEndedError from error
    try:
        _wait_for(end, loop, math.inf if seconds is None else time.monotonic() + seconds)
    except LoopLateError:
        raise
    except BaseException:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(cancel)
            end.acquire(timeout=_END_SECONDS)
        raise
    if not ended.done() or isinstance(ended.exception(), asyncio.CancelledError):
        # A loop that ends cancels its tasks.
        raise LoopEndedError
    return ended.result()


def _wait_for(end: _thread.LockType, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
    in_vain, silent = 0, 0

    def hear() -> None:
        nonlocal silent
        silent = 0

    while True:
        rest = deadline - time.monotonic()
        if end.acquire(timeout=max(0.0, min(_LOOK_SECONDS, rest))):
            return
        in_vain = 0 if loop.is_running() else in_vain + 1
        if loop.is_closed() or in_vain == _MOST_LOOKS:
            raise LoopEndedError
        if rest <= 0 or silent == _MOST_SILENT_LOOKS:
            raise LoopLateError
        silent += 1
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(hear)
