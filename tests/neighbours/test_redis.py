"""Events pass through whatever speaks Redis' protocol once, in a list and in a stream."""

from __future__ import annotations

import asyncio
import importlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from snowplow_aio import RedisEmitter, Tracker
from snowplow_aio.redis.worker import RedisWorker
from tests.collector import Collector
from tests.neighbours.neighbour import answers, each
from tests.neighbours.redis_servers import FAKES, SERVERS
from tests.redis.reading import PAGE, QUICK
from tests.redis.servers import RedisServer
from tests.redis.working import left, put, sending, until_delivered, until_in_redis, working
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["list", "stream"])]

Mode = Literal["list", "stream"]
EVENTS = 300


@pytest.fixture
def server(name: str, tmp_path: Path) -> Iterator[RedisServer]:
    """The server of a neighbour, which keeps its data."""
    options = ("appendonly yes", "appendfsync always")
    with RedisServer(tmp_path, *options, program=SERVERS[name].program) as running:
        yield running


@answers("arrives", "closes")
@pytest.mark.parametrize("name", each(SERVERS))
async def test_each_event_passes_a_server_once(
    collector: Collector, server: RedisServer, name: str, mode: Mode
) -> None:
    number = re.search(r"[\d.]+$", name)
    # It is the one that the page names.
    assert number is None or SERVERS[name].version.startswith(number[0])
    event_ids = await put(server.url, EVENTS, mode=mode)
    async with working(RedisWorker(sending(collector), client=server.url, mode=mode)) as worker:
        await until_delivered(worker, EVENTS)
    assert (set(collector.accepted), collector.accepted.total()) == (set(event_ids), EVENTS)


@answers("health", "stop")
@pytest.mark.parametrize("name", each(SERVERS))
async def test_a_server_that_is_killed_is_noticed_and_loses_nothing_that_it_has_taken(
    collector: Collector, server: RedisServer, name: str, mode: Mode
) -> None:
    event_ids = await put(server.url, EVENTS, mode=mode)
    async with Tracker(RedisEmitter(server.url, mode=mode, retry=QUICK, drain_timeout=30)) as tracker:
        event_ids += [tracker.track_nowait(PAGE) for _ in range(EVENTS)]
        assert (await tracker.flush(30)).pending == 0
        assert tracker.health()
        server.kill()
        event_ids += [await tracker.track(PAGE) for _ in range(EVENTS)]
        await until(lambda: not tracker.health())
        server.start()
        await until(tracker.health)
    async with working(RedisWorker(sending(collector), client=server.url, mode=mode)) as worker:
        await until_delivered(worker, 3 * EVENTS)
    assert set(event_ids) == set(collector.accepted)


@answers("arrives", "closes")
@pytest.mark.parametrize("name", each(FAKES))
async def test_each_event_passes_a_fake_once(collector: Collector, name: str, mode: Mode) -> None:
    with warnings.catch_warnings():
        # Its early versions give redis-py an argument that this has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        client: Any = importlib.import_module(name).FakeAsyncRedis()
    try:
        async with Tracker(RedisEmitter(client, mode=mode, retry=QUICK)) as tracker:
            event_ids = [tracker.track_nowait(PAGE) for _ in range(EVENTS)]
            assert (await tracker.flush(30)).delivered == EVENTS
        async with working(RedisWorker(sending(collector), client=client, mode=mode)) as worker:
            await until_delivered(worker, EVENTS)
            await until_in_redis(lambda: _is_empty(client))
        assert (set(collector.accepted), collector.accepted.total()) == (set(event_ids), EVENTS)
        # The client is the application's.
        assert await asyncio.wait_for(client.ping(), 30)
    finally:
        await client.aclose()


async def _is_empty(client: Any) -> bool:
    return await left(client) == 0
