"""Events from other threads are all taken, and wake the delivery at once."""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from snowplow_aio import EmitterStats, HttpEmitter, MemoryStore, Overflow, PageView, QueueFullError, Tracker
from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.model.payload import Payload
from snowplow_aio.policies import Batching
from tests.faults.conftest import balance, lasting
from tests.faults.server import CollectorProcess
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio

Report = Callable[..., None]

PAGE = PageView(page_url="https://shop.example/")
THREADS = 8


@lasting(600)
async def test_eight_threads_lose_nothing(collector: CollectorProcess, report: Report) -> None:
    each = scale(1_000, 12_500)
    together = threading.Barrier(THREADS)

    def track_many() -> set[str]:
        together.wait()
        return {tracker.track_nowait(PAGE) for _ in range(each)}

    async with Tracker(HttpEmitter(collector.url, store=MemoryStore(capacity=THREADS * each + 1))) as tracker:
        # The delivery runs where the first event is tracked, which is here.
        await tracker.track(PAGE)
        started = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            loop = asyncio.get_running_loop()
            tracked = await asyncio.gather(*(loop.run_in_executor(pool, track_many) for _ in range(THREADS)))
        await tracker.flush()
        seconds = time.monotonic() - started
        stats = tracker.stats()["http"]
    events = THREADS * each + 1
    counts = collector.counts()
    report(events=events, per_second=round(events / seconds))
    assert len(set[str]().union(*tracked)) == events - 1
    assert balance(stats) == 0
    assert (stats.accepted, stats.delivered) == (events, events)
    assert (counts.distinct, counts.duplicates) == (events, 0)


class Arrivals(Transport):
    """Takes everything, and notes when."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self.came = threading.Event()

    async def send(self, payloads: Sequence[Payload]) -> Response:
        self.moments.append(time.perf_counter())
        self.came.set()
        return Response(status=200)


@lasting(600)
async def test_an_event_from_another_thread_wakes_an_idle_loop(report: Report) -> None:
    """Nothing else would: the timed flush is far away. It takes less than 5 ms on a free machine."""
    arrivals = Arrivals()
    batching = Batching(batch_size=1, max_batch=1, flush_interval=600)
    times = scale(500, 5_000)
    waited: list[float] = []

    def track_one_after_the_other() -> None:
        for _ in range(times):
            arrivals.came.clear()
            started = time.perf_counter()
            tracker.track_nowait(PAGE)
            assert arrivals.came.wait(30)
            waited.append(arrivals.moments[-1] - started)

    async with Tracker(BufferedEmitter(arrivals, batching=batching, name="arrivals")) as tracker:
        await tracker.track(PAGE)
        await tracker.flush()
        await asyncio.to_thread(track_one_after_the_other)
    cuts = [1000 * cut for cut in statistics.quantiles(waited, n=100)]
    report(
        events=times,
        median_ms=round(cuts[49], 2),
        p99_ms=round(cuts[98], 2),
        longest_ms=round(1000 * max(waited), 2),
    )
    assert len(waited) == times
    assert cuts[98] < 500


async def test_the_numbers_are_of_one_moment_while_threads_track_and_look() -> None:
    """Also where threads change all the time, and where events are dropped, refused and sent meanwhile."""
    is_over, odd, looks = threading.Event(), list[EmitterStats](), [0]
    store = MemoryStore(capacity=50, overflow=Overflow.RAISE)

    def track() -> None:
        while not is_over.is_set():
            with suppress(QueueFullError):
                tracker.track_nowait(PAGE)

    def look() -> None:
        while not is_over.is_set():
            looks[0] += 1
            stats = tracker.stats()["arrivals"]
            if balance(stats) or min(stats.pending, stats.leased) < 0:
                odd.append(stats)

    before = sys.getswitchinterval()
    batching = Batching(batch_size=5, max_batch=10)
    async with Tracker(
        BufferedEmitter(Arrivals(), batching=batching, name="arrivals", store=store)
    ) as tracker:
        await tracker.track(PAGE)
        threads = [threading.Thread(target=work) for work in (track, track, look, look)]
        sys.setswitchinterval(1e-6)
        try:
            for thread in threads:
                thread.start()
            await until(lambda: looks[0] > scale(2_000, 100_000))
        finally:
            sys.setswitchinterval(before)
            is_over.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)
        assert odd == []
        await tracker.flush()
        stats = tracker.stats()["arrivals"]
    assert (stats.pending, stats.leased, stats.bytes, balance(stats)) == (0, 0, 0, 0)
    assert stats.delivered == stats.accepted > 0
