"""Keeps one task running: starts it in an event loop, restarts it, moves it to another loop, stops it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Protocol

from snowplow_aio.runtime import fork
from snowplow_aio.runtime.tasks import start_task
from snowplow_aio.runtime.throttled_log import QuietLogger

# How long a task that ended stays down. A loop that `asyncio.run` is closing does
# not run that long, and so can end.
_RESTART_SECONDS = 0.05


class LifeCycle(Enum):
    """The states of supervised work."""

    IDLE = "idle"
    """It was never started in this process."""

    RUNNING = "running"
    """It has a task in an event loop. If that loop was closed, the next `run_in` moves it."""

    DOWN = "down"
    """Its task has ended. It starts again after a moment, or with the next `run_in`."""

    STOPPED = "stopped"
    """It was stopped and never starts again."""


_NEXT = {
    LifeCycle.IDLE: {LifeCycle.RUNNING, LifeCycle.STOPPED},
    # From one loop to another it goes on running.
    LifeCycle.RUNNING: {LifeCycle.RUNNING, LifeCycle.DOWN, LifeCycle.STOPPED},
    LifeCycle.DOWN: {LifeCycle.RUNNING, LifeCycle.STOPPED},
    LifeCycle.STOPPED: {LifeCycle.STOPPED},
}


class LastWork(Protocol):
    """A coroutine function for work that was cancelled: its loop may be ending."""

    def __call__(self, *, loop_ends: bool) -> Coroutine[Any, Any, None]:
        """Do what is left; *loop_ends* says that the loop certainly ends afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """
    The work that a supervisor keeps running.

    Args:
        run: A coroutine function that runs until it is cancelled.

        last: Awaited when the task is cancelled and nobody has stopped it.

        when_stopped: Called when the task has ended after `Supervisor.stop`.
    """

    run: Callable[[], Coroutine[Any, Any, None]]
    last: LastWork | None = None
    when_stopped: Callable[[], None] | None = None


class Supervisor:
    """
    Runs work as a task until it is stopped, whatever happens to the task.

    A task that fails, ends or is cancelled by somebody else starts again after
    a moment. The cancellation is passed on, so that a loop that cancels all its
    tasks can end.

    Nothing refers to the work before it runs in a loop. So an owner that is dropped
    before is gone at once, and can warn of the events that it has lost.

    Args:
        name: The name of the emitter or worker, for logs.

        log: The logger for failures.

        failure: The message for a failure, with one ``%s`` for the name.

    Attributes:
        state: The current state; it changes according to one table.

        loop: The event loop of the latest task, or None.

        restarts: How often the task ended although nobody had stopped it.
    """

    def __init__(self, name: str, *, log: QuietLogger, failure: str) -> None:
        self._name = name
        self._log = log
        self._failure = failure
        self._task: asyncio.Task[None] | None = None
        self._interrupted: asyncio.Task[Any] | None = None
        self._at_loop_end: _AtLoopEnd | None = None
        self.state: LifeCycle = LifeCycle.IDLE
        self.loop: asyncio.AbstractEventLoop | None = None
        self.restarts: int = 0

    def _become(self, state: LifeCycle) -> None:
        if state not in _NEXT[self.state]:
            raise AssertionError(f"{self._name}: {self.state} cannot become {state}")
        self.state = state

    @property
    def is_alive(self) -> bool:
        """Whether there is a task that has not ended; its loop may be closed."""
        # An eager task runs before it is known.
        return self.state is LifeCycle.RUNNING and (self._task is None or not self._task.done())

    # --- from outside

    def run_in(self, loop: asyncio.AbstractEventLoop, work: Work) -> None:
        """Run *work* in *loop*, which is the running one, unless it runs there already."""
        if self.is_alive and self.loop is loop:
            return
        self._become(LifeCycle.RUNNING)
        self.loop = loop
        self._cancel_at_loop_end()
        if work.last is not None:
            self._at_loop_end = _AtLoopEnd(partial(self._work_at_loop_end, work, work.last))
        self._start(loop, work)

    def stop(self) -> asyncio.Task[None] | None:
        """Stop for good and cancel the task; return it if it has still to end in the running loop."""
        self._become(LifeCycle.STOPPED)
        self._cancel_at_loop_end()
        task = self._task
        if task is None or task.done() or self.loop is None:
            return None
        if self.loop is not asyncio.get_running_loop():
            # A closed loop runs nothing any more.
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(task.cancel)
            return None
        task.cancel()
        return task

    def abandon(self) -> None:
        """Forget the task without touching it: it belongs to the parent process."""
        fork.never_finalize((self._task, self._at_loop_end))

    # --- the task

    def _start(self, loop: asyncio.AbstractEventLoop, work: Work) -> None:
        self._task = None
        self._task = task = start_task(loop, self._run(work))
        with suppress(AttributeError):
            # A dropped emitter says by itself how many events are lost.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        task.add_done_callback(partial(self._ended, work=work), context=contextvars.Context())

    async def _run(self, work: Work) -> None:
        self._cancel_at_loop_end()
        try:
            await work.run()
        except asyncio.CancelledError:
            if self.state is not LifeCycle.STOPPED:
                self._interrupted = asyncio.current_task()
                self.restarts += 1
                if work.last is not None:
                    await work.last(loop_ends=False)
            raise

    def _ended(self, task: asyncio.Task[None], work: Work) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error(self._failure, self._name, exc_info=error)
        if self.state is LifeCycle.STOPPED:
            if work.when_stopped is not None:
                work.when_stopped()
            return
        if self.loop is None or self.loop.is_closed():
            return
        self.restarts += task is not self._interrupted
        # Another task may have taken its place meanwhile.
        if task is self._task:
            self._become(LifeCycle.DOWN)
            context = contextvars.Context()
            self.loop.call_later(_RESTART_SECONDS, self._restart, task, work, context=context)

    def _restart(self, ended: asyncio.Task[None], work: Work) -> None:
        if self.state is LifeCycle.DOWN and self._task is ended and self.loop is not None:
            self._cancel_at_loop_end()
            self._become(LifeCycle.RUNNING)
            self._start(self.loop, work)

    # --- a task that was cancelled before its first step

    def _cancel_at_loop_end(self) -> None:
        if self._at_loop_end is not None:
            self._at_loop_end.cancel()
            self._at_loop_end = None

    async def _work_at_loop_end(self, work: Work, last: LastWork) -> None:
        """Do the last work: the loop ends, and has cancelled the task before its first step."""
        is_down = self.state is LifeCycle.DOWN
        if not is_down:
            return
        # So that nothing else starts meanwhile.
        self._become(LifeCycle.RUNNING)
        self._task = asyncio.current_task()
        try:
            await last(loop_ends=True)
        finally:
            if self.state is not LifeCycle.STOPPED:
                self._become(LifeCycle.DOWN)
            elif work.when_stopped is not None:
                work.when_stopped()


class _AtLoopEnd:
    """
    Awaits *work* at the end of the running event loop, unless it is cancelled before.

    A task that is cancelled before its first step never runs: `asyncio.run` does
    that to the tasks of a program that tracks and exits. Such a loop awaits one
    thing more, the `aclose` of every asynchronous generator that was begun in
    it (`loop.shutdown_asyncgens`). So the work is done by one of these.

    Args:
        work: A coroutine function.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        # A loop without hooks for generators awaits none of them.
        self._is_needed = sys.get_asyncgen_hooks().firstiter is not None
        self._generator = self._wait()
        if self._is_needed:
            # The first step makes it known to the loop.
            with suppress(StopIteration):
                self._generator.asend(None).send(None)

    async def _wait(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self._is_needed:
                self._is_needed = False
                await self._work()

    def cancel(self) -> None:
        """Do nothing at the end of the loop; no effect once the work has begun."""
        if self._is_needed:
            self._is_needed = False
            with suppress(StopIteration):
                self._generator.aclose().send(None)
