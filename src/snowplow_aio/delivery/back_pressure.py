"""Wait a little while a store is nearly full and its destination takes events out of it."""

from __future__ import annotations

import asyncio
from functools import partial

from anyio import move_on_after

from snowplow_aio.abc import LocalStore
from snowplow_aio.runtime.waiting import LoopEndedError, LoopLateError, result_of

# A thread waits so much longer than its coroutine in the loop that delivers.
_LATE_SECONDS = 0.5


class BackPressure:
    """
    Makes the caller of `track` wait for room, so that a caller that never suspends drops no events.

    Args:
        store: The store that may be nearly full.

        longest: Longest wait for one event, in seconds.
    """

    def __init__(self, store: LocalStore, longest: float = 1.0) -> None:
        self._store = store
        self._longest = longest
        self._vain_at = -1

    async def wait(self, delivered: int) -> None:
        """
        Wait until the store is below its high water, not longer than the longest wait.

        Args:
            delivered: Number of events that the destination has taken so far. After a wait
                that was in vain nobody waits again before this number grows: a
                destination that hangs is not known to have failed yet.
        """
        if not self._store.is_above_high_water or delivered == self._vain_at:
            return
        with move_on_after(self._longest) as scope:
            await self._store.below_high_water()
        self._vain_at = delivered if scope.cancelled_caught else -1

    def block(self, delivered: int, loop: asyncio.AbstractEventLoop | None) -> None:
        """Do the same as `wait` in a thread without a loop; *loop* is the one that delivers, if any does."""
        if loop is None or not self._store.is_above_high_water or delivered == self._vain_at:
            return
        try:
            result_of(partial(self.wait, delivered), loop, self._longest + _LATE_SECONDS)
        except LoopEndedError:
            return
        except LoopLateError:
            self._vain_at = delivered
