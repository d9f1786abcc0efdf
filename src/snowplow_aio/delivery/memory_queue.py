"""The queue of the memory store: an `asyncio.Queue` that is filled and emptied in bulk."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from snowplow_aio.delivery.event_buffer import EventBuffer
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent


class MemoryQueue(asyncio.Queue[StoredEvent]):
    """
    A queue of events in which the delivery of one event loop waits.

    It overrides `_init`, `_put` and `_get` as `asyncio.PriorityQueue` does: its container is
    an `EventBuffer`, which keeps the order and the bounds. `put_all` puts all events of a
    call, `get_batch` takes those of a request, and `put_back` returns them to the front.

    An `asyncio.Queue` belongs to the first loop that waits in it, and wakes a reader for
    each event. This one wakes the delivery when there is enough for a request, from any thread.
    For another loop the store makes a new queue around the same buffer, so that no event
    moves and the order stays.

    Args:
        buffer: The container.
    """

    _queue: EventBuffer

    def __init__(self, buffer: EventBuffer) -> None:
        self._buffer = buffer
        # The buffer's own: a method in between would cost each event a call.
        self.put_all: Callable[[Sequence[Payload], float, int], bool] = buffer.put_all
        self.put_back: Callable[[Sequence[StoredEvent]], None] = buffer.put_back
        self.get_batch: Callable[[int, int, int], list[StoredEvent]] = buffer.get_batch
        super().__init__(buffer.capacity)

    def _init(self, maxsize: int) -> None:  # noqa: ARG002 - the buffer has its bounds
        self._queue = self._buffer

    def _put(self, item: StoredEvent) -> None:
        if not self._queue.put_events((item,)):
            raise asyncio.QueueFull

    def _get(self) -> StoredEvent:
        batch = self.get_batch(1, sys.maxsize, 0)
        if not batch:
            raise asyncio.QueueEmpty
        return batch[0]

    def __repr__(self) -> str:
        count, leased, size, _ = self._queue.sums()
        return f"<MemoryQueue: {count - leased} waiting, {leased} leased, {size} bytes>"

    def full(self) -> bool:
        """Return whether no further event fits, by number or by bytes."""
        return self._queue.is_full()

    async def get(self) -> StoredEvent:
        """Lease the event that has waited longest; wait for one where there is none. For one reader."""
        while self.empty():
            await self.wait_for(1, math.inf, None)
        return self.get_nowait()

    async def wait_for(self, count: float, size: float, timeout: float | None) -> None:
        """
        Return when enough waits, or when the store's wake-up was notified. May return early.

        Args:
            count: So many events are enough.

            size: So many bytes of JSON are enough.

            timeout: Longest wait, in seconds; None for as long as it takes.
        """
        buffer = self._queue
        # Set before the look at what waits: other threads put at any moment.
        buffer.wanted_count, buffer.wanted_size = int(min(count, sys.maxsize)), int(min(size, sys.maxsize))
        if not buffer.is_due():
            await buffer.wake_up.wait(timeout)
        # Not where the wait is broken off: in a closed loop that happens at any time, and
        # must not undo what the next loop waits for.
        buffer.wanted_count = buffer.wanted_size = sys.maxsize

    # --- what the store does instead

    async def put(self, item: StoredEvent) -> NoReturn:  # noqa: ARG002
        """Raise RuntimeError: `MemoryStore.add` waits for room."""
        raise RuntimeError("a MemoryQueue does not wait for room: use MemoryStore.add()")

    def task_done(self) -> NoReturn:
        """Raise RuntimeError: `MemoryStore.ack` says that events are done with."""
        raise RuntimeError("events are done with when they are acknowledged: use MemoryStore.ack()")

    async def join(self) -> NoReturn:
        """Raise RuntimeError: `Tracker.flush` waits until all events are settled."""
        raise RuntimeError("a MemoryQueue does not count tasks: use Tracker.flush()")

    def shutdown(self, immediate: bool = False) -> NoReturn:  # noqa: ARG002, FBT001, FBT002 - as in Python 3.13
        """Raise RuntimeError: `Tracker.aclose` ends the delivery."""
        raise RuntimeError("a MemoryQueue ends with its emitter: use Tracker.aclose()")
