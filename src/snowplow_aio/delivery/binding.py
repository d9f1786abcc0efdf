"""
The event loop that runs a delivery: one of the application, or the portal's.

A loop of the application that ends gives the delivery to the portal, a thread
with a loop of its own, if events are undelivered. There it stays although loops
come and go, as with `asyncio.run` for each job. A loop that lasts takes it back.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from anyio import CancelScope

from snowplow_aio.delivery.supervisor import LifeCycle, Supervisor, Work
from snowplow_aio.runtime import fork, portal
from snowplow_aio.runtime.tasks import start_task

_Result = TypeVar("_Result")

# A loop has lasted when it runs so long after a call that tracks.
_CLAIM_SECONDS = 5.0

# A delivery leaves the portal when it has had nothing to do for about as long.
_REST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """
    A delivery, as its binding sees it.

    Args:
        deliver: A coroutine function that delivers until it is cancelled.

        is_needed: Returns whether events are undelivered.

        settle: Waits for hooks that run.

        take_over: Called before the delivery begins in a new loop, when the old one was closed under it.

        when_stopped: Called when the delivery has ended for good.

        can_move: Whether it can run in the portal.
    """

    deliver: Callable[[], Coroutine[Any, Any, None]]
    is_needed: Callable[[], bool]
    settle: Callable[[], Coroutine[Any, Any, None]]
    take_over: Callable[[], None]
    when_stopped: Callable[[], None]
    can_move: bool


class Binding:
    """
    Keeps one delivery running in one event loop at a time.

    It does not know the delivery, so that an emitter that is dropped before its
    first event is gone at once: each call gets the job.

    Args:
        supervisor: Runs the delivery.

    Attributes:
        stays_in_portal: Whether the delivery runs in the portal from its first event to its end, and in
            no loop of the application.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        # Threads with loops of their own may come at once.
        self._lock = threading.RLock()
        self._is_attaching = False
        self.stays_in_portal: bool = False
        self._claimant: asyncio.AbstractEventLoop | None = None
        self._stay: asyncio.Task[None] | None = None
        self._claiming: asyncio.Task[None] | None = None

    @property
    def has_loop(self) -> bool:
        """Whether a running loop delivers, or will in a moment."""
        return self._supervisor.has_loop or self.portal_loop is not None

    @property
    def portal_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop of the portal, if the delivery is a guest there."""
        return portal.loop_of(self)

    @property
    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that delivers, or will in a moment."""
        return self._supervisor.loop if self._supervisor.has_loop else self.portal_loop

    @property
    def _is_in_portal(self) -> bool:
        return self._supervisor.has_loop and self._supervisor.loop is portal.loop_of(self)

    # --- loops of the application

    def attach(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        """Have the delivery run in *loop*, the running one, unless it runs in another thread."""
        with self._lock:
            # A signal handler may track in the midst of it.
            if not self._is_attaching:
                self._is_attaching = True
                try:
                    self._attach(loop, job)
                finally:
                    self._is_attaching = False

    def _attach(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        supervisor = self._supervisor
        if supervisor.state is LifeCycle.STOPPED:
            return
        if self.stays_in_portal and loop is not self.portal_loop:
            self.deliver_in_portal(job)
            if self.has_loop:
                return
            # At the very end of the interpreter there is no portal any more.
        if supervisor.loop is not loop and supervisor.has_loop:
            if loop is not self._claimant and self._is_in_portal:
                self._claimant = loop
                loop.call_later(_CLAIM_SECONDS, self._claim, loop, job, context=contextvars.Context())
            return
        if supervisor.is_ending(loop) and job.can_move:
            # It still runs the last functions of the application.
            self._go_on_in_portal(job)
            return
        if supervisor.is_alive and supervisor.loop is not loop:
            job.take_over()
        supervisor.run_in(loop, Work(job.deliver, partial(self._when_loop_ends, job), job.when_stopped))

    async def bind(self, job: Job, seconds: float) -> None:
        """Have the delivery run in the running loop; the portal gives it away within *seconds*."""
        if self._is_in_portal:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._supervisor.leave()
        self.attach(asyncio.get_running_loop(), job)

    def _claim(self, loop: asyncio.AbstractEventLoop, job: Job) -> None:
        self._claimant = None
        if self._supervisor.loop is not loop:
            self._claiming = start_task(loop, self.bind(job, _REST_SECONDS))

    async def run_elsewhere(
        self,
        work: Callable[[], Coroutine[Any, Any, _Result]],
        cut_short: Callable[[], None],
        seconds: float,
        rest: float,
    ) -> _Result | None:
        """
        Do *work* in the loop of the other thread that delivers, where connections and hooks are.

        A call that is cancelled has the work cut short there, waits for it, and raises.

        Args:
            work: A coroutine function.

            cut_short: Has the work end as soon as it can.

            seconds: The time that the work takes at most.

            rest: The time that it takes at most to end.

        Returns:
            The result; None if the running loop delivers, or if the other one has ended meanwhile.
        """
        bound = self._supervisor.loop
        if bound is None or bound is asyncio.get_running_loop() or not self._supervisor.has_loop:
            return None
        working = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), bound))
        try:
            await asyncio.wait([working], timeout=seconds + rest)
        except asyncio.CancelledError:
            with suppress(RuntimeError):
                bound.call_soon_threadsafe(cut_short)
            with CancelScope(shield=True):
                await asyncio.wait([working], timeout=rest)
            raise
        return working.result() if working.done() and not working.cancelled() else None

    # --- the portal

    def _when_loop_ends(self, job: Job) -> None:
        if job.can_move and job.is_needed():
            self._go_on_in_portal(job)

    def _go_on_in_portal(self, job: Job) -> None:
        # At the very end of the interpreter no thread can be started any more: the events are spoken of.
        with suppress(RuntimeError):
            portal.enter(self, partial(self._enter_portal, job))

    def deliver_in_portal(self, job: Job) -> None:
        """
        Have the delivery run in the portal where no loop runs it.

        Some programs have no loop. At the end of the interpreter some servers have stopped theirs
        without ending it.
        """
        if job.can_move and not self.has_loop:
            self._go_on_in_portal(job)

    def _enter_portal(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        self.attach(loop, job)
        if self._stay is None or self._stay.done():
            self._stay = start_task(loop, self._stay_in_portal(job))

    async def _stay_in_portal(self, job: Job) -> None:
        """Deliver in the portal until there is nothing to do or another loop delivers, and leave it."""
        loop = asyncio.get_running_loop()
        is_needed = True
        while is_needed:
            await asyncio.sleep(_REST_SECONDS)
            self.attach(loop, job)
            with suppress(TimeoutError):
                async with asyncio.timeout(_REST_SECONDS):
                    await job.settle()
            is_needed = self._supervisor.loop is loop and (self.stays_in_portal or job.is_needed())
        if self._supervisor.loop is loop:
            await self._supervisor.leave()
        self._stay = None
        portal.leave(self)
        if job.is_needed() and not self.has_loop:
            # The events came while it left.
            self._go_on_in_portal(job)

    def leave_portal(self, *, is_last_to_stay: bool = False) -> None:
        """Leave the portal, as `portal.leave` does; the delivery has ended."""
        portal.leave(self, is_last_to_stay=is_last_to_stay)

    def abandon(self) -> None:
        """Forget all tasks without touching them: they belong to the parent process."""
        self._supervisor.abandon()
        fork.never_finalize(self._stay)
