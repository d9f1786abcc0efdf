"""A worker says of each event what happened to it, also where it is cancelled half-way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from snowplow_aio import Retry
from snowplow_aio.redis.worker import RedisWorker
from tests.collector import Answer, Collector, Request
from tests.faults.conftest import missing
from tests.redis.reading import QUICK
from tests.redis.servers import Proxy, RedisServer
from tests.redis.working import left, put, sending, until_in_redis, working
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["list", "stream"])]


@pytest.fixture(autouse=True)
def little_time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a cancelled worker not wait long for a Redis that does not answer."""
    monkeypatch.setattr("snowplow_aio.redis.worker._LAST_SECONDS", 0.2)


TOO_OLD = Retry(max_age=0.000_001)


def last_line(caplog: pytest.LogCaptureFixture) -> str:
    return [record.getMessage() for record in caplog.records if record.name == "snowplow_aio.redis"][-1]


def silencing(proxy: Proxy, status: int) -> Callable[[Request], Answer]:
    """Return a rule that answers with *status*, and from then on Redis does not answer."""

    def answer(_request: Request) -> Answer:
        proxy.silence(on=True)
        return Answer(status)

    return answer


async def until_settled(worker: RedisWorker, count: int) -> None:
    """Wait until *count* events are settled of which Redis does not know."""
    await until(lambda: worker._store.unacknowledged == count)


async def cancel(running: asyncio.Task[None]) -> None:
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_last_line_says_how_many_events_were_rejected_and_why(
    server: RedisServer, rdb: Any, collector: Collector, caplog: pytest.LogCaptureFixture, mode: Any
) -> None:
    caplog.set_level(logging.INFO, "snowplow_aio.redis")
    refused, *_ = await put(server.url, 3, mode=mode)
    await (rdb.rpush("snowplow", b"no event") if mode == "list" else rdb.xadd("snowplow", {"e": b"no event"}))
    collector.rule = lambda request: Answer(400 if refused in request.event_ids else 200)
    async with working(RedisWorker(sending(collector), client=server.url, mode=mode)) as worker:
        await until(lambda: worker.stats().delivered == 2 and len(worker.stats().rejected) == 2)
    line = last_line(caplog)
    assert line.startswith("worker: stopped; ok; 0 waiting; 2 delivered, ")
    assert "1 rejected (refused)" in line
    assert "1 rejected (poison)" in line


async def test_events_that_were_delivered_when_it_was_cancelled_count_as_delivered(
    proxy: Proxy, server: RedisServer, collector: Collector, caplog: pytest.LogCaptureFixture, mode: Any
) -> None:
    caplog.set_level(logging.INFO, "snowplow_aio.redis")
    event_ids = await put(server.url, 20, mode=mode)
    collector.rule = silencing(proxy, 200)
    worker = RedisWorker(sending(collector), client=proxy.url, mode=mode)
    running = asyncio.create_task(worker.run())
    await until_settled(worker, 20)
    assert (worker.stats().leased, worker.stats().delivered) == (20, 0)
    await cancel(running)

    stats = worker.stats()
    assert (stats.accepted, stats.pending, stats.leased, stats.delivered) == (20, 0, 0, 20)
    assert collector.accepted.keys() == set(event_ids)
    assert "worker: stopped; ok; 0 waiting; 20 delivered" in last_line(caplog)
    assert "20 events settled, but noted in Redis: another worker delivers them once more" in caplog.text


async def test_an_event_that_was_rejected_when_it_was_cancelled_counts_as_rejected(
    proxy: Proxy, server: RedisServer, collector: Collector, mode: Any
) -> None:
    await put(server.url, 1, mode=mode)
    collector.rule = silencing(proxy, 413)
    worker = RedisWorker(sending(collector), client=proxy.url, mode=mode)
    running = asyncio.create_task(worker.run())
    await until_settled(worker, 1)
    await cancel(running)

    stats = worker.stats()
    assert (stats.accepted, stats.pending, stats.leased, stats.rejected) == (1, 0, 0, {"too_large": 1})


async def test_events_that_were_too_old_when_it_was_cancelled_count_as_dropped(
    proxy: Proxy, server: RedisServer, collector: Collector, mode: Any
) -> None:
    await put(server.url, 20, mode=mode)
    proxy.holds = lambda data: b"{snowplow}:dead" in data
    worker = RedisWorker(sending(collector, retry=TOO_OLD), client=proxy.url, mode=mode)
    running = asyncio.create_task(worker.run())
    await until_settled(worker, 20)
    await cancel(running)

    stats = worker.stats()
    assert (stats.accepted, stats.pending, stats.leased, stats.dropped) == (20, 0, 0, {"expired": 20})


async def test_a_sender_that_is_cancelled_by_others_leaves_no_event_behind(
    proxy: Proxy, server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    event_ids = await put(server.url, 20, mode=mode)
    collector.rule = silencing(proxy, 200)
    async with working(RedisWorker(sending(collector, retry=QUICK), client=proxy.url, mode=mode)) as worker:
        await until_settled(worker, 20)
        for task in asyncio.all_tasks():
            if "DeliveryLoop._send" in repr(task):
                task.cancel()
        await until(lambda: worker.stats().delivered == 20)
        assert missing(worker) == 0
        proxy.silence(on=False)
        proxy.disconnect()
        await until_in_redis(lambda: nothing_left(rdb))
        assert worker.stats().accepted == 20
    assert collector.accepted == dict.fromkeys(event_ids, 1)


async def nothing_left(rdb: Any) -> bool:
    return await left(rdb) == 0
