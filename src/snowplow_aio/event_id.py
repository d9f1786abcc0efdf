"""Event ids: random UUIDs, made from randomness that is read 4 kB at a time."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_POOL_SIZE = 256

# The bits of a UUID that say what kind of one it is (RFC 9562, version 4), for
# a whole pool of them: it takes no longer than for one.
_KIND = int.from_bytes(bytes.fromhex("000000000000 4000 8000 000000000000") * _POOL_SIZE)
_CHANCE = int.from_bytes(bytes.fromhex("ffffffffffff 0fff 3fff ffffffffffff") * _POOL_SIZE)

# The five groups of its 32 digits.
_GROUPS = struct.Struct("8s4s4s4s12s")


class EventIds:
    """
    Makes canonical random UUIDs (version 4); safe from any thread and across forks.

    A fraction of the time of `str(uuid.uuid4())`, which asks the kernel for every one.
    """

    def __init__(self) -> None:
        self._pid = -1
        self._pool: Iterator[tuple[bytes, ...]] = iter(())

    def __call__(self) -> str:
        """Return a new id."""
        # A child of a fork must not draw the same randomness as its parent.
        if self._pid != os.getpid():
            self._refill()
        # `next` is atomic: no two threads get the same.
        groups = next(self._pool, None)
        while groups is None:
            self._refill()
            groups = next(self._pool, None)
        return b"-".join(groups).decode()

    def _refill(self) -> None:
        chance = int.from_bytes(os.urandom(16 * _POOL_SIZE)) & _CHANCE
        digits = (chance | _KIND).to_bytes(16 * _POOL_SIZE).hex().encode()
        self._pool = _GROUPS.iter_unpack(digits)
        self._pid = os.getpid()


new_event_id: EventIds = EventIds()
