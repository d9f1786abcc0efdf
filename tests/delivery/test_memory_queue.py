"""The queue of the memory store is an `asyncio.Queue`, in one loop after the other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from snowplow_aio import MemoryStore
from snowplow_aio.delivery.memory_queue import MemoryQueue
from snowplow_aio.model.stored_event import StoredEvent
from tests.delivery.test_memory_store import fill, lease, numbers, payload

pytestmark = pytest.mark.anyio


def event(number: int, *, size: int = 0) -> StoredEvent:
    return StoredEvent(payload(number, size=size), 0.0, 0)


def number_of(stored: StoredEvent) -> int:
    return numbers([stored])[0]


async def look(store: MemoryStore) -> MemoryQueue:
    """Wait in *store* for no time, as the delivery does; return the queue that it waited in."""
    await store.wait(count=1, size=10**9, timeout=0)
    return store.queue


async def test_what_is_added_to_the_store_is_in_an_asyncio_queue() -> None:
    store = MemoryStore()
    queue = store.queue
    assert isinstance(queue, asyncio.Queue)
    assert queue.empty()
    fill(store, 1, 2, 3)
    assert (queue.qsize(), queue.empty(), queue.full(), queue.maxsize) == (3, False, False, 100_000)
    assert number_of(queue.get_nowait()) == 1
    assert number_of(await queue.get()) == 2
    assert repr(queue) == f"<MemoryQueue: 1 waiting, 2 leased, {3 * len(payload(1).json)} bytes>"


async def test_what_is_put_into_the_queue_is_in_the_store() -> None:
    store = MemoryStore()
    store.queue.put_nowait(event(1))
    assert store.statistics().pending == 1
    assert numbers(await lease(store)) == [1]
    with pytest.raises(asyncio.QueueEmpty):
        store.queue.get_nowait()


async def test_an_event_that_is_taken_from_the_queue_is_leased_until_it_is_acknowledged() -> None:
    store = MemoryStore(capacity=1)
    fill(store, 1)
    taken = await store.queue.get()
    assert (store.statistics().pending, store.statistics().leased) == (0, 1)
    assert store.queue.full()
    with pytest.raises(asyncio.QueueFull):
        store.queue.put_nowait(event(2))
    await store.ack([taken])
    assert not store.queue.full()
    store.queue.put_nowait(event(2))


async def test_the_queue_keeps_the_bound_of_bytes() -> None:
    store = MemoryStore(capacity_bytes=3 * len(payload(1).json))
    store.queue.put_nowait(event(1))
    with pytest.raises(asyncio.QueueFull):
        store.queue.put_nowait(event(2, size=1_000))
    for number in (3, 4):
        store.queue.put_nowait(event(number))
    assert store.queue.full()
    assert store.statistics().bytes == 3 * len(payload(1).json)


async def test_a_reader_waits_in_the_queue_for_an_event_of_any_thread() -> None:
    store = MemoryStore()
    for put in (lambda: fill(store, 1), lambda: store.queue.put_nowait(event(1))):
        reader = asyncio.create_task(store.queue.get())
        await asyncio.sleep(0)
        assert not reader.done()
        await asyncio.to_thread(put)
        assert number_of(await reader) == 1


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda queue: queue.put(event(1)), r"MemoryStore\.add\(\)"),
        (lambda queue: queue.join(), r"Tracker\.flush\(\)"),
        (lambda queue: queue.task_done(), r"MemoryStore\.ack\(\)"),
        (lambda queue: queue.shutdown(), r"Tracker\.aclose\(\)"),
    ],
    ids=["put", "join", "task_done", "shutdown"],
)
async def test_what_would_bypass_the_store_says_what_to_call_instead(
    call: Callable[[MemoryQueue], Awaitable[None]], instead: str
) -> None:
    with pytest.raises(RuntimeError, match=instead):
        await call(MemoryStore().queue)


# --- one loop after the other


def test_each_loop_that_waits_has_a_queue_of_its_own_and_the_order_stays() -> None:
    store = MemoryStore()

    async def put(*events: int) -> MemoryQueue:
        fill(store, *events)
        return await look(store)

    async def put_back() -> MemoryQueue:
        await store.release(await lease(store, events=2))
        return await look(store)

    first = asyncio.run(put(1, 2))
    second = asyncio.run(put(3, 4))
    third = asyncio.run(put_back())
    assert len({first, second, third}) == 3
    assert third.qsize() == 4
    assert numbers(asyncio.run(lease(store))) == [1, 2, 3, 4]


def test_one_loop_keeps_its_queue() -> None:
    store = MemoryStore()

    async def look_twice() -> tuple[MemoryQueue, MemoryQueue]:
        return await look(store), await look(store)

    first, second = asyncio.run(look_twice())
    assert first is second


def test_a_wait_that_is_left_in_a_closed_loop_disturbs_nobody() -> None:
    store = MemoryStore()
    loop = asyncio.new_event_loop()
    left = store.wait(count=1, size=10**9, timeout=None)
    task = loop.create_task(left)
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    fill(store, 1)

    async def wait_for_two() -> None:
        waiting = asyncio.create_task(store.wait(count=2, size=10**9, timeout=None))
        # The event that came before has notified: that wait returns early, and another one begins.
        await waiting
        waiting = asyncio.create_task(store.wait(count=2, size=10**9, timeout=None))
        await asyncio.sleep(0)
        left.close()
        fill(store, 2)
        async with asyncio.timeout(30):
            await waiting

    asyncio.run(wait_for_two())
    assert numbers(asyncio.run(lease(store))) == [1, 2]


def test_threads_put_while_the_store_moves_from_loop_to_loop() -> None:
    store = MemoryStore()

    async def take(count: int) -> list[int]:
        taken: list[int] = []
        async with asyncio.timeout(30):
            while len(taken) < count:
                await store.wait(count=1, size=10**9, timeout=None)
                events = await lease(store, events=count - len(taken))
                taken += numbers(events)
                await store.ack(events)
        return taken

    async def put_and_take() -> list[int]:
        putting = asyncio.create_task(asyncio.to_thread(fill, store, *range(100)))
        taken = await take(50)
        await putting
        return taken

    for _ in range(5):
        assert asyncio.run(put_and_take()) == list(range(50))
        assert asyncio.run(take(50)) == list(range(50, 100))
    assert store.statistics().pending == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_child_of_a_fork_begins_with_a_queue_of_its_own() -> None:
    store = MemoryStore()

    async def wait() -> MemoryQueue:
        fill(store, 1, 2)
        return await look(store)

    parents = asyncio.run(wait())
    if (child := os.fork()) == 0:
        status = 1
        try:
            store.abandon()
            of_the_child = asyncio.run(wait())
            is_apart = of_the_child is not parents and parents.qsize() == 2
            status = 0 if is_apart and numbers(store.withdraw()) == [1, 2] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.queue is parents
    assert parents.qsize() == 2
