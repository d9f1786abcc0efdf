"""Wake one waiting coroutine from any thread, any loop and any signal handler."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

# A loop that is woken at once by another thread takes a turn at the interpreter's lock for a few events,
# and both threads stand in each other's way. A little later there is more to do.
LATE_SECONDS = 0.005


class WakeUp:
    """
    Wakes the one coroutine that waits for it, whichever loop that runs in.

    A notification is remembered until a `wait` has returned for it. So the waiting side
    looks at what it waits for after each `wait`, and the notifying side changes that
    before it calls `notify`: then no change goes unseen.

    No lock is held here. A signal handler may interrupt any method and call `notify`.

    Example:
        Wait for another thread, five seconds at most::

            wake_up = WakeUp()
            threading.Thread(target=wake_up.notify).start()
            await wake_up.wait(timeout=5)
    """

    __slots__ = ("_is_notified", "_is_woken_late", "_process", "_waiting", "_woken")

    def __init__(self) -> None:
        self._is_notified = False
        # The latest wait, and the latest one that was woken. Neither is ever cleared: a
        # wait of a closed loop may end at any time and must not undo a newer one.
        self._waiting: asyncio.Future[None] | None = None
        self._woken: asyncio.Future[None] | None = None
        self._is_woken_late = False
        self._process = 0

    @property
    def is_notified(self) -> bool:
        """Whether there was a notification for which no `wait` has returned yet."""
        return self._is_notified

    def notify(self, *, is_urgent: bool = True) -> None:
        """
        Have `wait` return: the one under way, else the next one. Never blocks; safe from any thread.

        Args:
            is_urgent: Whether it returns at once, or in the loop of another thread some milliseconds late.
        """
        # Before the look at who waits: `wait` does both in the opposite order.
        self._is_notified = True
        waiting = self._waiting
        # A loop that stands still collects one callback here, not one for each call.
        if waiting is None or waiting.done():
            return
        if waiting is self._woken and not (is_urgent and self._is_woken_late):
            return
        # The child of a fork has a copy of the future, and would write to its parent's loop.
        if self._process == os.getpid():
            _wake(waiting, is_urgent=is_urgent)
        # Only now: should a signal handler raise before, the next call wakes.
        self._is_woken_late = not is_urgent
        self._woken = waiting

    async def wait(self, timeout: float | None = None) -> None:
        """
        Return when there was a notification since the last `wait` returned.

        It may return early. A wait that is cancelled leaves the notification to the next one.

        Args:
            timeout: Longest wait, in seconds; None for as long as it takes.
        """
        if not self._is_notified:
            self._process = os.getpid()
            waiting = self._waiting = asyncio.get_running_loop().create_future()
            # Once more: a notification that came before the line above found nobody to wake.
            if not self._is_notified:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await waiting
        self._is_notified = False


def _wake(waiting: asyncio.Future[None], *, is_urgent: bool) -> None:
    loop = waiting.get_loop()
    # In a step of a task the loop looks for callbacks again before it sleeps. Elsewhere it
    # may be asleep, also when it runs in this thread: a signal handler interrupts its sleep
    # without ending it.
    is_here = asyncio._get_running_loop() is loop  # noqa: SLF001 - public in C, and does not raise
    if is_here and asyncio.current_task(loop) is not None:
        _finish(waiting)
        return
    # A closed loop waits for nothing.
    with suppress(RuntimeError):
        if is_urgent or is_here:
            loop.call_soon_threadsafe(_finish, waiting)
        else:
            loop.call_soon_threadsafe(loop.call_later, LATE_SECONDS, _finish, waiting)


def _finish(waiting: asyncio.Future[None]) -> None:
    # Asking `done` first would not do: a signal handler can finish it right after.
    with suppress(asyncio.InvalidStateError):
        waiting.set_result(None)
