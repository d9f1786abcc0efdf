"""
A server that is stopped under load loses no event of a request that it has answered.

Real servers run in process groups of their own. Each must end with the exit code of
the same application without a tracker.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from tests.collector import Collector, running_collector
from tests.faults.conftest import lasting
from tests.faults.servers.servers import (
    CLOSE_SECONDS,
    PRELOADED,
    RENEWED,
    SERVERS,
    Ended,
    Running,
    Server,
    Visitors,
    serving,
)
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio

Report = Callable[..., None]

DEAD = "http://127.0.0.1:9"

RUNS = scale(1, 20)
# A short run leaves out two with several workers: the tests below stop or replace such workers too.
STOPPED = [name for name in SERVERS if name not in scale(["gunicorn-preload", "uvicorn-two-workers"], [])]
# The servers that are tried with a dead collector: in a short run, one of each kind.
MEETING_THE_DEAD = scale(["uvicorn-two-workers", "hypercorn-bare", "aiohttp"], [*SERVERS])
RATE = scale(200, 500)
SECONDS = scale(0.4, 1.0)

# How much longer a server may take to end than without a tracker, besides the time for closing. A
# second is promised on a machine that is free.
MARGIN_SECONDS = 15

# How long visitors go on sending requests to a server that has been told to stop.
LEAVE_SECONDS = 2


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


async def stop_under_load(
    running: Running, server: Server, run: int = 0, *, rate: int = RATE
) -> tuple[Ended, list[str]]:
    """
    Stop a server under load; return how it ended, and the answers of its visitors.

    Each *run* stops it in another way.
    """
    await running.ready()
    visitors = Visitors(running.port, server.paths)
    async with asyncio.TaskGroup() as group:
        group.create_task(visitors.come(count=rate // 10, rate=rate))
        await until(lambda: len(visitors.answered) > rate * SECONDS)
        running.tell(*server.stops[run % len(server.stops)])
        # uvicorn may overlook a connection that is made at this very moment. It then serves it, and
        # waits for it, for as long as requests come.
        asyncio.get_running_loop().call_later(LEAVE_SECONDS, visitors.leave)
    return await running.ended(), visitors.answered


@lasting(600)
@pytest.mark.parametrize("name", STOPPED)
async def test_a_server_that_is_stopped_under_load_loses_no_event(
    collector: Collector, name: str, report: Report
) -> None:
    server = SERVERS[name]
    for run in range(RUNS):
        collector.accepted.clear()
        async with serving(server, collector.url) as ours, serving(server, None) as alone:
            (ended, answered), (untracked, _) = await asyncio.gather(
                stop_under_load(ours, server, run), stop_under_load(alone, server, run, rate=50)
            )
        report(
            answered=len(answered),
            arrived=len(collector.accepted),
            seconds=round(ended.seconds, 2),
            alone=round(untracked.seconds, 2),
        )
        assert set(answered) - set(collector.accepted) == set()
        assert collector.accepted.total() == len(collector.accepted)
        assert (ended.losses, "Traceback" in ended.said) == ([], False)
        assert ended.code == untracked.code
        assert ended.seconds < untracked.seconds + CLOSE_SECONDS + MARGIN_SECONDS


@lasting(600)
@pytest.mark.parametrize("name", MEETING_THE_DEAD)
async def test_a_server_with_a_dead_collector_ends_in_time_and_says_once_what_is_lost(
    name: str, report: Report
) -> None:
    server = SERVERS[name]
    for _ in range(RUNS):
        async with serving(server, DEAD, close_seconds=0.5) as running:
            await running.ready()
            visitors = Visitors(running.port, server.paths)
            await visitors.come(count=10, rate=RATE, turns=6)
            running.tell(signal.SIGTERM)
            ended = await running.ended()
        report(losses=ended.losses, seconds=round(ended.seconds, 2))
        assert sum(ended.losses) == len(visitors.answered) == 60
        assert 0 < len(ended.losses) <= server.processes
        assert ended.seconds < 0.5 + MARGIN_SECONDS


@lasting(300)
async def test_workers_forked_from_a_process_that_has_tracked_send_only_their_own(
    collector: Collector,
) -> None:
    """The parent delivers one event before the fork, and the second one when it ends itself."""
    for _ in range(RUNS):
        collector.accepted.clear()
        collector.requests.clear()
        async with serving(PRELOADED, collector.url) as running:
            ended, answered = await stop_under_load(running, PRELOADED)
        events = {event["eid"]: event["url"] for request in collector.requests for event in request.events}
        of_parent = [event_id for event_id, url in events.items() if url.endswith("parent")]
        assert len(of_parent) == 2
        assert set(answered) <= set(events) - set(of_parent)
        assert collector.accepted.total() == len(collector.accepted) == len(events)
        assert (ended.code, ended.losses) == (0, [])


@lasting(300)
async def test_workers_that_are_replaced_under_load_lose_no_event(collector: Collector) -> None:
    for _ in range(RUNS):
        collector.accepted.clear()
        async with serving(RENEWED, collector.url) as running:
            ended, answered = await stop_under_load(running, RENEWED)
        assert "Maximum request limit" in ended.said
        assert set(answered) - set(collector.accepted) == set()
        assert (ended.code, ended.losses) == (0, [])


@pytest.mark.parametrize("name", ["aiohttp", *scale([], ["uvicorn"])])
async def test_events_of_threads_alone_are_sent_at_once(collector: Collector, name: str) -> None:
    """Nothing else wakes the loop, and no method of the tracker was awaited before."""
    async with serving(SERVERS[name], collector.url, batch_size=1) as running:
        await running.ready()
        visitors = Visitors(running.port, ["/threaded"])
        await visitors.come(count=1, rate=1, turns=1)
        await until(lambda: len(collector.accepted) == 1)
        await visitors.come(count=8, rate=400, turns=10)
        await until(lambda: len(collector.accepted) == 81)
        assert set(visitors.answered) == set(collector.accepted)
        running.tell(signal.SIGTERM)
        await running.ended()
