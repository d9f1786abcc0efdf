"""Whatever serves and instruments the application: events of its visitors arrive, its end loses nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable

import pytest

from tests.collector import Collector
from tests.faults.conftest import lasting
from tests.faults.servers.servers import Ended, Running, Visitors, ask, serving
from tests.faults.servers.test_servers import DEAD, MARGIN_SECONDS, stop_under_load
from tests.neighbours.neighbour import answers, each
from tests.neighbours.servers import SERVERS, Serving
from tests.ports import HOST
from tests.waiting import until

pytestmark = pytest.mark.anyio

Chosen = Callable[[str], Serving]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """Return what is known of a neighbour, and give the environment its variables."""

    def choose(name: str) -> Serving:
        for variable, value in SERVERS[name].variables.items():
            monkeypatch.setenv(variable, value)
        return SERVERS[name]

    return choose


async def visit(running: Running, paths: tuple[str, ...]) -> list[str]:
    """Let a few visitors come and go; return the event ids that they were answered with."""
    await running.ready()
    visitors = Visitors(running.port, paths)
    await visitors.come(count=6, rate=200, turns=5)
    return visitors.answered


async def stop(running: Running) -> Ended:
    running.tell(signal.SIGTERM)
    return await running.ended()


@lasting(300)
@answers("arrives", "closes")
@pytest.mark.parametrize("name", each(SERVERS))
async def test_each_event_of_each_visitor_arrives_while_it_serves(
    collector: Collector, name: str, chosen: Chosen
) -> None:
    serves = chosen(name)
    async with serving(serves.server, collector.url, batch_size=1) as running:
        answered = await visit(running, serves.server.paths)
        await until(lambda: len(collector.accepted) >= len(answered))
        ended = await stop(running)
    assert len(answered) == 30
    assert set(answered) == set(collector.accepted)
    assert collector.accepted.total() == len(answered)
    assert (ended.losses, "Traceback" in ended.said) == ([], False), ended.said
    # Whoever runs a server that does not tell of its end hears it at the first request.
    assert ("the server runs no lifespan" in ended.said) is not serves.has_end


@lasting(600)
@answers("stop")
@pytest.mark.parametrize("name", each({name: one for name, one in SERVERS.items() if one.has_end}))
async def test_what_is_stopped_under_load_loses_no_event(
    collector: Collector, name: str, chosen: Chosen
) -> None:
    serves = chosen(name)
    async with serving(serves.server, collector.url) as running:
        ended, answered = await stop_under_load(running, serves.server)
    assert set(answered) - set(collector.accepted) == set()
    assert (ended.losses, "Traceback" in ended.said) == ([], False), ended.said


@lasting(300)
@answers("health")
@pytest.mark.parametrize("name", each({name: one for name, one in SERVERS.items() if one.has_end}))
async def test_its_end_says_once_for_each_process_what_a_dead_collector_has_cost(
    name: str, chosen: Chosen
) -> None:
    serves = chosen(name)
    async with serving(serves.server, DEAD, close_seconds=0.5) as running:
        answered = await visit(running, serves.server.paths)
        ended = await stop(running)
    assert sum(ended.losses) == len(answered) == 30, ended.said
    assert 0 < len(ended.losses) <= serves.server.processes
    assert ended.seconds < 0.5 + MARGIN_SECONDS


@lasting(300)
@answers("own")
@pytest.mark.parametrize("name", each({"Sentry in FastAPI": SERVERS["Sentry in FastAPI"]}))
async def test_sentry_sees_each_request_once_and_no_event(
    collector: Collector, name: str, chosen: Chosen
) -> None:
    serves = chosen(name)
    async with serving(serves.server, collector.url, batch_size=3) as running:
        answered = await visit(running, serves.server.paths)
        reader, writer = await asyncio.open_connection(HOST, running.port)
        seen = json.loads(await ask(reader, writer, "/seen") or "")
        writer.close()
        await stop(running)
    of_visitors = {path: seen["transactions"].get(path) for path in serves.server.paths}
    assert of_visitors == dict.fromkeys(serves.server.paths, 10), seen["transactions"]
    assert seen["errors"] == 0
    # The sending is no part of the request of one visitor, and nobody is told what was tracked.
    assert seen["clients"] == 0
    assert [event_id for event_id in answered if event_id in seen["text"]] == []
