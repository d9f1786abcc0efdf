"""
The turns of event loops, shared among all callers that hand over work in them.

A coroutine that never suspends keeps its loop from everything else, so it has to
rest now and then. With one such coroutine it is enough that each rests by itself.
Of a hundred each has its turn before the loop comes to anything else: here they
rest together, and go on one after the other.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from weakref import WeakKeyDictionary

# Pieces of work between two looks at the clock.
PIECES = 16

# The part of an event that counts as one piece more.
PIECE_BYTES = 4096

# The longest work of one turn, with the pieces that go over it. With one task it is the longest wait
# of a busy `track`, and with the slow ones right after it hits fewer than one in a hundred.
TURN_SECONDS = 0.002


class Turns:
    """
    Shares the turns of event loops.

    The caller counts `left` down, by one for each piece of its work. A large event is several. When
    nothing is left, it asks `has_time`; and if there is none, it awaits `rest`.

    Attributes:
        left: Pieces of work until somebody has to ask again. All loops share it, as it is only a guide.
    """

    def __init__(self) -> None:
        self.left: int = PIECES
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopTurns] = WeakKeyDictionary()

    def has_time(self, loop: asyncio.AbstractEventLoop, now: float) -> bool:
        """Return whether this turn of *loop*, the running one, has time left at *now* by its clock."""
        self.left = PIECES
        return self._of(loop).has_time(loop, now)

    async def rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a later turn of *loop*, the running one, after all who rest already."""
        # Until then newcomers rest after each piece.
        self.left = 0
        await self._of(loop).rest(loop)
        self.left = PIECES

    def _of(self, loop: asyncio.AbstractEventLoop) -> _LoopTurns:
        turns = self._loops.get(loop)
        if turns is None:
            turns = self._loops[loop] = _LoopTurns()
        return turns


class _LoopTurns:
    """The turns of one event loop. It does not refer to the loop, which would keep that alive."""

    def __init__(self) -> None:
        self._resting: deque[asyncio.Future[None]] = deque()
        self._is_first_resting = False
        self._ends_at = 0.0
        # Whether the end of this turn will be noticed.
        self._is_under_way = False

    def has_time(self, loop: asyncio.AbstractEventLoop, now: float) -> bool:
        if not self._is_under_way:
            self._begin(loop, now)
        # Also while others rest: a turn that ends early costs as much as a long one, and smaller batches.
        return now < self._ends_at

    def _begin(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        self._is_under_way = True
        self._ends_at = now + TURN_SECONDS
        # Each its own: two loops cannot be in one at the same time.
        loop.call_soon(self._end, loop, context=contextvars.Context())

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn is over: let the one go on that has rested longest."""
        self._is_under_way = False
        while self._resting:
            resting = self._resting.popleft()
            # It may have been cancelled.
            if not resting.done():
                resting.set_result(None)
                self._begin(loop, loop.time())
                return

    async def rest(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_first_resting and not self._resting:
            # Mostly nobody else does. Then one step of the loop is enough.
            self._is_first_resting = True
            try:
                await asyncio.sleep(0)
            finally:
                self._is_first_resting = False
        else:
            resting = loop.create_future()
            self._resting.append(resting)
            if not self._is_under_way:
                self._begin(loop, loop.time())
            await resting
        self._ends_at = loop.time() + TURN_SECONDS


TURNS = Turns()
