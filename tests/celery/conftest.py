"""Real brokers, real workers and a collector that counts."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from snowplow_aio import CeleryEmitter, PageView, Tracker
from tests.faults.celery.worker import Worker
from tests.faults.server import CollectorProcess
from tests.redis.servers import RedisServer
from tests.waiting import wait_until


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests that neither stop nor reconfigure it."""
    with RedisServer(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
def broker(shared_broker: RedisServer) -> RedisServer:
    """A Redis that is empty, and neither stopped nor reconfigured."""
    with redis.Redis(port=shared_broker.port) as client:
        client.flushall()
    return shared_broker


@pytest.fixture
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with RedisServer(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
def persistent_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the test's own that survives `kill -9`."""
    options = ("appendonly yes", "appendfsync always")
    with RedisServer(tmp_path_factory.mktemp("broker"), *options) as server:
        yield server


@pytest.fixture
def collector() -> Iterator[CollectorProcess]:
    """A healthy collector in a process of its own, which the test can make fail."""
    with CollectorProcess(seed=1) as running:
        yield running


@pytest.fixture
def new_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start a worker."""
    with ExitStack() as running:

        def start(variables: dict[str, str], *options: str, **more: Any) -> Worker:
            return running.enter_context(Worker(tmp_path, variables, *options, **more))

        yield start


def track(url: str, *pages: str, batch: int = 50) -> None:
    """Hand an event for each of *pages* to the broker at *url*, as an application does."""

    async def hand_over() -> None:
        app = Celery(broker=url, set_as_current=False)
        async with Tracker(CeleryEmitter(app, max_batch=batch), namespace="t", app_id="a") as tracker:
            for page in pages:
                await tracker.track(PageView(page_url=page))
            assert (await tracker.flush(30)).pending == 0

    asyncio.run(hand_over())


def wait_for_acknowledgement(broker: RedisServer, worker: Worker) -> None:
    """Return when neither the queue of the broker nor a worker has a message."""
    with redis.Redis(port=broker.port) as client:
        wait_until(lambda: not client.exists("snowplow", "unacked"), worker.log)


def messages(broker: RedisServer, queue: str = "snowplow") -> list[dict[str, Any]]:
    """Return the messages in *queue*, oldest first. Bodies are arguments, keyword arguments and options."""
    with redis.Redis(port=broker.port) as client:
        waiting = client.lrange(queue, 0, -1)
    read: list[dict[str, Any]] = [json.loads(message) for message in reversed(waiting)]
    for message in read:
        message["body"] = json.loads(b64decode(message["body"]))
    return read
