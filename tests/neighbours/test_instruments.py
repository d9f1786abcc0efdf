"""
Whatever instruments the program, each event arrives once, and the instrument sees what it is to see.

The programs of instruments.py run in processes of their own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.collector import Answer, Collector, Request
from tests.faults.programs import Ended, end_of, started
from tests.neighbours.instruments import EVENTS, FROZEN, INSTRUMENTS
from tests.neighbours.neighbour import answers, each
from tests.redis.servers import RedisServer

pytestmark = pytest.mark.anyio

under_each = pytest.mark.parametrize("name", each(INSTRUMENTS))

# The headers by which traces go on in another service, and where their trace is named.
PROPAGATED = {"traceparent": slice(3, 35), "sentry-trace": slice(0, 32)}


@asynccontextmanager
async def agent() -> AsyncGenerator[tuple[str, set[str]]]:
    """Run what takes traces for Datadog; give its address, and the paths that it is asked for."""
    asked: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        asked.add(request.path.strip("/"))
        await request.read()
        return web.json_response({"endpoints": ["/v0.4/traces"], "rate_by_service": {}})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/"), asked


async def run(name: str, case: str, url: str) -> tuple[Ended, dict[str, Any]]:
    """Run the program under the instrument *name*; return how it ended, and what it has seen."""
    async with (
        agent() as (agent_url, asked),
        started(INSTRUMENTS[name].program, case, url, agent_url, warnings="error") as process,
    ):
        ended = await end_of(process)
    assert ended.code == 0, ended.said
    # It is told of traces, and asked what it takes: nothing leaves this machine by another way.
    assert asked <= {"info"} | {f"v0.{version}/traces" for version in range(3, 8)}
    return ended, json.loads(ended.printed[-1])


def traces_of(requests: list[Request]) -> set[str]:
    """Return the traces that *requests* say they belong to."""
    return {
        request.headers[name][place]
        for request in requests
        for name, place in PROPAGATED.items()
        if name in request.headers
    }


def assert_no_request_is_named(collector: Collector, own: dict[str, Any]) -> None:
    # One sending has the events of many visitors: it is not named after the request of one of them.
    assert traces_of(collector.requests) & set(own.get("traces", [])) == set()


@answers("arrives", "own")
@under_each
async def test_each_event_arrives_once_and_the_application_is_seen_as_it_is(
    collector: Collector, name: str
) -> None:
    ended, own = await run(name, "delivers", collector.url)
    assert ended.said == ""
    assert (len(collector.accepted), collector.accepted.total()) == (2 * EVENTS, 2 * EVENTS)
    assert own["restarts"] == 0
    # Its own requests are not tracked, sent and seen again without end.
    assert len(collector.requests) <= 2 * EVENTS
    assert_no_request_is_named(collector, own)
    assert own.get("errors", []) == []
    if "dtm" in own:
        # Where the application's time stands still, so does that of its events.
        assert own["dtm"] == FROZEN
        assert {event["dtm"] for request in collector.requests for event in request.events} == {FROZEN}


@answers("arrives")
@under_each
async def test_a_program_that_just_ends_sends_its_events(collector: Collector, name: str) -> None:
    ended, own = await run(name, "ends", collector.url)
    assert ended.said == ""
    assert_no_request_is_named(collector, own)
    # The end of the loop may cut off an answer; then its events are sent again.
    assert len(collector.accepted) == EVENTS


@answers("arrives")
@under_each
async def test_a_delivery_that_somebody_cancels_goes_on(collector: Collector, name: str) -> None:
    _, own = await run(name, "is cancelled", collector.url)
    # Likewise.
    assert len(collector.accepted) == 2 * EVENTS
    # It has been started again within a request.
    assert_no_request_is_named(collector, own)


@answers("arrives")
@under_each
async def test_a_collector_that_comes_back_gets_everything(collector: Collector, name: str) -> None:
    collector.answer_next(503, 503, 503)
    ended, own = await run(name, "delivers", collector.url)
    # That nothing has arrived so far may be said once, and nothing else.
    assert ended.said.count("\n") <= 1
    assert (len(collector.accepted), collector.accepted.total()) == (2 * EVENTS, 2 * EVENTS)
    assert own["restarts"] == 0


@answers("health", "closes")
@under_each
async def test_health_says_that_the_collector_is_down_and_closing_ends(
    collector: Collector, name: str
) -> None:
    collector.rule = lambda _request: Answer(503)
    _, own = await run(name, "meets an outage", collector.url)
    assert "backing off" in own["health"]
    assert "503" in own["health"]
    assert own["dropped"] == {"closed": EVENTS}


@answers("arrives")
@under_each
async def test_one_event_is_tracked_once(collector: Collector, name: str) -> None:
    ended, _ = await run(name, "sends one", collector.url)
    assert ended.said == ""
    assert list(collector.accepted.values()) == [1]


@answers("arrives", "own")
@under_each
async def test_events_are_handed_over_to_redis(server: RedisServer, rdb: Any, name: str) -> None:
    ended, own = await run(name, "redis", server.url)
    assert ended.said == ""
    assert await asyncio.wait_for(rdb.llen("snowplow"), 30) == 2 * EVENTS
    assert own["restarts"] == 0
