"""Probes, and numbers for Prometheus."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp
import pytest

from snowplow_aio import ConfigurationError
from snowplow_aio.instrumentation.health import HealthEndpoint
from snowplow_aio.instrumentation.metrics import METRICS, metrics
from snowplow_aio.redis.worker import RedisWorker
from tests.collector import OK, Answer, Collector, running_collector
from tests.redis.servers import RedisServer
from tests.redis.working import put, sending, working
from tests.waiting import until

pytestmark = pytest.mark.anyio

# The text format, line by line: comments, and names with labels and a number.
_LINE = re.compile(
    r'# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="(?:[^"\\\n]|\\.)*"(,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? \S+'
)


@pytest.fixture
async def collector() -> AsyncGenerator[Collector, None]:
    async with running_collector() as running:
        yield running


async def get(endpoint: HealthEndpoint, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{endpoint.port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def numbers(endpoint: HealthEndpoint) -> dict[str, float]:
    """Return the numbers that a scrape finds."""
    status, text = await get(endpoint, "/metrics")
    assert status == 200
    lines = text.splitlines()
    assert all(_LINE.fullmatch(line) for line in lines), text
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("snowplow_worker_"): float(value) for name, _, value in pairs}


async def test_a_worker_that_delivers_is_healthy_and_ready(server: RedisServer, collector: Collector) -> None:
    worker = RedisWorker(sending(collector), client=server.url)
    async with HealthEndpoint(worker) as endpoint:
        assert await get(endpoint, "/health") == (503, "not running\n")
        async with working(worker):
            await put(server.url, 10)
            await until(lambda: worker.stats().delivered == 10 and worker.is_ready)
            for path in ("/health", "/ready"):
                status, text = await get(endpoint, path)
                assert status == 200
                assert re.fullmatch(r"ok; 0 waiting; 10 delivered, the last \d+ s ago; \d+ in Redis\n", text)
        assert (await get(endpoint, "/health"))[0] == 503
        assert (await get(endpoint, "/"))[0] == 404


async def test_a_worker_without_a_collector_is_healthy_and_not_ready(
    server: RedisServer, collector: Collector
) -> None:
    collector.rule = lambda _request: Answer(503, is_processed=False)
    worker = RedisWorker(sending(collector), client=server.url)
    async with HealthEndpoint(worker) as endpoint, working(worker):
        await put(server.url, 3)
        await collector.requested(2)
        assert (await get(endpoint, "/health"))[0] == 200
        status, text = await get(endpoint, "/ready")
        assert status == 503
        assert text.startswith("backing off (status 503; next attempt in 0 s); 3 waiting")
        found = await numbers(endpoint)
        assert (found["ready"], found["redis_up"]) == (0, 1)
        assert found['events_held{state="pending"}'] + found['events_held{state="leased"}'] == 3
        assert found['retries_total{reason="status 503"}'] >= 1
        collector.rule = lambda _request: OK
        await until(lambda: worker.is_ready)
        assert (await get(endpoint, "/ready"))[0] == 200


async def test_a_worker_without_redis_is_healthy_and_not_ready(
    new_server: Callable[..., RedisServer], collector: Collector
) -> None:
    server = new_server()
    worker = RedisWorker(sending(collector), client=server.url)
    async with HealthEndpoint(worker) as endpoint, working(worker):
        await until(lambda: worker.is_ready)
        server.kill()
        await until(lambda: not worker.is_ready)
        assert (await get(endpoint, "/health"))[0] == 200
        status, text = await get(endpoint, "/ready")
        assert status == 503
        assert text.startswith("Redis does not answer; ok; 0 waiting")
        assert (await numbers(endpoint))["redis_up"] == 0
        server.start()
        await until(lambda: worker.is_ready)


async def test_the_metrics_count_every_way_an_event_leaves(
    server: RedisServer, rdb: Any, collector: Collector
) -> None:
    worker = RedisWorker(sending(collector), client=server.url)
    await rdb.rpush("snowplow", b"no event")
    await put(server.url, 5)
    async with HealthEndpoint(worker) as endpoint, working(worker):
        await until(lambda: worker.stats().delivered == 5)
        found = await numbers(endpoint)
        assert found['events_total{outcome="delivered"}'] == 5
        assert found['events_total{outcome="rejected",reason="poison"}'] == 1
        assert found["requests_total"] >= 1
        expected = {"queue_length", "taken_over_total", "dead_letters_deleted_total", "restarts_total"}
        assert expected <= found.keys()
        assert found["last_success_age_seconds"] < 30


async def test_what_a_collector_says_cannot_break_a_line(server: RedisServer, collector: Collector) -> None:
    worker = RedisWorker(sending(collector), client=server.url)
    worker._delivery.reporter.retries['a "quoted" \\ reason\nof two lines'] = 2
    text = metrics(worker)
    assert 'snowplow_worker_retries_total{reason="a \\"quoted\\" \\\\ reason\\nof two lines"} 2' in text
    assert all(_LINE.fullmatch(line) for line in text.splitlines())


def test_every_metric_is_defined_once_and_published() -> None:
    text = metrics(RedisWorker(sending("http://127.0.0.1:1")))
    described = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert described == [f"snowplow_worker_{metric.name}" for metric in METRICS]
    assert len(set(described)) == len(described)


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing(collector: Collector) -> None:
    worker = RedisWorker(sending(collector))
    async with HealthEndpoint(worker) as endpoint:
        with pytest.raises(OSError, match="address already in use"):
            await HealthEndpoint(worker, port=endpoint.port).__aenter__()


@pytest.mark.parametrize("port", [-1, 65_536, True, "80"])
def test_a_port_that_is_none_is_named(port: Any) -> None:
    with pytest.raises(ConfigurationError, match="port: must be a port from 0 to 65535"):
        HealthEndpoint(RedisWorker(sending("http://127.0.0.1:1")), port=port)
