"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from hypothesis import HealthCheck, settings

from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.micro import Micro
from snowplow_aio.redis import worker
from snowplow_aio.redis.writer import RedisWriter
from tests import left
from tests.collector import Collector, running_collector
from tests.conformance.oracle import NO_PUBLIC_SCHEMAS, Oracle, public_schemas
from tests.redis.servers import Proxy, RedisServer, proxy_to
from tests.scale import FULL

# A busy machine pauses within an example; and a run fails for what was changed, not for the examples of the
# day. Before any test module is imported: what they say of their own settings is added to these.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

_figures: list[tuple[str, dict[str, object]]] = []


@pytest.fixture(autouse=True, scope="session")
def no_certificates() -> Iterator[None]:
    """Spare the programs that tests start the system's certificates, which take each of them some time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail the test that leaves a thread of ours or a descriptor behind, and not one that comes later."""
    before = left.descriptors()
    yield
    left.no_thread()
    left.no_descriptor(before)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder with the public schemas, which are not part of the repository."""
    folder = public_schemas()
    if folder is None:
        pytest.skip(NO_PUBLIC_SCHEMAS)
    return folder


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

    And a worker that stops, to give events back, which others take over anyway.

    For tests that look at all keys afterwards. The others keep the short time that an application has.
    """
    defaults = RedisWriter.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "tidy_timeout", 2.0)
    monkeypatch.setattr(worker, "_GIVE_BACK_SECONDS", 2.0)
    monkeypatch.setattr(BufferedEmitter, "close_seconds", 3.0)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Take figures, which are printed at the end of a full or verbose run."""

    def note(**figures: object) -> None:
        _figures.append((request.node.name, figures))

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _figures and (FULL or terminalreporter.verbosity > 0):
        terminalreporter.section("figures")
        for name, figures in _figures:
            terminalreporter.line(f"{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    """The pipeline's verdict, by the public schemas where they are there."""
    return Oracle(public_schemas())


@pytest.fixture
async def micro() -> AsyncIterator[Micro]:
    """A running collector that knows the schemas of the library's own models."""
    async with Micro() as running:
        yield running


@pytest.fixture
def time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let a delivery that is closed take its time to give back what is on its way.

    For tests that count what a close leaves at once. The others keep the short time that an application has.
    """
    monkeypatch.setattr(BufferedEmitter, "close_seconds", 3.0)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running
