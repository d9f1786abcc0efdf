"""The default store: events wait in memory and live as long as the process."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence

from snowplow_aio.abc import LocalStore, StoreStatistics
from snowplow_aio.delivery.memory_queue import Backlog
from snowplow_aio.exceptions import QueueFullError
from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.policies import Overflow

# Above this part of its capacity a healthy store asks `track` to wait a little.
_CROWDED = 0.5


_NOTHING: Sequence[StoredEvent] = ()


class _Waiter:
    """A caller that waits for room."""

    __slots__ = ("admitted", "entries")

    def __init__(self, entries: Sequence[StoredEvent]) -> None:
        self.entries = entries
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class MemoryStore(LocalStore):
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
        # the lock at the moment of the fork.
        self._backlog = Backlog(self._capacity, self._capacity_bytes)
        self._waiters: deque[_Waiter] = deque()
        self._relieved: list[asyncio.Future[None]] = []
        self._alarm: asyncio.Future[None] | None = None
        self._is_notified = False

    def add_nowait(self, payloads: Sequence[Payload], now: float, window: int) -> Sequence[StoredEvent]:
        backlog, dropped = self._backlog, _NOTHING
        if not backlog.add(payloads, now, window):
            dropped = self._overflowed([StoredEvent(payload, now, window) for payload in payloads])
        if backlog.is_due():
            self.notify()
        return dropped

    def _overflowed(self, entries: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Do what the policy says with *entries* for which there is no room; return what is dropped."""
        if self._overflow is Overflow.RAISE:
            bounds = f"the store holds at most {self._capacity} events and {self._capacity_bytes} bytes"
            raise QueueFullError(f"no room for {len(entries)} more: {bounds}")
        return self._backlog.add_over(entries) if self._overflow is Overflow.DROP_OLD else entries

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
        entries = [StoredEvent(payload, now, window) for payload in payloads]
        has_to_wait = (
            self._overflow is Overflow.WAIT
            and self._backlog.can_ever_hold(entries)
            and (bool(self._waiters) or not self._backlog.has_room_for(entries))
        )
        if has_to_wait:
            await self._wait_for_room(_Waiter(entries), dropped)
        else:
            dropped(self.add_nowait(payloads, now=now, window=window))

    async def _wait_for_room(self, waiter: _Waiter, dropped: Callable[[Sequence[StoredEvent]], None]) -> None:
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
        while self._waiters and self._backlog.add_if_room(self._waiters[0].entries):
            _wake(self._waiters.popleft().admitted)

    async def lease(self, *, max_events: int, max_bytes: int, event_bytes: int) -> Sequence[StoredEvent]:
        return self._backlog.lease(max_events, max_bytes, event_bytes)

    async def ack(self, entries: Sequence[StoredEvent]) -> None:
        self._backlog.ack(entries)
        self._admit_waiters()
        self._relieve()

    async def release(self, entries: Sequence[StoredEvent]) -> None:
        self._backlog.release(entries)

    async def wait(self, *, events: float, size: float, timeout: float | None) -> None:
        alarm = self._alarm = asyncio.get_running_loop().create_future()
        # Set before the look at what waits: other threads add at any moment.
        self._backlog.alarm_count, self._backlog.alarm_size = events, size
        try:
            if not self._backlog.is_due() and not self._is_notified:
                async with asyncio.timeout(timeout):
                    await alarm
        except TimeoutError:
            pass
        finally:
            self._disarm()
            self._is_notified = False

    def _disarm(self) -> asyncio.Future[None] | None:
        alarm, self._alarm = self._alarm, None
        self._backlog.alarm_count = self._backlog.alarm_size = math.inf
        return alarm

    def notify(self) -> None:
        alarm = self._disarm()
        if alarm is None:
            self._is_notified = True
            return
        _wake(alarm)

    def oldest(self) -> StoredEvent | None:
        return self._backlog.oldest()

    def withdraw(self) -> Sequence[StoredEvent]:
        withdrawn = self._backlog.withdraw()
        while self._waiters:
            # Who waits at the door has been accepted as well.
            waiter = self._waiters.popleft()
            withdrawn.extend(waiter.entries)
            _wake(waiter.admitted)
        return withdrawn

    def statistics(self) -> StoreStatistics:
        backlog = self._backlog
        return StoreStatistics(
            pending=backlog.count - backlog.leased + sum(len(waiter.entries) for waiter in self._waiters),
            leased=backlog.leased,
            pending_bytes=backlog.size - backlog.leased_size,
            bytes=backlog.size,
        )

    @property
    def is_above_high_water(self) -> bool:
        backlog = self._backlog
        return backlog.count > self._capacity * _CROWDED or backlog.size > self._capacity_bytes * _CROWDED

    async def relief(self) -> None:
        if self.is_above_high_water:
            relieved = asyncio.get_running_loop().create_future()
            self._relieved.append(relieved)
            await relieved

    def _relieve(self) -> None:
        if self._relieved and not self.is_above_high_water:
            for future in self._relieved:
                _wake(future)
            self._relieved.clear()


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
