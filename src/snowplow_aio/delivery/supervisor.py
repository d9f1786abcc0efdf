"""Keeps one task running: starts it in an event loop, restarts it, moves it to another loop, stops it."""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from snowplow_aio.runtime import fork
from snowplow_aio.runtime.foreign_text import shown
from snowplow_aio.runtime.tasks import start_task
from snowplow_aio.runtime.throttled_log import QuietLogger
from snowplow_aio.runtime.wake_up import WakeUp

# How long a task that ended stays down. A loop that `asyncio.run` is closing does
# not run that long, and so can end.
_RESTART_SECONDS = 0.05

# Work that fails again and again is started more and more rarely, down to this pause.
_MAX_RESTART_SECONDS = 1.0

# A failure is logged once in so many seconds.
_SAID_SECONDS = 60.0

# Work that has run for so long has not failed "again" when it fails.
_STEADY_SECONDS = 2.0


class LifeCycle(Enum):
    """The states of supervised work."""

    IDLE = "idle"
    """It runs in no loop: it was never started in this process, or it has left the loop it ran in."""

    RUNNING = "running"
    """It has a task in an event loop. If that loop was closed, the next `run_in` moves it."""

    DOWN = "down"
    """Its task has ended. It starts again after a moment, or with the next `run_in`."""

    STOPPED = "stopped"
    """It was stopped and never starts again."""


_NEXT = {
    LifeCycle.IDLE: {LifeCycle.RUNNING, LifeCycle.STOPPED},
    # From one loop to another it goes on running.
    LifeCycle.RUNNING: {LifeCycle.RUNNING, LifeCycle.DOWN, LifeCycle.IDLE, LifeCycle.STOPPED},
    LifeCycle.DOWN: {LifeCycle.RUNNING, LifeCycle.IDLE, LifeCycle.STOPPED},
    LifeCycle.STOPPED: {LifeCycle.STOPPED},
}


@dataclass(frozen=True, slots=True)
class Work:
    """
    The work that a supervisor keeps running.

    Args:
        run: A coroutine function that runs until it is cancelled.

        when_loop_ends: Called when the event loop of the task ends and nobody has stopped the work, which
            runs in no loop then.

        when_stopped: Called when the task has ended after `Supervisor.stop`.
    """

    run: Callable[[], Coroutine[Any, Any, None]]
    when_loop_ends: Callable[[], None] | None = None
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

        ended_loop: The latest event loop that has ended with the work in it, or None.

        restarts: How often the task ended although nobody had stopped it.
    """

    def __init__(self, name: str, *, log: QuietLogger, failure: str) -> None:
        self._name = name
        self._log = log
        self._failure = failure
        self._task: asyncio.Task[None] | None = None
        self._interrupted: asyncio.Task[Any] | None = None
        self._at_loop_end: _AtLoopEnd | None = None
        # A caller of `leave` waits for the end of the task, perhaps in another loop.
        self._left: WakeUp | None = None
        # Failures in a row, the latest of them, and when the task was started.
        self._failures = 0
        self._latest_failure = ""
        self._started_at = 0.0
        self._said_at = -math.inf
        self.state: LifeCycle = LifeCycle.IDLE
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ended_loop: asyncio.AbstractEventLoop | None = None
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

    @property
    def has_loop(self) -> bool:
        """Whether the work is done in a loop that runs, or starts again there after a moment."""
        return self.has_open_loop and self.loop is not None and self.loop.is_running()

    @property
    def has_open_loop(self) -> bool:
        """Whether the work belongs to a loop that runs, or that may run again."""
        is_bound = self.state is LifeCycle.RUNNING or self.state is LifeCycle.DOWN
        return is_bound and self.loop is not None and not self.loop.is_closed()

    def is_ending(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether *loop* is known to have told everybody that it ends."""
        # If the first event of a loop comes so late, nothing was begun in it that its end would tell.
        # The loops of asyncio itself remember that they have told it.
        return loop is self.ended_loop or getattr(loop, "_asyncgens_shutdown_called", False)

    def error(self, now: float) -> str | None:
        """Return the latest failure of work that fails again and again, else None; *now* is by the loop."""
        is_steady = self.state is LifeCycle.RUNNING and now - self._started_at >= _STEADY_SECONDS
        return self._latest_failure if self._failures > 1 and not is_steady else None

    # --- from outside

    def run_in(self, loop: asyncio.AbstractEventLoop, work: Work) -> None:
        """Run *work* in *loop*, which is the running one, unless it runs there already."""
        if self.is_alive and self.loop is loop:
            return
        self._become(LifeCycle.RUNNING)
        if self.loop is not loop or self._at_loop_end is None:
            self.loop = loop
            self._cancel_at_loop_end()
            if work.when_loop_ends is not None and not self.is_ending(loop):
                self._at_loop_end = _AtLoopEnd(partial(self._loop_ends, work.when_loop_ends))
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

    async def leave(self) -> None:
        """
        End the task where it runs, which may be another thread, without stopping: it can run in another loop.

        A call that is cancelled leaves the work where it is.
        """
        task, loop = self._task, self.loop
        if self.state is LifeCycle.RUNNING and task is not None and loop is not None and loop.is_running():
            self._left = left = WakeUp()
            try:
                if loop is asyncio.get_running_loop():
                    task.cancel()
                else:
                    # Its loop may be closed by now.
                    with suppress(RuntimeError):
                        loop.call_soon_threadsafe(task.cancel, context=contextvars.Context())
                while self._left is left and loop.is_running():
                    await left.wait(timeout=_MAX_RESTART_SECONDS)
            finally:
                if self._left is left:
                    self._left = None
        elif self.state is LifeCycle.DOWN:
            self._become(LifeCycle.IDLE)

    def drop(self) -> None:
        """Forget the work: its owner is garbage, and does nothing at the end of the loop."""
        self._cancel_at_loop_end()

    def abandon(self) -> None:
        """Forget the task without touching it: it belongs to the parent process."""
        fork.never_finalize((self._task, self._at_loop_end))
        self._at_loop_end = None

    # --- the task

    def _start(self, loop: asyncio.AbstractEventLoop, work: Work) -> None:
        self._task = None
        self._started_at = loop.time()
        running = self._run(work)
        try:
            task = start_task(loop, running)
        except Exception as error:  # noqa: BLE001 - a task factory of the application; `track` must not raise
            running.close()
            self._failed(error)
            self._go_down(None, loop, work)
            return
        self._task = task
        with suppress(AttributeError):
            # A dropped emitter says by itself how many events are lost.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        task.add_done_callback(partial(self._ended, work=work), context=contextvars.Context())

    async def _run(self, work: Work) -> None:
        try:
            await work.run()
        except asyncio.CancelledError:
            if self.state is not LifeCycle.STOPPED and self._left is None:
                self._interrupted = asyncio.current_task()
                self.restarts += 1
            raise

    def _ended(self, task: asyncio.Task[None], work: Work) -> None:
        left = None
        # Another task may have taken its place meanwhile.
        if task is self._task:
            left, self._left = self._left, None
        if not task.cancelled() and (error := task.exception()) is not None and left is None:
            self._failed(error)
        if self.state is LifeCycle.STOPPED:
            if work.when_stopped is not None:
                work.when_stopped()
        elif left is not None:
            self._cancel_at_loop_end()
            self._become(LifeCycle.IDLE)
        elif self.loop is not None and not self.loop.is_closed():
            self.restarts += task is not self._interrupted
            if task is self._task:
                self._go_down(task, self.loop, work)
        if left is not None:
            left.notify()

    def _failed(self, error: BaseException) -> None:
        """Note that the task has failed with *error*."""
        now = self._started_at if self.loop is None else self.loop.time()
        self._failures = 1 if now - self._started_at >= _STEADY_SECONDS else self._failures + 1
        self._latest_failure = f"{type(error).__name__}: {shown(error)}"
        if time.monotonic() - self._said_at >= _SAID_SECONDS:
            self._said_at = time.monotonic()
            self._log.error(self._failure, self._name, exc_info=error)

    def _go_down(self, ended: asyncio.Task[None] | None, loop: asyncio.AbstractEventLoop, work: Work) -> None:
        self._become(LifeCycle.DOWN)
        pause = min(_RESTART_SECONDS * 2.0 ** min(max(0, self._failures - 1), 10), _MAX_RESTART_SECONDS)
        loop.call_later(pause, self._restart, ended, work, context=contextvars.Context())

    def _restart(self, ended: asyncio.Task[None] | None, work: Work) -> None:
        if self.state is LifeCycle.DOWN and self._task is ended and self.loop is not None:
            self._become(LifeCycle.RUNNING)
            self._start(self.loop, work)

    # --- the end of the loop

    def _cancel_at_loop_end(self) -> None:
        at_loop_end, self._at_loop_end = self._at_loop_end, None
        if at_loop_end is not None:
            at_loop_end.cancel()

    async def _loop_ends(self, tell: Callable[[], None]) -> None:
        """Leave the running loop, which ends, and *tell* so."""
        if self.state is LifeCycle.STOPPED:
            return
        self.ended_loop = asyncio.get_running_loop()
        # Some programs end a loop without cancelling its tasks.
        await self.leave()
        if self.state is LifeCycle.IDLE:
            tell()


class _AtLoopEnd:
    """
    Awaits *work* at the end of the running event loop, unless it is cancelled before.

    A task that is cancelled cannot know whether its loop ends, and one that is
    cancelled before its first step never runs. A loop that ends awaits one
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
            try:
                self._generator.asend(None).send(None)
            except StopIteration:
                pass
            except ResourceWarning:
                # The loop ends already, of which Python warns, and warnings are errors here.
                self._is_needed = False

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
            # The loop may be closing it at this moment, in another thread.
            with suppress(StopIteration, RuntimeError):
                self._generator.aclose().send(None)
