"""
The container of a `MemoryQueue`: waiting events in their order, within bounds.

It stands to that queue as `heapq` and a list stand to `asyncio.PriorityQueue`. It knows
no event loop. All of it is plain and synchronous, and it is compiled where that is possible.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from snowplow_aio.model.payload import Payload
from snowplow_aio.model.payload_bytes import PayloadBytes
from snowplow_aio.model.stored_event import StoredEvent, size_of
from snowplow_aio.runtime.wake_up import WakeUp


class EventBuffer:
    """
    Waiting events in their order, and the sums of all events, leased ones included.

    Each method is one step for other threads. A signal handler or a finalizer can make a call
    in the midst of a step, in the same thread, and no lock keeps it out. Such a call does not
    touch the deques and the sums: its events wait aside until the step ends.

    Attributes:
        capacity: Most events, waiting and leased.

        capacity_bytes: Most bytes of their JSON.

        wake_up: Wakes the delivery when as much waits as it waits for.

        count: Number of events, leased ones included.

        size: Bytes of their JSON.

        wanted_count: Number of waiting events that the delivery waits for.

        wanted_size: Bytes of waiting events that the delivery waits for.
    """

    def __init__(self, capacity: int, capacity_bytes: int, wake_up: WakeUp) -> None:
        self.capacity: int = capacity
        self.capacity_bytes: int = capacity_bytes
        self.count: int = 0
        self.size: int = 0
        self.wanted_count: int = sys.maxsize
        self.wanted_size: int = sys.maxsize
        self._leased: int = 0
        self._leased_size: int = 0
        self.wake_up: WakeUp = wake_up
        self._usual: deque[StoredEvent] = deque()
        self._anonymous: deque[StoredEvent] = deque()
        self._lock = threading.RLock()
        # The events that the step under way puts in; None between steps.
        self._under_way: list[StoredEvent] | None = None
        # For each thread the payload that it has put in last.
        self._latest = threading.local()
        # What came in the midst of a step: events that were put, and other steps.
        self._is_interrupted: bool = False
        self._aside: deque[list[StoredEvent]] = deque()
        self._postponed: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return self.count - self._leased

    def sums(self) -> tuple[int, int, int, int]:
        """Return the number of all events and of the leased ones, and the bytes of both."""
        with self._lock:
            return self.count, self._leased, self.size, self._leased_size

    def is_full(self) -> bool:
        """Return whether no further event fits."""
        return self.count >= self.capacity or self.size >= self.capacity_bytes

    def is_due(self) -> bool:
        """Return whether as much waits as the delivery waits for."""
        with self._lock:
            return self._is_due()

    def has_room_for(self, events: Sequence[StoredEvent]) -> bool:
        """Return whether *events* fit now."""
        return self._has_room(len(events), size_of(events))

    def can_ever_hold(self, events: Sequence[StoredEvent]) -> bool:
        """Return whether *events* would fit if nothing else was there."""
        return len(events) <= self.capacity and size_of(events) <= self.capacity_bytes

    def has_taken(self, payload: Payload) -> bool:
        """Return whether the event of *payload* is the last that this thread has put in."""
        return getattr(self._latest, "payload", None) is payload

    def oldest(self) -> StoredEvent | None:
        """Return the event that has waited longest, or None."""
        with self._lock:
            outer = self._under_way
            try:
                # A step as well: what comes in its midst could take out the event that this looks at.
                self._under_way = outer or []
                waiting = self._oldest_kind()
                return waiting[0] if waiting else None
            finally:
                self._under_way = outer
                if outer is None and self._is_interrupted:
                    self._catch_up()

    # --- putting in

    def put_all(self, payloads: Sequence[Payload], now: float, window: int) -> bool:
        """Put all of *payloads* at the end, or none of them. Returns whether they fit."""
        size = 0
        events: list[StoredEvent] = []
        for payload in payloads:
            event = StoredEvent(payload, now, window)
            size += event.size
            events.append(event)
        return self._put(events, size)

    def put_events(self, events: Sequence[StoredEvent]) -> bool:
        """Put all of *events* at the end, or none of them. Returns whether they fit."""
        return self._put(list(events), size_of(events))

    def _put(self, events: list[StoredEvent], size: int) -> bool:
        with self._lock:
            if self._under_way is not None:
                return self._put_aside(events)
            if self._is_interrupted:
                # This call interrupts a step right at its end: the events aside go first.
                self._catch_up()
            try:
                self._under_way = events
                if not self._has_room(len(events), size):
                    return False
                self._append(events, size)
                is_due = self._is_due()
            finally:
                self._under_way = None
                if self._is_interrupted:
                    self._catch_up()
        if is_due:
            self._wake()
        return True

    def put_over(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """
        Put all of *events* at the end, and take out as many of the oldest as they need room.

        Returns what was taken out: *events* themselves, when no such room can be made.
        """
        size, new = size_of(events), list(events)
        with self._lock:
            if self._under_way is not None:
                return () if self._put_aside(new) else events
            if self._is_interrupted:
                self._catch_up()
            try:
                self._under_way = new
                if not self._can_hold(self._leased + len(new), self._leased_size + size):
                    return events
                removed: list[StoredEvent] = []
                while not self._has_room(len(new), size) and (waiting := self._oldest_kind()):
                    removed += self._remove(waiting, 1)
                self._append(new, size)
                is_due = self._is_due()
            finally:
                self._under_way = None
                if self._is_interrupted:
                    self._catch_up()
        if is_due:
            # Fewer may go than come, and smaller ones.
            self._wake()
        return removed

    def _append(self, events: list[StoredEvent], size: int) -> None:
        count, last, latest = len(events), events[-1], self._latest
        usual, anonymous = self._usual, self._anonymous
        encoded: PayloadBytes = last.payload
        # All or nothing, also where a signal handler raises: Python looks for signals after a call.
        if count == 1:
            waiting = anonymous if encoded.anonymous else usual
            latest.payload = encoded
            self.count += 1
            self.size += size
            waiting.append(last)
            return
        kinds: tuple[list[StoredEvent], list[StoredEvent]] = ([], [])
        for event in events:
            encoded = event.payload
            kinds[encoded.anonymous].append(event)
        latest.payload = last.payload
        self.count += count
        self.size += size
        try:
            usual.extend(kinds[False])
        finally:
            anonymous.extend(kinds[True])

    def _has_room(self, count: int, size: int) -> bool:
        return self.count + count <= self.capacity and self.size + size <= self.capacity_bytes

    def _can_hold(self, count: int, size: int) -> bool:
        return count <= self.capacity and size <= self.capacity_bytes

    # --- taking out

    def get_batch(self, max_events: int, max_bytes: int, event_bytes: int) -> list[StoredEvent]:
        """Lease what has waited longest, all of one kind, as `EventStore.lease` says."""
        with self._lock:
            if self._under_way is not None:
                return []
            try:
                self._under_way = []
                taken, size = _take(self._oldest_kind(), max_events, max_bytes, event_bytes)
                self._leased += len(taken)
                self._leased_size += size
                return taken
            finally:
                self._under_way = None
                if self._is_interrupted:
                    self._catch_up()

    def put_back(self, events: Sequence[StoredEvent]) -> None:
        """Put leased *events* back to the front, in their order."""
        self._do(partial(self._put_back, events, size_of(events)))

    def _put_back(self, events: Sequence[StoredEvent], size: int) -> None:
        self._leased -= len(events)
        self._leased_size -= size
        for event in reversed(events):
            encoded: PayloadBytes = event.payload
            (self._anonymous if encoded.anonymous else self._usual).appendleft(event)

    def forget(self, events: Sequence[StoredEvent]) -> None:
        """Forget leased *events*."""
        self._do(partial(self._forget, len(events), size_of(events)))

    def _forget(self, count: int, size: int) -> None:
        self._leased -= count
        self._leased_size -= size
        self.count -= count
        self.size -= size

    def withdraw(self) -> list[StoredEvent]:
        """Take out all that waits, the oldest first."""
        withdrawn: list[StoredEvent] = []
        self._do(partial(self._withdraw, withdrawn))
        withdrawn.sort(key=lambda event: event.accepted_at)
        return withdrawn

    def _withdraw(self, withdrawn: list[StoredEvent]) -> None:
        withdrawn += self._remove(self._usual, self.count)
        withdrawn += self._remove(self._anonymous, self.count)

    def _remove(self, waiting: deque[StoredEvent], count: int) -> list[StoredEvent]:
        removed, size = _take(waiting, count, sys.maxsize, 0)
        self.count -= len(removed)
        self.size -= size
        return removed

    def _oldest_kind(self) -> deque[StoredEvent]:
        """Return the events of the kind whose first has waited longest."""
        usual, anonymous = self._usual, self._anonymous
        if not anonymous:
            return usual
        return anonymous if not usual or anonymous[0].accepted_at < usual[0].accepted_at else usual

    # --- steps

    def _do(self, step: Callable[[], None]) -> None:
        """Do *step* now, or right after the step under way that this call interrupts."""
        with self._lock:
            if self._under_way is not None:
                self._postponed.append(step)
                self._is_interrupted = True
                return
            try:
                self._under_way = []
                step()
            finally:
                self._under_way = None
                if self._is_interrupted:
                    self._catch_up()

    def _put_aside(self, events: list[StoredEvent]) -> bool:
        """Keep *events* for the end of the step under way, if they will fit. Returns whether they will."""
        # In before the look: another signal may interrupt this very method.
        self._aside.append(events)
        self._is_interrupted = True
        count, size = self.count, self.size
        for others in (self._under_way or [], *self._aside):
            count += len(others)
            size += size_of(others)
        if self._can_hold(count, size):
            return True
        self._aside.remove(events)
        return False

    def _catch_up(self) -> None:
        """Do what came in the midst of the step that has just ended."""
        while self._is_interrupted:
            try:
                # A step as well: what comes in its midst may wait for the next round.
                self._under_way = []
                self._is_interrupted = False
                while self._aside:
                    events = self._aside[0]
                    self._append(events, size_of(events))
                    # Only now: for a moment it is counted twice, rather than not at all.
                    self._aside.popleft()
                while self._postponed:
                    self._postponed.popleft()()
            finally:
                self._under_way = None
                # Where an exception ended it, as of a signal handler that raises, the next step goes on.
                self._is_interrupted = bool(self._aside or self._postponed)
        if self._is_due():
            self._wake()

    # --- waking the delivery

    def _is_due(self) -> bool:
        return (
            self.count - self._leased >= self.wanted_count
            or self.size - self._leased_size >= self.wanted_size
        )

    def _wake(self) -> None:
        # Once: until it waits again the delivery needs no further notification.
        self.wanted_count = self.wanted_size = sys.maxsize
        self.wake_up.notify(is_urgent=False)


def _take(
    waiting: deque[StoredEvent], max_events: int, max_bytes: int, event_bytes: int
) -> tuple[list[StoredEvent], int]:
    """Take up to *max_events* events, at least one if there is one. Returns them and their bytes."""
    taken: list[StoredEvent] = []
    size, left = 0, max_bytes
    while waiting and len(taken) < max_events:
        length = waiting[0].size
        left -= length + event_bytes
        if taken and left < 0:
            break
        taken.append(waiting.popleft())
        size += length
    return taken, size
