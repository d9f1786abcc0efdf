"""Probes, and numbers for Prometheus."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from snowplow_aio import ConfigurationError
from snowplow_aio.instrumentation.health import MAX_CONNECTIONS, HealthEndpoint
from snowplow_aio.instrumentation.metrics import METRICS, metrics
from snowplow_aio.redis.worker import RedisWorker
from snowplow_aio.settings import Settings
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


# --- whoever connects to it


async def raw(endpoint: HealthEndpoint, request: bytes) -> bytes:
    """Send *request* and return all that comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(request)
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /health", b"503"),
        ("HEAD /health", b"503"),
        ("HEAD /metrics", b"200"),
        ("GET /health?verbose=1", b"503"),
        ("GET /", b"404"),
        ("GET /metrics/", b"404"),
        ("GET /../metrics", b"404"),
        ("POST /health", b"405"),
        ("OPTIONS /ready", b"405"),
        ("GET http://elsewhere.example/health", b"503"),
    ],
)
async def test_a_connection_is_for_one_request(request_line: str, status: bytes) -> None:
    async with HealthEndpoint(RedisWorker(sending("http://127.0.0.1:1"))) as endpoint:
        answer = await raw(endpoint, f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 2)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in head.lower()
    assert b"HTTP/1.1" not in body
    assert (body == b"") == request_line.startswith("HEAD")


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"GET /health HT",
        b"GET /health HTTP/1.1\r\nHost: x\r\n",
        b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    ],
    ids=["nothing", "half a line", "half a head", "half a body"],
)
async def test_a_silent_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    monkeypatch.setattr("snowplow_aio.instrumentation.health.CONNECTION_SECONDS", 0.1)
    async with HealthEndpoint(RedisWorker(sending("http://127.0.0.1:1"))) as endpoint:
        for _ in range(3):
            assert (await raw(endpoint, request_))[:12] in (b"", b"reset", b"HTTP/1.1 405")
    assert caplog.text.count("connections were closed without an answer: no whole request within 0.1 s") == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n",
        b"GET /" + b"x" * 1_000_000,
        b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 200_000,
        b"GET /health HTTP/1.1\r\nX: " + b"y" * 1_000_000,
        b"GET /health HTTP/9.9\r\n\r\n",
        b"\r\n" * 100_000,
    ],
    ids=["TLS", "a long line", "many headers", "a long header", "a version", "line breaks"],
)
async def test_what_is_no_request_of_a_probe_ends_at_once_and_is_one_line_at_most(
    caplog: pytest.LogCaptureFixture, garbage: bytes
) -> None:
    async with HealthEndpoint(RedisWorker(sending("http://127.0.0.1:1"))) as endpoint:
        answers = [await raw(endpoint, garbage) for _ in range(5)]
        assert (await get(endpoint, "/ready"))[0] == 503
    assert {answer[:12] for answer in answers} <= {
        b"",
        b"reset",
        b"HTTP/1.1 400",
        b"HTTP/1.1 505",
        b"HTTP/1.0 400",
    }
    assert len(caplog.text.splitlines()) <= 1


async def test_more_connections_than_probes_need_are_closed_and_probes_are_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(HealthEndpoint(RedisWorker(sending("http://127.0.0.1:1"))))
        readers = []
        for _ in range(100):
            reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
            stack.callback(writer.close)
            writer.write(b"GET /health HTTP/1.1\r\n")
            readers.append(reader)
        assert (await get(endpoint, "/ready"))[0] == 503
        await until(lambda: sum(not is_ended(reader) for reader in readers) < MAX_CONNECTIONS)
    assert caplog.text.count("more than 8 at a time") == 1


def is_ended(reader: asyncio.StreamReader) -> bool:
    return reader.at_eof() or reader.exception() is not None


async def test_a_worker_that_cannot_be_read_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    worker = RedisWorker(sending("http://127.0.0.1:1"))
    worker.stats = lambda: 1 / 0  # type: ignore[assignment, return-value]
    async with HealthEndpoint(worker) as endpoint:
        assert [(await get(endpoint, "/metrics"))[0] for _ in range(3)] == [500] * 3
    assert caplog.text.count("a request could not be answered") == 1


def test_it_listens_to_this_machine_only_unless_it_is_told_otherwise() -> None:
    parameter = inspect.signature(HealthEndpoint).parameters["host"]
    assert parameter.default == Settings().health_host == "127.0.0.1"
