"""When a failing collector is tried again, to the millisecond."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial

import pytest

from snowplow_aio import Retried, Retry
from snowplow_aio.outcomes import Outcome
from tests.collector import OK, Answer
from tests.faults.simulation.world import LATENCY, PAGE, Odds, World, simulate

# A new connection, the request, and what is lost in steps of the loop.
ARRIVAL = 3 * LATENCY[1] + 0.001

SENSELESS = [
    "-1",
    "0",
    "",
    "soon",
    "nan",
    "inf",
    "9" * 400,
    "Wed, 21 Oct 2015 07:28:00 GMT",
    "Wed, 99 Oct 2015 07:28:00 GMT",
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "Wed, 21 Oct 2015 07:28:00 +99999999999999999999",
]


class Pauses:
    """A hook that notes when a request failed, and for how long the collector is left alone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.noted: list[tuple[float, float]] = []

    def __call__(self, outcome: Outcome) -> None:
        if isinstance(outcome, Retried):
            self.noted.append((self._world.now, outcome.pause))


# --- Retry-After


async def be_told_to_wait(world: World, status: int, header: Callable[[World], str]) -> tuple[float, float]:
    """Return how long after the first attempt a second came, and what the wall clock said then."""

    def answer(_number: int) -> Answer:
        world.collector.fate = lambda _number: OK
        return Answer(status, {"Retry-After": header(world)})

    world.collector.fate = answer
    async with world.tracker(batch_size=1, drain_timeout=3600) as tracker:
        await tracker.track(PAGE)
        await world.settled()
    first, second = world.collector.requests
    return second.at - first.at, second.at + world.wall_offset


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "seconds"), [("2", 2), ("2.5", 2.5), ("299", 299), ("1e9", 300)])
def test_the_next_attempt_comes_when_the_collector_asks_for_it(
    status: int, asked: str, seconds: float
) -> None:
    for waited, _ in simulate(
        lambda world: be_told_to_wait(world, status, lambda _world: asked), short=2, full=100
    ):
        assert seconds <= waited <= seconds + 0.5 + ARRIVAL + LATENCY[1]


@pytest.mark.parametrize("seconds", [2, 60])
def test_a_date_is_waited_for(seconds: int) -> None:
    def header(world: World) -> str:
        return format_datetime(date(world), usegmt=True)

    def date(world: World) -> datetime:
        return datetime.fromtimestamp(math.ceil(world.wall()) + seconds, UTC)

    async def scenario(world: World) -> None:
        world.wall_offset += world.chance.random()
        asked: list[float] = []

        def noted_header(world: World) -> str:
            asked.append(date(world).timestamp())
            return header(world)

        _, came = await be_told_to_wait(world, 503, noted_header)
        assert asked[0] <= came <= asked[0] + 0.5 + ARRIVAL

    simulate(scenario, short=2, full=100)


@pytest.mark.parametrize("asked", SENSELESS)
def test_a_senseless_retry_after_is_ignored(asked: str) -> None:
    for waited, _ in simulate(
        lambda world: be_told_to_wait(world, 503, lambda _world: asked), short=2, full=100
    ):
        assert waited <= 0.5 + ARRIVAL + LATENCY[1]


@pytest.mark.parametrize("asked", SENSELESS)
def test_a_senseless_retry_after_of_a_success_harms_nothing(asked: str) -> None:
    async def scenario(world: World) -> None:
        world.collector.fate = lambda _number: Answer(200, {"Retry-After": asked})
        async with world.tracker(batch_size=1) as tracker:
            await tracker.track(PAGE)
        assert (world.stats().delivered, len(world.collector.requests)) == (1, 1)

    simulate(scenario, short=1, full=1)


# --- back-off


async def fail_in_series(world: World) -> list[tuple[int, float]]:
    """Return each pause with its number in a row of failures, for three rows of ten."""
    answers = [*[Answer(503)] * 10, OK] * 3
    world.collector.fate = lambda _number: answers.pop(0)
    pauses = Pauses(world)
    retry = Retry(initial_delay=0.5, factor=2, max_delay=10)
    async with world.tracker(batch_size=1, retry=retry, hooks=[pauses], drain_timeout=3600) as tracker:
        for _ in range(3):
            await tracker.track(PAGE)
            await world.settled()
    noted = pauses.noted
    for (failed, pause), (failed_again, _) in itertools.pairwise(noted):
        assert failed_again >= failed + pause
    return [(1 + i % 10, pause) for i, (_, pause) in enumerate(noted)]


def test_pauses_are_spread_evenly_from_nothing_to_a_limit_that_doubles_to_its_cap() -> None:
    """The first pause after a success is a first one again: the limits below would not hold."""
    drawn = [pair for run in simulate(fail_in_series, short=15, full=1000) for pair in run]
    limits = {n: min(10, 0.5 * 2 ** (n - 1)) for n in range(1, 11)}
    assert all(0 <= pause <= limits[n] for n, pause in drawn)
    for group in ([1], [2, 3, 4], [5], [6, 7, 8, 9, 10]):
        parts = sorted(pause / limits[n] for n, pause in drawn if n in group)
        # Kolmogorov and Smirnov: evenly drawn numbers are farther off once in 1000.
        farthest = max(abs(part - i / len(parts)) for i, part in enumerate(parts))
        assert farthest <= 1.95 / math.sqrt(len(parts)) + 1 / len(parts)


async def come_back_from_an_outage(world: World, *, refuses: bool) -> None:
    """Have many connections busy when the collector fails for ten minutes, and events all the time."""
    collector, pauses = world.collector, Pauses(world)
    collector.fate = lambda _number: Answer(delay=0.05)
    options = {"batch_size": 1, "max_batch": 5, "hooks": [pauses]}
    async with world.tracker(**options, drain_timeout=3600) as tracker:
        for _ in range(200):
            await tracker.track(PAGE)
        await asyncio.sleep(0.02)
        assert collector.at_once == 16
        collector.fate = lambda _number: Answer(503)
        if refuses:
            collector.close()
        await asyncio.sleep(0.2)
        collector.at_once, known, asked = 0, len(pauses.noted), world.stats().requests
        for _ in range(600):
            await tracker.track(PAGE)
            await asyncio.sleep(1)
        steps = pauses.noted[known:]
        for (failed, pause), (failed_again, _) in itertools.pairwise(pauses.noted[known - 1 :]):
            assert failed + pause <= failed_again <= failed + pause + 2 * ARRIVAL
        assert len(steps) >= 9
        # One may have been under way at either count.
        assert abs(world.stats().requests - asked - len(steps)) <= 1
        assert collector.at_once <= 1
        collector.fate = lambda _number: Answer(delay=0.05)
        if refuses:
            collector.reopen()
        begin = world.now
        await world.settled(0.05)
        # One cap, then 800 events by up to 16 connections.
        assert world.now - begin <= 60 + 5
        assert collector.at_once == 16
    assert world.stats().delivered == 800


@pytest.mark.parametrize("refuses", [False, True], ids=["503", "refused"])
def test_all_connections_together_make_one_attempt_per_step_and_then_drain_at_full_speed(
    refuses: bool,
) -> None:
    simulate(partial(come_back_from_an_outage, refuses=refuses), short=1, full=200)


# --- a destination that refuses everything


async def be_refused_for_an_hour(world: World, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    world.collector.fate = lambda _number: Answer(status)
    async with world.tracker(drain_timeout=3600) as tracker:
        for _ in range(200):
            await tracker.track(PAGE)
        await asyncio.sleep(5)
        assert world.stats().state == "misconfigured"
        learned = len(world.collector.requests)
        # A batch, and two of its events alone.
        assert learned <= 3
        for _ in range(360):
            await tracker.track(PAGE)
            await asyncio.sleep(10)
        stats, requests = world.stats(), world.collector.requests
        assert (stats.state, stats.pending, stats.leased) == ("misconfigured", stats.accepted, 0)
        times = [request.at for request in requests[learned - 1 :]]
        assert all(60 <= later - earlier <= 66 + 2 * ARRIVAL for earlier, later in itertools.pairwise(times))
        assert all(len(request.events) == 1 for request in requests[learned:])
        assert _loud_lines(caplog) == 1
        world.collector.fate = lambda _number: OK
        await asyncio.sleep(66 + 1)
        stats = world.stats()
        assert (stats.state, stats.delivered, stats.pending) == ("ok", 560, 0)
        assert _loud_lines(caplog) == 1
    assert world.collector.accepted.total() == 560


def _loud_lines(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.levelno >= logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("status", [301, 401, 403, 404, 410])
def test_a_collector_that_refuses_everything_is_tried_once_a_minute_and_loses_nothing(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    simulate(lambda world: be_refused_for_an_hour(world, status, caplog), short=1, full=100)


# --- the wall clock


async def live_with_a_jumping_clock(world: World) -> None:
    world.collector.fail(Odds(unavailable=0.5))
    pauses = Pauses(world)
    stamped: dict[str, str] = {}

    async def jump() -> None:
        while True:
            await asyncio.sleep(0.1)
            world.wall_offset += world.chance.choice([-86_400, -3_600, 3_600, 86_400])

    jumping = world.spawn(jump())
    retry = Retry(max_age=3600, max_delay=5)
    tracker = world.tracker(retry=retry, hooks=[pauses], flush_interval=0.5, max_batch=5, max_connections=1)
    for _ in range(100):
        moment = world.wall_ns() // 1_000_000
        stamped[await tracker.track(PAGE)] = str(moment)
        await asyncio.sleep(world.chance.uniform(0, 0.2))
    async with asyncio.timeout(600):
        await world.settled()
    begin = world.now
    result = await tracker.aclose(10)
    jumping.cancel()
    assert (world.stats().delivered, result.dropped, result.pending) == (100, 0, 0)
    assert world.now - begin <= 10.25
    answered = zip(world.collector.requests, world.collector.answers, strict=True)
    taken = [request.events for request, answer in answered if answer == OK]
    assert {event["eid"]: event["dtm"] for events in taken for event in events} == stamped
    times = [request.at for request in world.collector.requests]
    for failed, pause in pauses.noted:
        following = next(at for at in times if at > failed)
        assert failed + pause <= following <= failed + pause + ARRIVAL


def test_a_wall_clock_that_jumps_by_days_moves_the_timestamps_and_nothing_else() -> None:
    simulate(live_with_a_jumping_clock, short=4)
