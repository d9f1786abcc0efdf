"""The default store: events wait in an `asyncio.Queue` and live as long as the process."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from snowplow_aio.abc import Entry, EventStore, StoreStatistics
from snowplow_aio.exceptions import QueueFullError
from snowplow_aio.payload import Payload
from snowplow_aio.policies import Overflow, require, require_count, require_seconds

# Above this part of its capacity a healthy store asks `track` to wait a little.
_CROWDED = 0.5


class _Lane:
    """Events of one kind in order: what came back goes before what is new."""

    def __init__(self) -> None:
        # Nobody waits on the queue, so it belongs to no loop: `MemoryStore.wait`
        # wakes once for a batch, where `Queue.get` would wake for each event.
        self._door: asyncio.Queue[Entry] = asyncio.Queue()
        self._returned: deque[Entry] = deque()
        self._next: Entry | None = None
        self.put: Callable[[Entry], None] = self._door.put_nowait

    def put_back(self, entries: Iterable[Entry]) -> None:
        if self._next is not None:
            self._returned.appendleft(self._next)
            self._next = None
        self._returned.extendleft(entries)

    def first(self) -> Entry | None:
        if self._next is None:
            self._next = self._pop()
        return self._next

    def _pop(self) -> Entry | None:
        if self._returned:
            return self._returned.popleft()
        return None if self._door.empty() else self._door.get_nowait()

    def take(self, max_events: int, max_bytes: float, event_bytes: int) -> tuple[list[Entry], int]:
        """Return up to *max_events* events, and the bytes of their JSON; at least one if there is one."""
        taken: list[Entry] = []
        size, left = 0, max_bytes
        while len(taken) < max_events and (entry := self._next or self._pop()) is not None:
            length = len(entry.payload.json)
            left -= length + event_bytes
            if taken and left < 0:
                self._next = entry
                break
            self._next = None
            taken.append(entry)
            size += length
        return taken, size


class _Waiter:
    """A caller that waits for room."""

    __slots__ = ("admitted", "entries", "size")

    def __init__(self, entries: list[Entry], size: int) -> None:
        self.entries = entries
        self.size = size
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class MemoryStore(EventStore):
    """
    Keeps events in memory, within bounds.

    What it survives: everything but the end of the process.

    Args:
        capacity: Most events, waiting and being sent, from 1.

        capacity_bytes: Most bytes of their JSON, from 1. Each event takes
            about 200 bytes more of memory.

        overflow: What happens to one more event when the store is full.

        wait_timeout: With `Overflow.WAIT`, the seconds that `track` waits for
            room before the new event is dropped; None for as long as it takes.

    Raises ConfigurationError when a value is out of range.
    """

    def __init__(
        self,
        *,
        capacity: int = 100_000,
        capacity_bytes: int = 64 * 2**20,
        overflow: Overflow = Overflow.DROP_NEW,
        wait_timeout: float | None = None,
    ) -> None:
        require_count("capacity", capacity)
        require_count("capacity_bytes", capacity_bytes)
        require(isinstance(overflow, Overflow), "overflow", overflow, "must be an Overflow")
        require_seconds("wait_timeout", wait_timeout, optional=True, zero=True)
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._overflow = overflow
        self._wait_timeout = wait_timeout
        self.abandon()

    def abandon(self) -> None:
        # Everything is made anew: another thread of the parent may have held
        # the lock at the moment of the fork.
        self._lock = threading.Lock()
        self._lanes = {False: _Lane(), True: _Lane()}
        # Of all events, and of those among them that are leased.
        self._count = self._bytes = 0
        self._leased = self._leased_bytes = 0
        self._waiters: deque[_Waiter] = deque()
        self._relieved: list[asyncio.Future[None]] = []
        self._alarm: asyncio.Future[None] | None = None
        self._alarm_events = self._alarm_bytes = math.inf
        self._is_notified = False

    def add_nowait(self, payloads: Sequence[Payload], *, now: float, mark: int) -> Sequence[Entry]:
        count = len(payloads)
        size = len(payloads[0].json) if count == 1 else sum([len(payload.json) for payload in payloads])
        dropped: Sequence[Entry] = ()
        with self._lock:
            if self._has_room(count, size):
                for payload in payloads:
                    self._lanes[payload.anonymous].put(Entry(payload, now, mark))
                self._count += count
                self._bytes += size
            else:
                dropped = self._overflowed([Entry(payload, now, mark) for payload in payloads], size)
            is_due = self._is_due(self._alarm_events, self._alarm_bytes)
        if is_due:
            self.notify()
        return dropped

    def _is_due(self, events: float, size: float) -> bool:
        return self._count - self._leased >= events or self._bytes - self._leased_bytes >= size

    def _overflowed(self, entries: list[Entry], size: int) -> Sequence[Entry]:
        """Do what the policy says with *entries* for which there is no room; return what is dropped."""
        if self._overflow is Overflow.RAISE:
            raise QueueFullError(f"no room for {len(entries)} more: {self._bounds()}")
        if self._overflow is not Overflow.DROP_OLD or not self._can_ever_hold(len(entries), size):
            return entries
        dropped = self._make_room(len(entries), size)
        self._put(entries, size)
        return dropped

    def _has_room(self, count: int, size: int) -> bool:
        return self._count + count <= self._capacity and self._bytes + size <= self._capacity_bytes

    def _can_ever_hold(self, count: int, size: int) -> bool:
        return self._leased + count <= self._capacity and self._leased_bytes + size <= self._capacity_bytes

    def _bounds(self) -> str:
        return f"the store holds at most {self._capacity} events and {self._capacity_bytes} bytes"

    def _put(self, entries: list[Entry], size: int) -> None:
        for entry in entries:
            self._lanes[entry.payload.anonymous].put(entry)
        self._count += len(entries)
        self._bytes += size

    def _make_room(self, count: int, size: int) -> list[Entry]:
        dropped: list[Entry] = []
        while not self._has_room(count, size) and (lane := self._front()) is not None:
            dropped += self._take_out(lane, 1)
        return dropped

    def _take_out(self, lane: _Lane, count: int) -> list[Entry]:
        taken, size = lane.take(count, math.inf, 0)
        self._count -= len(taken)
        self._bytes -= size
        return taken

    def _front(self) -> _Lane | None:
        """Return the lane whose first event has waited longest, or None."""
        firsts = [(entry.since, lane) for lane in self._lanes.values() if (entry := lane.first()) is not None]
        return min(firsts, key=lambda first: first[0])[1] if firsts else None

    @property
    def waits_for_room(self) -> bool:
        return self._overflow is Overflow.WAIT

    async def add(
        self,
        payloads: Sequence[Payload],
        *,
        now: float,
        mark: int,
        dropped: Callable[[Sequence[Entry]], None],
    ) -> None:
        size = sum(len(payload.json) for payload in payloads)
        fits_some_day = len(payloads) <= self._capacity and size <= self._capacity_bytes
        if (
            self._overflow is Overflow.WAIT
            and fits_some_day
            and (self._waiters or not self._has_room(len(payloads), size))
        ):
            waiter = _Waiter([Entry(payload, now, mark) for payload in payloads], size)
            await self._wait_for_room(waiter, dropped)
        else:
            dropped(self.add_nowait(payloads, now=now, mark=mark))

    async def _wait_for_room(self, waiter: _Waiter, dropped: Callable[[Sequence[Entry]], None]) -> None:
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._wait_timeout):
                await waiter.admitted
        except TimeoutError:
            pass
        finally:
            # A caller can be cancelled, or run out of time, at the very moment
            # at which its events were put in: then they stay in.
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                dropped(waiter.entries)

    def _admit_waiters(self) -> None:
        """Put in what waits for room, first come first served, while there is room."""
        while self._waiters and self._has_room(len(self._waiters[0].entries), self._waiters[0].size):
            waiter = self._waiters.popleft()
            self._put(waiter.entries, waiter.size)
            _wake(waiter.admitted)

    async def lease(self, *, max_events: int, max_bytes: int, event_bytes: int) -> Sequence[Entry]:
        with self._lock:
            lane = self._front()
            if lane is None:
                return []
            entries, size = lane.take(max_events, max_bytes, event_bytes)
            self._leased += len(entries)
            self._leased_bytes += size
            return entries

    async def ack(self, entries: Sequence[Entry]) -> None:
        size = _size(entries)
        with self._lock:
            self._leased -= len(entries)
            self._leased_bytes -= size
            self._count -= len(entries)
            self._bytes -= size
            self._admit_waiters()
        self._relieve()

    async def release(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            self._leased -= len(entries)
            self._leased_bytes -= _size(entries)
            for entry in reversed(entries):
                self._lanes[entry.payload.anonymous].put_back((entry,))

    async def wait(self, *, events: float, size: float, timeout: float | None) -> None:  # noqa: ASYNC109
        alarm = self._alarm = asyncio.get_running_loop().create_future()
        # Set before the look at what waits: other threads add at any moment.
        self._alarm_events, self._alarm_bytes = events, size
        try:
            if not self._is_due(events, size) and not self._is_notified:
                async with asyncio.timeout(timeout):
                    await alarm
        except TimeoutError:
            pass
        finally:
            self._disarm()
            self._is_notified = False

    def _disarm(self) -> asyncio.Future[None] | None:
        alarm, self._alarm = self._alarm, None
        self._alarm_events = self._alarm_bytes = math.inf
        return alarm

    def notify(self) -> None:
        alarm = self._disarm()
        if alarm is None:
            self._is_notified = True
            return
        _wake(alarm)

    def oldest(self) -> Entry | None:
        with self._lock:
            lane = self._front()
            return None if lane is None else lane.first()

    def withdraw(self) -> Sequence[Entry]:
        withdrawn: list[Entry] = []
        with self._lock:
            for lane in self._lanes.values():
                withdrawn += self._take_out(lane, self._count)
            withdrawn.sort(key=lambda entry: entry.since)
            while self._waiters:
                # Who waits at the door has been accepted as well.
                waiter = self._waiters.popleft()
                withdrawn.extend(waiter.entries)
                _wake(waiter.admitted)
        return withdrawn

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            pending=self._count - self._leased + sum(len(waiter.entries) for waiter in self._waiters),
            leased=self._leased,
            pending_bytes=self._bytes - self._leased_bytes,
            bytes=self._bytes,
        )

    @property
    def is_crowded(self) -> bool:
        return self._count > self._capacity * _CROWDED or self._bytes > self._capacity_bytes * _CROWDED

    async def relief(self) -> None:
        if self.is_crowded:
            relieved = asyncio.get_running_loop().create_future()
            self._relieved.append(relieved)
            await relieved

    def _relieve(self) -> None:
        if self._relieved and not self.is_crowded:
            for future in self._relieved:
                _wake(future)
            self._relieved.clear()


def _size(entries: Iterable[Entry]) -> int:
    return sum([len(entry.payload.json) for entry in entries])


def _wake(future: asyncio.Future[None]) -> None:
    """Have whoever awaits *future* go on, in whichever thread that is."""
    loop = future.get_loop()
    if asyncio._get_running_loop() is loop:  # noqa: SLF001 - public in C, and does not raise
        _ring(future)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(_ring, future)


def _ring(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
