"""The default store: events wait in memory and live as long as the process."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from snowplow_aio.abc import LocalStore, StoreStatistics
from snowplow_aio.delivery.event_buffer import EventBuffer
from snowplow_aio.delivery.memory_queue import MemoryQueue
from snowplow_aio.exceptions import QueueFullError
from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.policies import Overflow
from snowplow_aio.runtime.foreign_text import events_text
from snowplow_aio.runtime.wake_up import WakeUp

# Above this part of its capacity a store asks `track` to wait a little.
_HIGH_WATER = 0.5

_NOTHING: Sequence[StoredEvent] = ()


class _Waiter:
    """A caller whose events wait for room."""

    __slots__ = ("events", "wake_up")

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self.events = events
        self.wake_up = WakeUp()


class MemoryStore(LocalStore):
    """
    Keeps events in memory, within bounds. They are lost with the process, and only then.

    Args:
        capacity: Most events, waiting and being sent, from 1.

        capacity_bytes: Most bytes of their JSON, from 1. Each event takes
            about 200 bytes more of memory.

        overflow: What happens to one more event when the store is full.

        wait_timeout: With `Overflow.WAIT`, the seconds that `track` waits for
            room before the new event is dropped; None for as long as it takes.

    Raises:
        ConfigurationError: If a value is out of range.

    Example:
        Keep up to a million events, and let `track` wait when there are more::

            store = MemoryStore(capacity=1_000_000, overflow=Overflow.WAIT)
            tracker = Tracker(HttpEmitter("https://collector.example.com", store=store))
    """

    def __init__(
        self,
        *,
        capacity: int = 100_000,
        capacity_bytes: int = 64 * 2**20,
        overflow: Overflow = Overflow.DROP_NEW,
        wait_timeout: float | None = None,
    ) -> None:
        check_count("capacity", capacity)
        check_count("capacity_bytes", capacity_bytes)
        check_argument(isinstance(overflow, Overflow), "overflow", overflow, "must be an Overflow")
        check_seconds("wait_timeout", wait_timeout, optional=True, zero=True)
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._overflow = overflow
        self._wait_timeout = wait_timeout
        self.abandon()

    def abandon(self) -> None:
        # Everything is made anew: another thread of the parent may have held
        # a lock at the moment of the fork.
        self._wake_up = WakeUp()
        self._buffer = EventBuffer(self._capacity, self._capacity_bytes, self._wake_up)
        self._queue = MemoryQueue(self._buffer)
        # The loop that waits in the queue.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: deque[_Waiter] = deque()
        self._waiters_lock = threading.RLock()
        self._held_up: deque[WakeUp] = deque()

    @property
    def queue(self) -> MemoryQueue:
        """The queue in which the delivery waits: that of the loop in which it waited last."""
        return self._queue

    # --- events come in

    def add_nowait(self, payloads: Sequence[Payload], now: float, window: int) -> Sequence[StoredEvent]:
        if self._queue.put_all(payloads, now, window):
            return _NOTHING
        return self._overflowed([StoredEvent(payload, now, window) for payload in payloads])

    def add_if_room(self, payloads: Sequence[Payload], now: float, window: int) -> bool:
        return not self._waiters and self._queue.put_all(payloads, now, window)

    def has_taken(self, payload: Payload) -> bool:
        return self._buffer.has_taken(payload)

    def _overflowed(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Do what the policy says with *events* for which there is no room; return what is dropped."""
        if self._overflow is Overflow.RAISE:
            bounds = f"the store holds at most {events_text(self._capacity)} and {self._capacity_bytes} bytes"
            raise QueueFullError(f"no room for {len(events)} more: {bounds}")
        return self._buffer.put_over(events) if self._overflow is Overflow.DROP_OLD else events

    @property
    def waits_for_room(self) -> bool:
        return self._overflow is Overflow.WAIT

    async def add(
        self,
        payloads: Sequence[Payload],
        *,
        now: float,
        window: int,
        dropped: Callable[[Sequence[StoredEvent]], None],
    ) -> None:
        events = [StoredEvent(payload, now, window) for payload in payloads]
        has_to_wait = (
            self._overflow is Overflow.WAIT
            and self._buffer.can_ever_hold(events)
            and (bool(self._waiters) or not self._buffer.has_room_for(events))
        )
        if has_to_wait:
            await self._wait_for_room(_Waiter(events), dropped)
        else:
            dropped(self.add_nowait(payloads, now=now, window=window))

    async def _wait_for_room(self, waiter: _Waiter, dropped: Callable[[Sequence[StoredEvent]], None]) -> None:
        self._waiters.append(waiter)
        # Another loop may just have made room, and seen nobody who waits for it.
        self._admit_waiters()
        try:
            await waiter.wake_up.wait(self._wait_timeout)
        finally:
            # A caller can be cancelled, or run out of time, at the very moment
            # at which its events were put in: then they stay in.
            if self._is_withdrawn(waiter):
                dropped(waiter.events)

    def _is_withdrawn(self, waiter: _Waiter) -> bool:
        """Let *waiter* wait no longer. Returns whether its events were not put in."""
        with self._waiters_lock:
            if waiter not in self._waiters:
                return False
            self._waiters.remove(waiter)
            return True

    def _admit_waiters(self) -> None:
        """Put in what waits for room, first come first served, while there is room."""
        with self._waiters_lock:
            while self._waiters and self._buffer.put_events(self._waiters[0].events):
                self._waiters.popleft().wake_up.notify()

    # --- the delivery

    async def wait(self, *, count: float, size: float, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # A queue belongs to the first loop that waits in it. Another loop gets a new one
            # around the same buffer: nothing moves, also for threads that are putting events in.
            self._loop, self._queue = loop, MemoryQueue(self._buffer)
        await self._queue.wait_for(count, size, timeout)

    def notify(self) -> None:
        self._wake_up.notify()

    async def lease(self, *, max_events: int, max_bytes: int, event_bytes: int) -> Sequence[StoredEvent]:
        return self._queue.get_batch(max_events, max_bytes, event_bytes)

    async def ack(self, events: Sequence[StoredEvent]) -> None:
        self._buffer.forget(events)
        if self._waiters:
            self._admit_waiters()
        if self._held_up and not self.is_above_high_water:
            with suppress(IndexError):
                while True:
                    self._held_up.popleft().notify()

    async def release(self, events: Sequence[StoredEvent]) -> None:
        self._queue.put_back(events)

    def oldest(self) -> StoredEvent | None:
        return self._buffer.oldest()

    def withdraw(self) -> Sequence[StoredEvent]:
        withdrawn = self._buffer.withdraw()
        with self._waiters_lock:
            while self._waiters:
                # Events that wait for room have been accepted as well.
                waiter = self._waiters.popleft()
                withdrawn.extend(waiter.events)
                waiter.wake_up.notify()
        return withdrawn

    def statistics(self) -> StoreStatistics:
        count, leased, size, leased_size = self._buffer.sums()
        waiting = sum(len(waiter.events) for waiter in tuple(self._waiters)) if self._waiters else 0
        return StoreStatistics(
            pending=count - leased + waiting,
            leased=leased,
            pending_bytes=size - leased_size,
            bytes=size,
        )

    # --- back pressure

    @property
    def is_above_high_water(self) -> bool:
        buffer = self._buffer
        return buffer.count > self._capacity * _HIGH_WATER or buffer.size > self._capacity_bytes * _HIGH_WATER

    async def below_high_water(self) -> None:
        wake_up = WakeUp()
        # Before the look: another thread may take events out at any moment.
        self._held_up.append(wake_up)
        try:
            if self.is_above_high_water:
                await wake_up.wait()
        finally:
            with suppress(ValueError):
                self._held_up.remove(wake_up)
