"""The one place that starts tasks in the application's event loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def start_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, _Result],
    *,
    context: contextvars.Context | None = None,
) -> asyncio.Task[_Result]:
    """
    Run *coroutine* as a task of *loop*, the running one, in an empty context or in *context*.

    The context is usually empty because a task would keep the context of its starter,
    and with it a request of the application, alive for as long as it runs. Some
    instrumentation finds the request by the current task instead, so a task in an
    empty context is made as if there were none.

    The application may have set a task factory, often for instrumentation. It
    may wrap the coroutine in another one, so nobody may have started the
    coroutine before. It may know no argument `context`, so the context is
    entered instead. It may be eager: then the coroutine runs up to its first
    wait before this function returns.
    """
    if context is None:
        task = contextvars.Context().run(_create_outside_tasks, loop, coroutine)
    else:
        task = context.run(loop.create_task, coroutine)
    if loop.get_task_factory() is not None:
        # A wrapper that is cancelled before its first step leaves the coroutine unstarted.
        task.add_done_callback(partial(_close, coroutine), context=contextvars.Context())
    return task


def _create_outside_tasks(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, _Result]
) -> asyncio.Task[_Result]:
    """
    Return a new task of *loop*, made as a callback of the loop would make it: without a current task.

    New Relic gives each new task the trace of the current one. Requests to the collector, with the
    events of many visitors, would belong to the request of one of them.
    """
    current = asyncio.current_task(loop)
    if current is None:
        return loop.create_task(coroutine)
    # asyncio documents both functions, for those who write tasks of their own.
    asyncio.tasks._leave_task(loop, current)  # noqa: SLF001
    try:
        return loop.create_task(coroutine)
    finally:
        asyncio.tasks._enter_task(loop, current)  # noqa: SLF001


def _close(coroutine: Coroutine[Any, Any, object], _task: asyncio.Task[Any]) -> None:
    # Python warns of a coroutine that nobody has awaited. One that has ended stays as it is.
    coroutine.close()
