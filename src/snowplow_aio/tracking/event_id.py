"""Event ids: random UUIDs, made of random bytes that are read up to 16 kB at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from snowplow_aio.runtime import fork
from snowplow_aio.settings import starts_as_copy

# Making so many takes a tenth of a millisecond, for which one `track` in a thousand waits.
_POOL_SIZE: Final = 1024

# In a process that has just begun it takes half a millisecond. So the first pool is small, and
# each is twice as large as the one before.
_FIRST_POOL_SIZE: Final = 16

# The bits of a UUID that tell its version (RFC 9562, version 4), for a whole pool
# at once, which takes no longer than for one.
_KIND: Final = int.from_bytes(bytes.fromhex("000000000000 4000 8000 000000000000") * _POOL_SIZE)
_CHANCE: Final = int.from_bytes(bytes.fromhex("ffffffffffff 0fff 3fff ffffffffffff") * _POOL_SIZE)

_LENGTH: Final = 36
_HYPHENS: Final = (8, 13, 18, 23)


class EventIds:
    """
    Makes canonical random UUIDs (version 4); safe from any thread, across forks and with SnapStart.

    It takes a fraction of the time of `str(uuid.uuid4())`, which asks the kernel for
    each id.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        """Begin with an empty pool, in this process."""
        self._pool: Iterator[str] = iter(())
        # Each copy would draw the ids that wait in the pool, and nothing tells a process that it is one.
        self._largest = 1 if starts_as_copy() else _POOL_SIZE
        self._size = min(_FIRST_POOL_SIZE, self._largest)
        # Set last: a thread that sees it must not find the pool of the parent process.
        self._process_marker = fork.process_marker()

    def __call__(self) -> str:
        """Return a new id, as a function for `Tracker(new_id=...)`."""
        return self.next_id()

    def next_id(self) -> str:
        """Return a new id."""
        if not self._process_marker[0]:
            # The child of a fork must not draw what its parent draws.
            self._begin()
        # `next` is atomic, so no two threads get the same id.
        new = next(self._pool, None)
        while new is None:
            self._refill()
            new = next(self._pool, None)
        return new

    def _refill(self) -> None:
        size = self._size
        self._size = min(2 * size, self._largest)
        # The same bits again and again: those of fewer ids are the end of them.
        unused = 128 * (_POOL_SIZE - size)
        chance = int.from_bytes(os.urandom(16 * size)) & (_CHANCE >> unused)
        digits = (chance | (_KIND >> unused)).to_bytes(16 * size).hex().encode()
        ids = bytearray(b"-") * (_LENGTH * size)
        # A slice with a step sets one digit of all ids at a time.
        places = [place for place in range(_LENGTH) if place not in _HYPHENS]
        for digit, place in enumerate(places):
            ids[place::_LENGTH] = digits[digit :: len(places)]
        text = ids.decode()
        self._pool = iter([text[start : start + _LENGTH] for start in range(0, len(text), _LENGTH)])


new_event_id: EventIds = EventIds()
