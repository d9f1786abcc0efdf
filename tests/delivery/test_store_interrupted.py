"""The memory store while threads, signal handlers and finalizers call it at any moment."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections.abc import Sequence
from types import FrameType

import pytest

from snowplow_aio import MemoryStore, Overflow, QueueFullError
from snowplow_aio.delivery import event_buffer
from snowplow_aio.model.stored_event import StoredEvent
from tests.delivery.interrupting import interrupted, needs_lines_of, uninterrupted
from tests.delivery.test_memory_store import lease, numbers, payload

pytestmark = pytest.mark.anyio

CAPACITY = 8

has_lines = needs_lines_of(event_buffer)


class Books:
    """
    A store, and what became of each event that was added to it.

    Args:
        overflow: The store's policy.
    """

    def __init__(self, overflow: Overflow, capacity: int = CAPACITY) -> None:
        self.store = MemoryStore(capacity=capacity, overflow=overflow)
        self.added: set[int] = set()
        self.gone: list[int] = []
        self._numbers = iter(range(10**9))

    def add(self, count: int = 1) -> None:
        """Add events, and write down those that were dropped or refused."""
        new = [next(self._numbers) for _ in range(count)]
        payloads = [payload(number, anonymous=number % 3 == 0) for number in new]
        self.added.update(new)
        try:
            self.gone += numbers(self.store.add_nowait(payloads, now=float(new[0]), window=0))
        except QueueFullError:
            self.gone += new

    async def settle(self, events: Sequence[StoredEvent]) -> None:
        await self.store.ack(events)
        self.gone += numbers(events)

    def check(self, leased: Sequence[StoredEvent] = ()) -> None:
        """Fail where an event is lost, or there twice, or the store is over its bound."""
        with uninterrupted():
            statistics = self.store.statistics()
            assert statistics.leased == len(leased)
            assert 0 <= statistics.pending <= CAPACITY - len(leased)
            assert statistics.pending == len(self.added) - len(self.gone) - len(leased)
            assert len(set(self.gone)) == len(self.gone)
            assert self.store.queue.qsize() == statistics.pending

    def close(self) -> None:
        """Fail unless each event is dropped, settled or still there, and all of it adds up."""
        with uninterrupted():
            self.gone += numbers(self.store.withdraw())
            assert sorted(self.gone) == sorted(self.added)
            statistics = self.store.statistics()
            assert (statistics.pending, statistics.leased, statistics.bytes) == (0, 0, 0)


async def work(books: Books, draw: random.Random) -> None:
    """Do everything that a delivery does, in any order, and check each time that nothing is lost."""
    leased: list[StoredEvent] = []
    for _ in range(20):
        books.add(draw.randint(1, 3))
        books.check(leased)
        books.store.oldest()
        books.check(leased)
        leased += await lease(books.store, events=draw.randint(1, 4))
        books.check(leased)
        cut = draw.randint(0, len(leased))
        await (books.store.release if draw.random() < 0.3 else books.settle)(leased[cut:])
        del leased[cut:]
        books.check(leased)
    await books.settle(leased)
    books.close()


@has_lines
@pytest.mark.parametrize("overflow", list(Overflow), ids=lambda policy: policy.name)
@pytest.mark.parametrize("chance", [0.02, 0.3])
async def test_an_event_may_come_in_the_midst_of_any_line(overflow: Overflow, chance: float) -> None:
    lines: set[int] = set()
    for seed in range(10):
        draw, books = random.Random(seed), Books(overflow)

        def add(draw: random.Random = draw, books: Books = books) -> None:
            if draw.random() < chance:
                books.add()

        with interrupted(add, event_buffer, depth=2) as seen:
            await work(books, draw)
        lines |= seen
    assert len(lines) > 50


@has_lines
async def test_events_may_be_put_back_and_settled_in_the_midst_of_any_line() -> None:
    """A finalizer does so: the garbage collector may end a sender of a loop that is gone."""
    for seed in range(10):
        draw, books = random.Random(seed), Books(Overflow.DROP_NEW, capacity=10_000)
        held: list[StoredEvent] = []

        def give_back(
            draw: random.Random = draw, books: Books = books, held: list[StoredEvent] = held
        ) -> None:
            if held and draw.random() < 0.1:
                one = held.pop()
                ending = books.store.release([one]) if draw.random() < 0.5 else books.settle([one])
                with pytest.raises(StopIteration):
                    ending.send(None)

        books.add(50)
        held += await lease(books.store, events=40)
        with interrupted(give_back, event_buffer, depth=1):
            for _ in range(20):
                books.add()
                await books.settle(await lease(books.store, events=2))
        await books.store.release(held)
        assert books.store.statistics().leased == 0
        books.close()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread")
@pytest.mark.parametrize("overflow", [Overflow.DROP_NEW, Overflow.DROP_OLD, Overflow.RAISE])
async def test_a_signal_handler_may_add_while_its_thread_adds(overflow: Overflow) -> None:
    books, main, is_over, calls = Books(overflow), threading.get_ident(), threading.Event(), 0

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal calls
        calls += 1
        books.add()

    def storm() -> None:
        while not is_over.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=storm)
    thread.start()
    try:
        while calls < 50:
            for _ in range(100):
                books.add()
            await books.settle(await lease(books.store, events=4))
            statistics = books.store.statistics()
            assert 0 <= statistics.pending <= CAPACITY
    finally:
        is_over.set()
        await asyncio.to_thread(thread.join)
        signal.signal(signal.SIGUSR1, before)
    books.close()


async def test_threads_add_while_the_delivery_takes() -> None:
    """What a store says of itself adds up at every moment: each of its numbers is from the same one."""
    store, threads, each = MemoryStore(capacity=50), 4, 2_000
    dropped: list[int] = [0] * threads
    is_over = threading.Event()
    odd: list[object] = []

    def add(number: int) -> None:
        for _ in range(each):
            dropped[number] += len(store.add_nowait([payload(1)], now=0.0, window=0))

    def look() -> None:
        size = len(payload(1).json)
        while not is_over.is_set():
            statistics = store.statistics()
            is_even = statistics.bytes == (statistics.pending + statistics.leased) * size
            if not is_even or statistics.pending + statistics.leased > 50:
                odd.append(statistics)

    looking = threading.Thread(target=look)
    adding = [threading.Thread(target=add, args=(number,)) for number in range(threads)]
    for thread in (looking, *adding):
        thread.start()
    settled = 0
    async with asyncio.timeout(60):
        while any(thread.is_alive() for thread in adding) or store.statistics().pending:
            await store.wait(count=10, size=10**9, timeout=0.01)
            events = await lease(store, events=20)
            await store.ack(events)
            settled += len(events)
    is_over.set()
    await asyncio.to_thread(looking.join)
    assert odd == []
    assert settled + sum(dropped) == threads * each
