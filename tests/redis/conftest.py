"""Servers for tests, and checks that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis.asyncio

from tests.promises.conftest import report as report  # noqa: PLC0414 - a fixture of both
from tests.redis.servers import Proxy, RedisServer, proxy_to


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for all tests that neither stop nor reconfigure it."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def server(shared_server: RedisServer) -> RedisServer:
    """A server that is empty, and neither stopped nor reconfigured."""
    async with redis.asyncio.Redis(port=shared_server.port) as client:
        await client.flushall()
    return shared_server


@pytest.fixture
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """Start a server of the test's own, with lines of configuration."""
    with ExitStack() as running:

        def start(*options: str, arguments: tuple[str, ...] = ()) -> RedisServer:
            folder = tmp_path_factory.mktemp("redis")
            return running.enter_context(RedisServer(folder, *options, arguments=arguments))

        yield start


@pytest.fixture
async def rdb(server: RedisServer) -> AsyncIterator[Any]:
    """The application's own client."""
    async with redis.asyncio.Redis(port=server.port) as client:
        yield client


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncGenerator[Proxy, None]:
    """A proxy in front of the server, at first without faults."""
    async with proxy_to(server.port) as running:
        yield running


@pytest.fixture
def time_to_tidy_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let an emitter that closes take its time to remove its fences, which expire anyway.

    For tests that look at all keys afterwards. The others keep the short time that an application has.
    """
    monkeypatch.setattr("snowplow_aio.redis_push._TIDY_SECONDS", 2.0)
    monkeypatch.setattr("snowplow_aio.emitters.buffered._CLOSE_SECONDS", 3.0)


@pytest.fixture(autouse=True)
async def nothing_left(anyio_backend: str) -> AsyncIterator[None]:
    """Fail when a test leaves a task of ours behind."""
    yield
    ours = ("Delivery.", "BufferedEmitter.", "Hooks.", "RedisWorker.", "RedisStore.")
    assert not [task for task in asyncio.all_tasks() if any(name in repr(task) for name in ours)]
