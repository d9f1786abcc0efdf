"""Calls of the application's functions that end in time, whatever they do."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, TypeVar

from snowplow_aio.runtime.tasks import start_task

_Result = TypeVar("_Result")

# Calls that have not ended, also those that were given up: a loop has no reference of its own to a task.
_under_way: set[asyncio.Task[Any]] = set()


class CancelledByItself(Exception):  # noqa: N818 - no error of ours
    """What was awaited has raised `asyncio.CancelledError` although nobody had cancelled it."""


def start_thread(function: Callable[[], _Result], name: str = "snowplow_aio") -> Future[_Result]:
    """
    Call *function* in a thread of its own, which keeps no interpreter from its end.

    Args:
        function: The function.

        name: The name of the thread.

    Raises:
        RuntimeError: If no thread can be started.
    """
    future: Future[_Result] = Future()
    # A call that has begun cannot be cancelled.
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def called_in_place(seconds: float, call: Callable[[], _Result]) -> Future[_Result]:
    """
    Call *call* while the running loop stands still, as if it were called here, for *seconds* at most.

    It runs in a thread of its own, which stands in for that of the loop: the loop is the running one
    there too, and as it does nothing else meanwhile, *call* may start tasks and use what belongs
    to it. When the time is over, the loop goes on, and the call is left alone.

    Returns:
        The call, which has ended or not.

    Raises:
        RuntimeError: If no thread can be started.
    """
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()

    def calling() -> _Result:
        asyncio._set_running_loop(loop)  # noqa: SLF001 - the thread of a call that is left alone ends with it
        return context.run(call)

    # With the name of the other, so that what is logged in the call reads as ever.
    called = start_thread(calling, threading.current_thread().name)
    wait([called], timeout=seconds)
    return called


async def called_within(seconds: float, call: Callable[[], Any]) -> Any:
    """
    Call *call*, await what it returns, and return the result.

    A plain function may block, so it is called in a thread; a coroutine function is called here.

    Args:
        seconds: Longest wait.

        call: The function.

    Raises:
        TimeoutError: If it takes longer. A function that cannot be stopped is left alone.
        CancelledByItself: If the function has cancelled itself.
    """
    return await within(seconds, _called(call))


async def _called(call: Callable[[], Any]) -> Any:
    if inspect.iscoroutinefunction(call):
        return await call()
    context = contextvars.copy_context()
    result = await asyncio.wrap_future(start_thread(lambda: context.run(call)))
    return await result if inspect.isawaitable(result) else result


async def within(seconds: float, awaitable: Awaitable[_Result]) -> _Result:
    """
    Await *awaitable*, which sees the context of the caller, *seconds* at most.

    When the time is over, or the caller is cancelled, it is cancelled; if it goes on all
    the same, it is left alone.

    Raises:
        TimeoutError: If it takes longer.
        CancelledByItself: If it has cancelled itself.
    """
    loop = asyncio.get_running_loop()
    task = start_task(loop, _awaited(awaitable), context=contextvars.copy_context())
    _under_way.add(task)
    task.add_done_callback(partial(_ended, awaitable), context=contextvars.Context())
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
    if not task.done():
        raise TimeoutError
    if task.cancelled():
        raise CancelledByItself
    return task.result()


async def _awaited(awaitable: Awaitable[_Result]) -> _Result:
    return await awaitable


def _ended(awaitable: object, task: asyncio.Task[Any]) -> None:
    _under_way.discard(task)
    if inspect.iscoroutine(awaitable):
        # Where the task was cancelled before its first step, nobody has awaited it, and Python would warn.
        awaitable.close()
    # Python complains of an exception that nobody has seen.
    if not task.cancelled():
        task.exception()
