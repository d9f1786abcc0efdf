"""Wait a little while a store is nearly full and its destination takes events out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from anyio import move_on_after

from snowplow_aio.abc import LocalStore
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
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

    def block(self, delivered: int, loop: asyncio.AbstractEventLoop) -> None:
        """Do the same as `wait` in a thread without a loop; *loop* is the one that delivers."""
        if not self._store.is_above_high_water or delivered == self._vain_at:
            return
        try:
            result_of(partial(self.wait, delivered), loop, self._longest + _LATE_SECONDS)
        except LoopEndedError:
            return
        except LoopLateError:
            self._vain_at = delivered


def add_blocking(
    store: LocalStore,
    payloads: Sequence[Payload],
    *,
    now: float,
    window: int,
    dropped: Callable[[Sequence[StoredEvent]], None],
    loop: asyncio.AbstractEventLoop | None,
) -> None:
    """
    Do the same as `store.add` in a thread without a loop: wait for room where there is none.

    Args:
        store: The store.

        payloads: The payloads.

        now: The time on the clock of the loop that delivers.

        window: The number of their flush window.

        dropped: Called with the events that are dropped.

        loop: The loop that delivers; None if there is none, in which case nothing is waited for.
    """
    if loop is not None and store.add_if_room(payloads, now, window):
        return
    has_begun = has_ended = False

    async def add() -> None:
        nonlocal has_begun
        if has_ended:
            return
        has_begun = True
        await store.add(payloads, now=now, window=window, dropped=dropped)

    if loop is not None:
        with suppress(LoopEndedError, LoopLateError):
            result_of(add, loop)
        has_ended = True
        if has_begun:
            # Broken off, it says by itself what is dropped.
            return
    dropped(store.add_nowait(payloads, now, window))
