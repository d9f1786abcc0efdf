"""
The whole way: emitter, Redis, workers, collector, while workers and Redis are killed again and again.

And that it can go on like that for months: nothing grows.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from snowplow_aio import MemoryStore, RedisEmitter, Tracker
from snowplow_aio.redis.worker import RedisWorker
from tests.collector import Collector, running_collector
from tests.faults.conftest import balance, lasting
from tests.faults.server import CollectorProcess
from tests.redis.reading import PAGE, QUICK
from tests.redis.servers import RedisServer
from tests.redis.working import left, put, sending, started, until_delivered, until_in_redis, working
from tests.scale import scale

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["list", "stream"])]

EVENTS = scale(3_000, 50_000)
WORKERS = scale(2, 3)
SECONDS = scale(3, 60)
# What is tracked at once, twenty times a second, so that there is something to do all the time.
BURST = EVENTS // (SECONDS * 15)
# What one holds at most, `prefetch` by default.
HELD = 2_000

# Good events in a round of the test that nothing grows, the rounds that fill caches and the dead letters,
# and the rounds before and after which are compared.
ROUND = 500
WARM_UP = 4
BASELINES = 3


@pytest.fixture
def collector() -> Any:
    """A collector in a process of its own: this one starts and kills others, and is busy with that."""
    with CollectorProcess(seed=1) as running:
        yield running


class Crew:
    """
    Workers in processes of their own.

    Attributes:
        kills: How many were killed.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        self._workers: list[Process] = []
        self.kills = 0

    async def hire(self) -> None:
        """Start one more."""
        self._workers.append(await started(*self._options, quiet=True))

    async def kill_one(self) -> None:
        """Kill the one that has worked longest, as `kill -9` does, and start another."""
        self.kills += 1
        await _killed(self._workers.pop(0))
        await self.hire()

    async def kill_all(self) -> None:
        """Kill all that are left."""
        while self._workers:
            await _killed(self._workers.pop())


async def _killed(worker: Process) -> None:
    worker.kill()
    await worker.wait()


@asynccontextmanager
async def crew(*options: str) -> AsyncGenerator[Crew, None]:
    hired = Crew(*options)
    try:
        for _ in range(WORKERS):
            await hired.hire()
        yield hired
    finally:
        await hired.kill_all()


async def kill_now_and_then(workers: Crew, server: RedisServer, seconds: int) -> None:
    """Kill a worker every second, and Redis twice, which starts again with what is on its disk."""
    for second in range(seconds):
        await asyncio.sleep(1)
        await workers.kill_one()
        if second in (0, seconds // 2):
            server.kill()
            await asyncio.to_thread(server.start)


@lasting(600)
async def test_nothing_is_lost_while_workers_and_redis_are_killed(
    new_server: Callable[..., RedisServer],
    collector: CollectorProcess,
    report: Callable[..., None],
    mode: Any,
) -> None:
    server = new_server("appendonly yes", "appendfsync always")
    flags = ("--redis-url", server.url, "--collector", collector.url, "--takeover-after", "2")
    store = MemoryStore(capacity=EVENTS, capacity_bytes=2**30)
    emitter = RedisEmitter(server.url, mode=mode, retry=QUICK, max_batch=100, store=store)
    async with crew(*flags, "--mode", mode) as workers, Tracker(emitter) as tracker:
        killing = asyncio.create_task(kill_now_and_then(workers, server, SECONDS))
        while not killing.done() or emitter.stats().accepted < EVENTS:
            for _ in range(min(BURST, EVENTS - emitter.stats().accepted)):
                await tracker.track(PAGE)
            await asyncio.sleep(0.05)
        await killing
        assert (await tracker.flush(60)).delivered == EVENTS
        async with asyncio.timeout(scale(40, 300)):
            while collector.counts().distinct < EVENTS:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
        async with redis.asyncio.Redis(port=server.port) as rdb:
            await until_in_redis(lambda: is_empty(rdb))
    assert balance(emitter.stats()) == 0
    counts = collector.counts()
    report(events=EVENTS, kills=workers.kills, duplicates=counts.duplicates)
    assert counts.distinct == EVENTS
    assert counts.duplicates <= workers.kills * HELD


async def is_empty(rdb: Any) -> bool:
    return await left(rdb) == 0


@pytest.mark.usefixtures("time_to_tidy_up")
@lasting(900)
async def test_nothing_grows(
    new_server: Callable[..., RedisServer], mode: Any, report: Callable[..., None]
) -> None:
    """Rounds of everything that happens in months: good events, poison, emitters and workers that end."""
    chance = random.Random(6)
    server = new_server()
    rdb: Any
    async with running_collector() as collector, redis.asyncio.Redis(port=server.port) as rdb:
        worker = RedisWorker(sending(collector, batch_size=50), client=server.url, mode=mode, max_dead=50)
        async with working(worker):
            delivered, seen = 0, []
            for number in range(WARM_UP + scale(9, 200)):
                await round_of_a_month(server, rdb, collector, mode, chance)
                delivered += ROUND
                await until_delivered(worker, delivered)
                await until_in_redis(lambda: is_empty(rdb))
                collector.requests.clear()
                collector.accepted.clear()
                gc.collect()
                if number >= WARM_UP:
                    seen.append(await sizes(rdb))
    first, last = smallest(seen[:BASELINES]), smallest(seen[-BASELINES:])
    report(**{name: (first[name], last[name]) for name in first})
    events = ROUND * (len(seen) - BASELINES)
    assert (last["keys"], last["scripts"]) == (first["keys"], first["scripts"])
    assert last["connections"] <= first["connections"]
    # A leak keeps at least a byte or an object of each event. Smaller growth is not of the events: an
    # allocation of a thousand bytes more for a buffer, some objects of a cache.
    assert last["bytes in Redis"] - first["bytes in Redis"] < events / 2
    assert last["objects here"] - first["objects here"] < events / 2


def smallest(seen: Sequence[dict[str, int]]) -> dict[str, int]:
    """Return the least of each number: what is larger in one round only does not grow."""
    return {name: min(sizes[name] for sizes in seen) for name in seen[0]}


async def round_of_a_month(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any, chance: random.Random
) -> None:
    """Put events, among them poison, and have another worker begin and end meanwhile."""
    for _ in range(20):
        # All dead letters have the same length.
        entry = b"poison " + chance.randbytes(10).hex().encode()
        await (rdb.rpush("snowplow", entry) if mode == "list" else rdb.xadd("snowplow", {"e": entry}))
    await put(server.url, ROUND, mode=mode)
    other = RedisWorker(sending(collector), client=server.url, mode=mode, max_dead=50)
    other.stop()
    await other.run()


async def sizes(rdb: Any) -> dict[str, int]:
    """Return what may grow; the buffers and logs of Redis itself are not ours."""
    keys = await rdb.keys()
    return {
        "keys": len(keys),
        "bytes in Redis": sum([await rdb.memory_usage(key, samples=0) for key in keys]),
        "scripts": (await rdb.info("memory")).get("number_of_cached_scripts", 0),
        "connections": len(await rdb.client_list()),
        "objects here": sys.getallocatedblocks(),
    }
