"""
The events of a store in memory: those that wait, in order, and how much of everything there is.

All of it is plain and synchronous, and one step for other threads.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence

from snowplow_aio.delivery.fifo import Lane
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.payload_bytes import PayloadBytes
from snowplow_aio.model.stored_event import StoredEvent, size_of


class Backlog:
    """
    Waiting and leased events within bounds; safe from any thread.

    Args:
        capacity: Most events, waiting and leased.

        capacity_bytes: Most bytes of their JSON.

    Attributes:
        count: Events, those that are leased included.

        size: Bytes of their JSON.

        leased: Events that are leased.

        leased_size: Bytes of their JSON.

        alarm_count: Waiting events that somebody waits for.

        alarm_size: Bytes of waiting events that somebody waits for.
    """

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self.capacity: int = capacity
        self.capacity_bytes: int = capacity_bytes
        self.count: int = 0
        self.size: int = 0
        self.leased: int = 0
        self.leased_size: int = 0
        self.alarm_count: float = math.inf
        self.alarm_size: float = math.inf
        self._usual = Lane()
        self._anonymous = Lane()
        self._lock = threading.Lock()

    def add(self, payloads: Sequence[Payload], now: float, window: int) -> bool:
        """Take all of *payloads*, if there is room. Returns whether there was."""
        size = 0
        entries: list[StoredEvent] = []
        for payload in payloads:
            entry = StoredEvent(payload, now, window)
            size += entry.size
            entries.append(entry)
        with self._lock:
            if not self._has_room(len(entries), size):
                return False
            for entry in entries:
                self._lane(entry).put(entry)
            self.count += len(payloads)
            self.size += size
            return True

    def is_due(self) -> bool:
        """Return whether as much waits as somebody waits for."""
        return self.count - self.leased >= self.alarm_count or self.size - self.leased_size >= self.alarm_size

    def add_over(self, entries: Sequence[StoredEvent]) -> list[StoredEvent]:
        """
        Take all of *entries*, and as many of the oldest out as they need room.

        Returns what was taken out: *entries* themselves, when no such room can be made.
        """
        size = size_of(entries)
        with self._lock:
            if not self._can_hold(self.leased + len(entries), self.leased_size + size):
                return list(entries)
            removed: list[StoredEvent] = []
            while not self._has_room(len(entries), size) and (lane := self._front()) is not None:
                removed += self._remove(lane, 1)
            self._put(entries, size)
            return removed

    def add_if_room(self, entries: Sequence[StoredEvent]) -> bool:
        """Take all of *entries*, if there is room. Returns whether there was."""
        size = size_of(entries)
        with self._lock:
            has_room = self._has_room(len(entries), size)
            if has_room:
                self._put(entries, size)
            return has_room

    def has_room_for(self, entries: Sequence[StoredEvent]) -> bool:
        """Return whether there is room for *entries* now."""
        return self._has_room(len(entries), size_of(entries))

    def can_ever_hold(self, entries: Sequence[StoredEvent]) -> bool:
        """Return whether *entries* would fit if nothing else was there."""
        return self._can_hold(len(entries), size_of(entries))

    def _has_room(self, count: int, size: int) -> bool:
        return self._can_hold(self.count + count, self.size + size)

    def _can_hold(self, count: int, size: int) -> bool:
        return count <= self.capacity and size <= self.capacity_bytes

    def _put(self, entries: Sequence[StoredEvent], size: int) -> None:
        for entry in entries:
            self._lane(entry).put(entry)
        self.count += len(entries)
        self.size += size

    def _lane(self, entry: StoredEvent) -> Lane:
        encoded: PayloadBytes = entry.payload
        return self._anonymous if encoded.anonymous else self._usual

    def _front(self) -> Lane | None:
        """Return the lane whose first event has waited longest, or None."""
        usual, anonymous = self._usual.first(), self._anonymous.first()
        if anonymous is None:
            return None if usual is None else self._usual
        return self._anonymous if usual is None or anonymous.accepted_at < usual.accepted_at else self._usual

    def _remove(self, lane: Lane, count: int) -> list[StoredEvent]:
        removed, size = lane.take(count, sys.maxsize, 0)
        self.count -= len(removed)
        self.size -= size
        return removed

    def lease(self, max_events: int, max_bytes: int, event_bytes: int) -> list[StoredEvent]:
        """Hand out what has waited longest, all of one kind; what `EventStore.lease` says."""
        with self._lock:
            lane = self._front()
            if lane is None:
                return []
            entries, size = lane.take(max_events, max_bytes, event_bytes)
            self.leased += len(entries)
            self.leased_size += size
            return entries

    def ack(self, entries: Sequence[StoredEvent]) -> None:
        """Forget leased *entries*."""
        size = size_of(entries)
        with self._lock:
            self.leased -= len(entries)
            self.leased_size -= size
            self.count -= len(entries)
            self.size -= size

    def release(self, entries: Sequence[StoredEvent]) -> None:
        """Put leased *entries* back in front, in their order."""
        size = size_of(entries)
        with self._lock:
            self.leased -= len(entries)
            self.leased_size -= size
            for entry in reversed(entries):
                self._lane(entry).put_back((entry,))

    def oldest(self) -> StoredEvent | None:
        """Return the event that has waited longest, or None."""
        with self._lock:
            lane = self._front()
            return None if lane is None else lane.first()

    def withdraw(self) -> list[StoredEvent]:
        """Take out all that waits, the oldest first."""
        with self._lock:
            withdrawn = self._remove(self._usual, self.count) + self._remove(self._anonymous, self.count)
        withdrawn.sort(key=lambda entry: entry.accepted_at)
        return withdrawn
