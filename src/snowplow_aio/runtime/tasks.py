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
    and with it a request of the application, alive for as long as it runs.

    The application may have set a task factory, often for instrumentation. It
    may wrap the coroutine in another one, so nobody may have started the
    coroutine before. It may know no argument `context`, so the context is
    entered instead. It may be eager: then the coroutine runs up to its first
    wait before this function returns.
    """
    entered = contextvars.Context() if context is None else context
    task = entered.run(loop.create_task, coroutine)
    if loop.get_task_factory() is not None:
        # A wrapper that is cancelled before its first step leaves the coroutine unstarted.
        task.add_done_callback(partial(_close, coroutine), context=contextvars.Context())
    return task


def _close(coroutine: Coroutine[Any, Any, object], _task: asyncio.Task[Any]) -> None:
    # Python warns of a coroutine that nobody has awaited. One that has ended stays as it is.
    coroutine.close()
