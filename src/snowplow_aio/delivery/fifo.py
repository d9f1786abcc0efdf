"""Events of one kind that wait in memory, in order: what came back goes before what is new."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from snowplow_aio.model.stored_event import StoredEvent


class Lane:
    """A queue with a way back."""

    def __init__(self) -> None:
        # Two ends of one queue, without a wake-up for each event: a store's `wait`
        # wakes once for a batch, where `asyncio.Queue.get` would for every one.
        self._waiting: deque[StoredEvent] = deque()

    def put(self, entry: StoredEvent) -> None:
        """Take one more event, at the end."""
        self._waiting.append(entry)

    def put_back(self, entries: Iterable[StoredEvent]) -> None:
        """Put *entries* in front, one before the other: the last of them will be the first."""
        self._waiting.extendleft(entries)

    def first(self) -> StoredEvent | None:
        """Return what has waited longest, or None."""
        return self._waiting[0] if self._waiting else None

    def take(self, max_events: int, max_bytes: int, event_bytes: int) -> tuple[list[StoredEvent], int]:
        """Return up to *max_events* events, and the bytes of their JSON; at least one if there is one."""
        waiting, taken = self._waiting, list[StoredEvent]()
        size, left = 0, max_bytes
        while waiting and len(taken) < max_events:
            length = waiting[0].size
            left -= length + event_bytes
            if taken and left < 0:
                break
            taken.append(waiting.popleft())
            size += length
        return taken, size
