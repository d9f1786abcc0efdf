"""Event ids: random UUIDs, made from randomness that is read 16 kB at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from snowplow_aio.runtime import fork

# Making more takes a tenth of a millisecond: so many that one `track` in a thousand waits for it.
_POOL_SIZE: Final = 1024

# The bits of a UUID that say what kind of one it is (RFC 9562, version 4), for
# a whole pool of them: it takes no longer than for one.
_KIND: Final = int.from_bytes(bytes.fromhex("000000000000 4000 8000 000000000000") * _POOL_SIZE)
_CHANCE: Final = int.from_bytes(bytes.fromhex("ffffffffffff 0fff 3fff ffffffffffff") * _POOL_SIZE)

_LENGTH: Final = 36
_HYPHENS: Final = (8, 13, 18, 23)


class EventIds:
    """
    Makes canonical random UUIDs (version 4); safe from any thread and across forks.

    A fraction of the time of `str(uuid.uuid4())`, which asks the kernel for
    every one. Lives as long as the process.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        """Begin without any randomness, in this process."""
        self._pool: Iterator[str] = iter(())
        # Last: whoever sees it, in another thread, must not find the parent's pool.
        self._process_marker = fork.process_marker()

    def __call__(self) -> str:
        """Return a new id."""
        if not self._process_marker[0]:
            # The child of a fork must not draw what its parent draws.
            self._begin()
        # `next` is atomic: no two threads get the same.
        new = next(self._pool, None)
        while new is None:
            self._refill()
            new = next(self._pool, None)
        return new

    def _refill(self) -> None:
        chance = int.from_bytes(os.urandom(16 * _POOL_SIZE)) & _CHANCE
        digits = (chance | _KIND).to_bytes(16 * _POOL_SIZE).hex().encode()
        ids = bytearray(b"-") * (_LENGTH * _POOL_SIZE)
        # The same digit of all ids at a time: slices with a step put each in its place.
        places = [place for place in range(_LENGTH) if place not in _HYPHENS]
        for digit, place in enumerate(places):
            ids[place::_LENGTH] = digits[digit :: len(places)]
        text = ids.decode()
        self._pool = iter([text[start : start + _LENGTH] for start in range(0, len(text), _LENGTH)])


new_event_id: EventIds = EventIds()
