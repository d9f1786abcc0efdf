"""
Everything goes wrong at once, for as long as one likes.

`nox -s soak` plays 15 minutes, the usual run some seconds of the same.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis.asyncio

from snowplow_aio import HttpEmitter, MemoryStore, PageView, RedisEmitter, Retry, Tracker
from snowplow_aio.redis.worker import RedisWorker
from tests.faults.conftest import internal_tasks, missing
from tests.faults.server import CollectorProcess, Faults
from tests.redis.servers import RedisServer
from tests.redis.working import left, until_in_redis

pytestmark = pytest.mark.anyio

SECONDS = float(os.environ.get("SNOWPLOW_SOAK_SECONDS", "4"))
# Shorter runs say nothing about memory: caches and pools still fill.
IS_LONG = SECONDS >= 600
EVENTS_PER_SECOND = 1_000
TICK_SECONDS = 0.01
BATCH = 100

PAGE = PageView(page_url="https://shop.example/")
REFUSED = PageView(page_url="https://shop.example/answer/400")
QUICK = Retry(initial_delay=0.02, max_delay=0.5)
FAULTS = Faults(refused=0.01, unanswered=0.01, reset=0.01, slow=0.01)

Report = Callable[..., None]


class Sample(NamedTuple):
    """What this process has at one moment."""

    mib: float
    descriptors: int
    threads: int
    tasks: int


def sample() -> Sample:
    """Look at what this process has."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return Sample(resident / 1024, descriptors, threading.active_count(), len(asyncio.all_tasks()))


@dataclass
class Run:
    """
    One run.

    Attributes:
        tracked: Events that were tracked; `refused` of them the collector refuses.

        cancels: Tasks of the library that were cancelled.

        samples: One for each hundredth of the time.
    """

    chance: random.Random
    tracked: int = 0
    refused: int = 0
    cancels: int = 0
    samples: list[Sample] = field(default_factory=list)

    async def track(self, tracker: Tracker) -> None:
        """Track one event: awaited, without waiting, or from a thread."""
        event = PAGE
        if self.chance.random() < 0.0004:
            event, self.refused = REFUSED, self.refused + 1
        self.tracked += 1
        how = self.chance.random()
        if how < 0.9:
            await tracker.track(event)
        elif how < 0.98:
            tracker.track_nowait(event)
        else:
            await asyncio.to_thread(tracker.track_nowait, event)

    async def produce(self, *trackers: Tracker) -> None:
        """Track so many events a second, half of them by each of *trackers*."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (elapsed := loop.time() - begun) < SECONDS:
            while self.tracked < elapsed * EVENTS_PER_SECOND:
                await self.track(trackers[self.tracked % len(trackers)])
            await asyncio.sleep(TICK_SECONDS)

    async def cancel_tasks(self, spared: asyncio.Task[None]) -> None:
        """Cancel one of the library's tasks about once a second, but for *spared*, which is the caller's."""
        while True:
            await asyncio.sleep(self.chance.expovariate(1.0))
            if tasks := [task for task in internal_tasks() if task is not spared]:
                self.chance.choice(tasks).cancel()
                self.cancels += 1

    async def watch(self) -> None:
        """Take samples."""
        while True:
            await asyncio.sleep(SECONDS / 100)
            self.samples.append(sample())


async def have_outages(collector: CollectorProcess, server: RedisServer, chance: random.Random) -> None:
    """Take the collector or Redis away for half a second, about every 20 seconds."""
    while True:
        await asyncio.sleep(min(chance.expovariate(1 / 20), SECONDS / 3))
        take, give = chance.choice(
            [(collector.close, collector.open), (server.freeze, server.thaw)],
        )
        take()
        try:
            await asyncio.sleep(0.5)
        finally:
            give()


@asynccontextmanager
async def meanwhile(*works: asyncio.Task[None]) -> AsyncGenerator[None, None]:
    """Let *works* go on while the context is open."""
    try:
        yield
    finally:
        for work in works:
            work.cancel()
        await asyncio.wait(works)
    for work in works:
        with suppress(asyncio.CancelledError):
            work.result()


@pytest.mark.timeout(SECONDS + 300)
async def test_nothing_is_lost_and_nothing_grows_under_all_faults_at_once(
    collector: CollectorProcess, new_server: Callable[..., RedisServer], report: Report
) -> None:
    server = new_server()
    collector.do(FAULTS)
    run = Run(random.Random(38))
    sending = HttpEmitter(collector.url, retry=QUICK, max_batch=BATCH, store=MemoryStore(capacity=10**6))
    storing = RedisEmitter(server.url, retry=QUICK, max_batch=BATCH, store=MemoryStore(capacity=10**6))
    worker = RedisWorker(
        HttpEmitter(collector.url, retry=QUICK, max_batch=BATCH), client=server.url, takeover_after=5.0
    )
    before = sample()

    working = asyncio.create_task(worker.run())
    direct, queued = Tracker(sending), Tracker(storing)
    async with direct, queued:
        disorder = [
            asyncio.create_task(run.cancel_tasks(working)),
            asyncio.create_task(run.watch()),
            asyncio.create_task(have_outages(collector, server, random.Random(39))),
        ]
        async with meanwhile(*disorder):
            await run.produce(direct, queued)
        collector.do(Faults())
        flushed = await direct.flush(120), await queued.flush(120)
        async with redis.asyncio.Redis(port=server.port) as rdb:
            await until_in_redis(partial(is_empty, rdb))
    worker.stop()
    await working
    after = sample()

    counts = collector.counts()
    rejected = sum(sending.stats().rejected.values()) + sum(worker.stats().rejected.values())
    halves = run.samples[: len(run.samples) // 2], run.samples[len(run.samples) // 2 :]
    growth = statistics.median(s.mib for s in halves[1]) - statistics.median(s.mib for s in halves[0])
    report(
        seconds=SECONDS,
        events=run.tracked,
        arrived=counts.distinct,
        rejected=rejected,
        twice=counts.duplicates,
        unanswered=counts.unanswered,
        cancels=run.cancels,
        growth_mib=round(growth, 1),
        most=Sample(*map(max, zip(*run.samples, strict=True))),
        after=after,
    )
    assert [result.pending for result in flushed] == [0, 0]
    assert counts.distinct + run.refused == run.tracked
    assert rejected <= run.refused
    assert [missing(one) for one in (sending, storing, worker)] == [0, 0, 0]
    assert counts.duplicates <= counts.unanswered + run.cancels * BATCH
    assert after.descriptors <= before.descriptors
    assert after.tasks == before.tasks
    assert peaks(halves[1]) <= peaks(halves[0]) + 8
    if IS_LONG:
        assert growth < 4


async def is_empty(rdb: Any) -> bool:
    """
    Return whether no event waits in Redis or is held by a worker.

    The worker's own numbers are too low: of what it had removed when its task was cancelled it knows nothing.
    """
    return await left(rdb) == 0


def peaks(samples: Sequence[Sample]) -> int:
    """Return the most descriptors of *samples*."""
    return max(one.descriptors for one in samples)
