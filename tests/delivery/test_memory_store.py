"""What every event store promises, shown for the memory store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from snowplow_aio import MemoryStore, Overflow, Payload, QueueFullError
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.stored_event import StoredEvent

pytestmark = pytest.mark.anyio


def payload(number: int, *, size: int = 0, anonymous: bool = False) -> Payload:
    fields = {"e": "pv", "p": "web", "tv": "t", "page": f"{number}", "url": "x" * size}
    return Payload(fields, anonymous=anonymous)


def numbers(entries: Sequence[StoredEvent]) -> list[int]:
    return [int(entry.payload["page"]) for entry in entries]


async def lease(
    store: MemoryStore, *, events: int = 100, size: int = 10**6, each: int = 0
) -> Sequence[StoredEvent]:
    return await store.lease(max_events=events, max_bytes=size, event_bytes=each)


def fill(store: MemoryStore, *events: int) -> list[int]:
    return [
        number
        for event in events
        for number in numbers(store.add_nowait([payload(event)], now=0.0, window=0))
    ]


async def test_events_are_leased_in_the_order_in_which_they_came() -> None:
    store = MemoryStore()
    fill(store, 1, 2, 3)
    assert numbers(await lease(store, events=2)) == [1, 2]
    assert numbers(await lease(store)) == [3]
    assert numbers(await lease(store)) == []


async def test_released_events_go_back_to_the_front_in_their_order() -> None:
    store = MemoryStore()
    fill(store, 1, 2, 3, 4)
    first = await lease(store, events=2)
    second = await lease(store, events=1)
    await store.release(second)
    await store.release(first)
    assert store.oldest() is first[0]
    assert numbers(await lease(store)) == [1, 2, 3, 4]


async def test_a_lease_counts_the_bytes_that_each_event_takes_in_the_request() -> None:
    store = MemoryStore()
    fill(store, 1, 2, 3)
    size = len(payload(1).json)
    assert numbers(await lease(store, size=2 * (size + 5), each=5)) == [1, 2]
    assert numbers(await lease(store, size=1)) == [3]


async def test_anonymous_events_are_not_leased_with_others() -> None:
    store = MemoryStore()
    for number in range(6):
        store.add_nowait([payload(number, anonymous=number % 2 == 1)], now=float(number), window=0)
    assert numbers(await lease(store)) == [0, 2, 4]
    assert numbers(await lease(store)) == [1, 3, 5]


async def test_a_full_store_drops_the_new_event_by_default() -> None:
    store = MemoryStore(capacity=2)
    assert fill(store, 1, 2, 3) == [3]
    assert store.statistics().pending == 2


async def test_a_full_store_may_drop_the_oldest_that_waits_and_never_what_is_being_sent() -> None:
    store = MemoryStore(capacity=2, overflow=Overflow.DROP_OLD)
    fill(store, 1)
    leased = await lease(store)
    assert fill(store, 2, 3) == [2]
    await store.release(leased)
    assert numbers(await lease(store)) == [1, 3]


async def test_events_that_replace_older_ones_wake_the_delivery_when_they_are_enough() -> None:
    """Without a flush interval nothing else would ever send them."""
    store = MemoryStore(capacity=2, overflow=Overflow.DROP_OLD)
    fill(store, 1, 2)
    larger = payload(3, size=1000)
    waiting = asyncio.create_task(store.wait(count=50, size=larger.size, timeout=None))
    await asyncio.sleep(0)
    store.add_nowait([larger], now=0.0, window=0)
    await asyncio.wait_for(waiting, 5)


async def test_a_full_store_may_raise() -> None:
    store = MemoryStore(capacity=1, overflow=Overflow.RAISE)
    fill(store, 1)
    with pytest.raises(QueueFullError, match="the store holds at most 1 event and"):
        fill(store, 2)


async def test_leased_events_still_take_room() -> None:
    store = MemoryStore(capacity=1)
    fill(store, 1)
    leased = await lease(store)
    assert fill(store, 2) == [2]
    await store.ack(leased)
    assert fill(store, 3) == []


async def test_the_store_is_bounded_by_bytes_as_well() -> None:
    store = MemoryStore(capacity_bytes=2 * len(payload(1).json))
    assert fill(store, 1, 2, 3) == [3]
    assert store.statistics().bytes == 2 * len(payload(1).json)


async def test_several_events_are_taken_all_or_none() -> None:
    store = MemoryStore(capacity=3)
    fill(store, 1, 2)
    assert numbers(store.add_nowait([payload(3), payload(4)], now=0.0, window=0)) == [3, 4]
    assert store.statistics().pending == 2


class Waiting:
    """A store that waits for room, and what it dropped."""

    def __init__(self, wait_timeout: float | None = None) -> None:
        self.store = MemoryStore(capacity=1, overflow=Overflow.WAIT, wait_timeout=wait_timeout)
        self.dropped: list[int] = []

    async def add(self, number: int) -> None:
        await self.store.add(
            [payload(number)], now=0.0, window=0, dropped=lambda e: self.dropped.extend(numbers(e))
        )


async def test_waiting_for_room_is_first_come_first_served() -> None:
    waiting = Waiting()
    await waiting.add(1)
    tasks = [asyncio.create_task(waiting.add(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    assert waiting.store.statistics().pending == 3
    for expected in (1, 2, 3):
        leased = await lease(waiting.store)
        assert numbers(leased) == [expected]
        await waiting.store.ack(leased)
    await asyncio.gather(*tasks)
    assert waiting.dropped == []


async def test_waiting_for_room_ends_with_a_drop_when_the_time_is_over() -> None:
    waiting = Waiting(wait_timeout=0.01)
    await waiting.add(1)
    await waiting.add(2)
    assert waiting.dropped == [2]


async def test_a_caller_that_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    waiting = Waiting()
    await waiting.add(1)
    task = asyncio.create_task(waiting.add(2))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiting.dropped == [2]
    assert waiting.store.statistics().pending == 1


async def test_waiting_for_events_ends_when_enough_have_come() -> None:
    store = MemoryStore()
    waiter = asyncio.create_task(store.wait(count=2, size=10**9, timeout=None))
    await asyncio.sleep(0)
    fill(store, 1)
    await asyncio.sleep(0)
    assert not waiter.done()
    await asyncio.to_thread(fill, store, 2)
    await waiter


async def test_waiting_for_events_ends_when_it_is_notified_or_the_time_is_over() -> None:
    store = MemoryStore()
    store.notify()
    await store.wait(count=1, size=10**9, timeout=None)
    await store.wait(count=1, size=10**9, timeout=0.001)
    waiter = asyncio.create_task(store.wait(count=1, size=10**9, timeout=None))
    await asyncio.sleep(0)
    store.notify()
    await waiter


async def test_withdrawing_takes_what_waits_for_room_as_well() -> None:
    waiting = Waiting()
    await waiting.add(1)
    task = asyncio.create_task(waiting.add(2))
    await asyncio.sleep(0)
    assert numbers(waiting.store.withdraw()) == [1, 2]
    await task
    assert (waiting.dropped, waiting.store.statistics().pending) == ([], 0)


async def test_withdrawing_empties_the_store() -> None:
    store = MemoryStore()
    fill(store, 1, 2, 3)
    await store.release(await lease(store, events=1))
    assert numbers(store.withdraw()) == [1, 2, 3]
    assert store.statistics().bytes == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "capacity: must be a whole number from 1, got 0"),
        ({"capacity_bytes": 1.5}, "capacity_bytes: must be a whole number from 1, got 1.5"),
        ({"overflow": "drop_new"}, "overflow: must be an Overflow, got 'drop_new'"),
        ({"wait_timeout": -1}, "wait_timeout: must be seconds, at least 0 or None, got -1"),
    ],
    ids=["capacity", "capacity_bytes", "overflow", "wait_timeout"],
)
def test_bounds_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MemoryStore(**options)  # type: ignore[arg-type]
