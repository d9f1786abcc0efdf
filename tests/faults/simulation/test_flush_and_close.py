"""A request, a flush and a close end in time, and say exactly what became of the events."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from snowplow_aio import Delivered, Tracker
from snowplow_aio.outcomes import Outcome
from tests.collector import OK, Answer
from tests.faults.simulation.world import PAGE, Odds, World, simulate
from tests.scale import scale

NEVER = 1_000_000.0

DEAD = {
    "refused": OK,
    "503": Answer(503),
    "hole": Answer(delay=NEVER),
    "slow loris": Answer(headers={"Server": "slow loris"}, drip=0.3),
}


async def flush_under_load(world: World) -> None:
    """Flush again and again while 5,000 events a second are tracked."""
    world.collector.fail(Odds(unavailable=0.1, slow=0.2))
    tracked: list[str] = []
    settled: dict[str, float] = {}

    def note(outcome: Outcome) -> None:
        if isinstance(outcome, Delivered):
            settled.update((payload["eid"], world.now) for payload in outcome.payloads)

    async def produce(tracker: Tracker) -> None:
        while True:
            tracked.extend(tracker.track_nowait(PAGE) for _ in range(50))
            await asyncio.sleep(0.01)

    in_time, flushes = 0, scale(50, 100)
    async with world.tracker(hooks=[note], drain_timeout=3600) as tracker:
        producing = world.spawn(produce(tracker))
        for _ in range(flushes):
            await asyncio.sleep(world.chance.uniform(0, 0.05))
            seconds = world.chance.choice([0, 0.01, 0.1, 1.0])
            before, begin = len(tracked), world.now
            result = await tracker.flush(seconds)
            assert world.now <= begin + seconds + 0.05
            if result.pending == 0:
                # What was tracked meanwhile is not waited for.
                last = max(settled[event_id] for event_id in tracked[:before])
                assert world.now <= max(begin, last) + 0.05
                in_time += 1
            else:
                assert world.now >= begin + seconds
        producing.cancel()
    assert flushes / 5 <= in_time < flushes
    assert (world.stats().delivered, len(world.collector.accepted)) == (len(tracked), len(tracked))


def test_a_flush_waits_for_what_was_tracked_before_it_and_not_longer_than_told() -> None:
    simulate(flush_under_load, short=1, full=200)


async def wait_for_an_answer(world: World, *, fault: str) -> None:
    world.collector.fate = lambda _number: DEAD[fault]
    failed: list[float] = []
    hooks = [lambda _outcome: failed.append(world.now)]
    async with world.tracker(batch_size=1, request_timeout=10, hooks=hooks, drain_timeout=0) as tracker:
        await asyncio.sleep(world.chance.random())
        begin = world.now
        await tracker.track(PAGE)
        await asyncio.sleep(15)
        assert 10 <= failed[0] - begin <= 10.2
        assert (world.stats().leased, world.stats().pending) != (0, 0)


@pytest.mark.parametrize("fault", ["hole", "slow loris"])
def test_a_request_without_an_answer_ends_at_its_timeout(fault: str) -> None:
    simulate(partial(wait_for_an_answer, fault=fault), short=3, full=200)


async def close_to_a_dead_collector(world: World, *, fault: str, seconds: float) -> None:
    collector, chance = world.collector, world.chance
    tracker = world.tracker(max_batch=10)
    delivered = chance.choice([0, chance.randrange(100)])
    for _ in range(delivered):
        await tracker.track(PAGE)
    await tracker.flush()
    collector.fate = lambda _number: DEAD[fault]
    if fault == "refused":
        collector.close()
    lost = chance.randrange(1, 100)
    for _ in range(lost):
        await tracker.track(PAGE)
    # From well before the first attempt to well into the repeats.
    await asyncio.sleep(chance.choice([0, chance.uniform(0, 20)]))
    begin = world.now
    results = await asyncio.gather(*(tracker.aclose(seconds) for _ in range(3)))
    assert world.now <= begin + seconds + 0.25
    assert results == [results[0]] * 3
    assert (results[0].delivered, results[0].rejected, results[0].pending) == (0, 0, 0)
    assert results[0].dropped == lost
    requests = world.stats().requests
    assert await tracker.aclose() == results[0]
    await tracker.track(PAGE)
    tracker.track_nowait(PAGE)
    stats = world.stats()
    assert (stats.state, stats.requests) == ("closed", requests)
    assert (stats.accepted, stats.pending, stats.leased) == (delivered + lost + 2, 0, 0)
    assert (stats.delivered, dict(stats.rejected), dict(stats.dropped)) == (
        delivered,
        {},
        {"closed": lost + 2},
    )


@pytest.mark.parametrize("seconds", [0, 0.1, 2, 10])
@pytest.mark.parametrize("fault", DEAD)
def test_a_close_ends_in_time_and_says_what_was_lost(fault: str, seconds: float) -> None:
    simulate(partial(close_to_a_dead_collector, fault=fault, seconds=seconds), short=3, full=200)


async def close_to_a_failing_collector(world: World) -> None:
    """Close while some requests succeed; what the close says is what has arrived, but for lost answers."""
    world.collector.fail(Odds(unavailable=0.4, lost_answer=0.1, reset=0.1, slow=0.3))
    tracker = world.tracker(max_batch=5, max_connections=2)
    for _ in range(200):
        await tracker.track(PAGE)
    seconds = world.chance.uniform(0, 3)
    begin = world.now
    result = await tracker.aclose(seconds)
    assert world.now <= begin + seconds + 0.25
    arrived = len(world.collector.accepted)
    assert (result.delivered + result.dropped, result.rejected, result.pending) == (200, 0, 0)
    # Two requests can be under way when it ends.
    assert result.delivered <= arrived <= result.delivered + world.collector.unanswered + 2 * 5


def test_a_close_during_failures_counts_what_the_collector_has_acknowledged() -> None:
    simulate(close_to_a_failing_collector, full=1000)
