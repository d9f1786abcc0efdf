"""The memory store beside a model of it, driven by Hypothesis."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from snowplow_aio import MemoryStore, Overflow
from snowplow_aio.model.stored_event import StoredEvent
from tests.delivery.test_memory_store import numbers, payload


class StoreMachine(RuleBasedStateMachine):
    """The store beside a model of it: two lists."""

    capacity = 6

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(capacity=self.capacity, capacity_bytes=600, overflow=Overflow.DROP_OLD)
        self.waiting: list[int] = []
        self.leases: list[Sequence[StoredEvent]] = []
        self.count = 0
        self.size = 0

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run what never suspends, as the memory store promises of lease, ack and release."""
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("it suspended")

    @rule(size=st.integers(0, 150))
    def add(self, size: int) -> None:
        self.count += 1
        new = payload(self.count, size=size)
        dropped = numbers(self.store.add_nowait([new], now=float(self.count), window=0))
        self.waiting.append(self.count)
        assert dropped in (self.waiting[: len(dropped)], [self.count])
        self.waiting = [number for number in self.waiting if number not in dropped]

    @rule(size=st.integers(0, 150))
    def put_into_the_queue(self, size: int) -> None:
        self.count += 1
        try:
            self.store.queue.put_nowait(StoredEvent(payload(self.count, size=size), float(self.count), 0))
        except asyncio.QueueFull:
            return
        self.waiting.append(self.count)

    @rule()
    def get_from_the_queue(self) -> None:
        try:
            event = self.store.queue.get_nowait()
        except asyncio.QueueEmpty:
            assert self.waiting == []
            return
        assert numbers([event]) == [self.waiting.pop(0)]
        self.leases.append([event])

    @rule()
    def wait_in_another_loop(self) -> None:
        """The next loop has a queue of its own, with the same events."""
        before = self.store.queue
        asyncio.run(self.store.wait(count=1, size=math.inf, timeout=0))
        assert self.store.queue is not before

    @rule(events=st.integers(1, 4), size=st.integers(1, 400))
    def lease(self, events: int, size: int) -> None:
        entries: Sequence[StoredEvent] = self.run(
            self.store.lease(max_events=events, max_bytes=size, event_bytes=1)
        )
        assert numbers(entries) == self.waiting[: len(entries)]
        assert bool(entries) == bool(self.waiting)
        total = sum(len(entry.payload.json) + 1 for entry in entries)
        assert len(entries) <= 1 or (total <= size and len(entries) <= events)
        del self.waiting[: len(entries)]
        self.leases.append(entries)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        self.run(self.store.ack(self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        entries = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        self.run(self.store.release(entries))
        self.waiting[:0] = numbers(entries)

    @invariant()
    def numbers_agree_and_bounds_hold(self) -> None:
        statistics = self.store.statistics()
        leased = [entry for lease in self.leases for entry in lease]
        assert (statistics.pending, statistics.leased) == (len(self.waiting), len(leased))
        assert statistics.pending + statistics.leased <= self.capacity
        assert statistics.pending_bytes <= statistics.bytes <= 600
        assert self.store.queue.qsize() == len(self.waiting)
        oldest = self.store.oldest()
        assert (oldest is None) == (not self.waiting)


def test_the_store_does_what_its_model_does() -> None:
    run_state_machine_as_test(
        StoreMachine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )
