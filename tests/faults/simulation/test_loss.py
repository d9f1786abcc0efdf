"""Whatever fails or is cancelled, no event is lost, and none is duplicated without cause."""

from __future__ import annotations

import asyncio

from snowplow_aio import Tracker
from tests.faults.simulation.world import LATENCY, PAGE, REPLAYED, Odds, World, simulate
from tests.scale import scale

EVENTS = scale(1_000, 2_000)
BATCH = 50

ROUGH = Odds(unavailable=0.3, lost_answer=0.05, reset=0.05, slow=0.01)


async def track_in_bursts(world: World, tracker: Tracker, events: int = EVENTS) -> None:
    for _ in range(events // 100):
        for _ in range(100):
            await tracker.track(PAGE)
        await asyncio.sleep(world.chance.uniform(0, 1))


def tracker_in(world: World) -> Tracker:
    return world.tracker(max_batch=BATCH, drain_timeout=3600)


def assert_nothing_lost(world: World, events: int = EVENTS) -> None:
    stats = world.stats()
    assert (stats.accepted, stats.delivered) == (events, events)
    assert len(world.collector.accepted) == events


async def live_with_503(world: World) -> int:
    world.collector.fail(Odds(unavailable=0.3))
    async with tracker_in(world) as tracker:
        await track_in_bursts(world, tracker)
    assert_nothing_lost(world)
    assert world.collector.duplicates == 0
    return len(world.collector.requests)


def test_thirty_percent_of_503_lose_nothing_double_nothing_and_cost_few_requests() -> None:
    requests = simulate(live_with_503, full=1000)
    # One seed alone may be unlucky.
    assert REPLAYED or sum(requests) <= 1.6 * len(requests) * EVENTS / BATCH


async def live_roughly(world: World) -> int:
    world.collector.fail(ROUGH)
    async with tracker_in(world) as tracker:
        await track_in_bursts(world, tracker)
    assert_nothing_lost(world)
    assert world.collector.duplicates == world.collector.unanswered
    return world.collector.unanswered


def test_exactly_the_events_of_lost_answers_are_doubled() -> None:
    assert sum(simulate(live_roughly, full=1000)) > 0


async def live_cut_off(world: World) -> int:
    """Have the network fail for longer and for less long than a request may take."""
    world.collector.fail(ROUGH)
    async with tracker_in(world) as tracker:
        tracking = world.spawn(track_in_bursts(world, tracker))
        while not tracking.done():
            await asyncio.sleep(world.chance.uniform(0, 2))
            async with world.partition():
                await asyncio.sleep(world.chance.uniform(0, 20))
        await tracking
    assert_nothing_lost(world)
    assert world.collector.duplicates <= world.collector.unanswered + world.collector.doubtful()
    return len(world.collector.cuts)


def test_partitions_double_at_most_what_they_cut_off() -> None:
    assert min(simulate(live_cut_off, short=4)) > 0


async def live_with_cancels(world: World) -> int:
    """Have one task of the library or of its HTTP client cancelled every 10 ms or so."""
    world.collector.fail(ROUGH)
    cancels = 0
    async with tracker_in(world) as tracker:
        tracking = world.spawn(track_in_bursts(world, tracker, 1500))
        while not tracking.done():
            await asyncio.sleep(world.chance.uniform(0, 0.02))
            if tasks := world.inner_tasks():
                world.chance.choice(tasks).cancel()
                cancels += 1
        await tracking
    assert_nothing_lost(world, 1500)
    assert world.collector.duplicates <= world.collector.unanswered + cancels * BATCH
    return cancels


def test_cancelled_tasks_lose_nothing_and_double_at_most_a_batch_each() -> None:
    assert min(simulate(live_with_cancels, short=2)) >= 90


async def live_with_mass_cancels(world: World) -> None:
    """Have all tasks cancelled, as Tornado does between tests, now and then at once again."""
    rounds = 20
    async with world.tracker(flush_interval=0.01) as tracker:
        for _ in range(rounds):
            await tracker.track(PAGE)
            await asyncio.sleep(world.chance.choice([0, world.chance.uniform(0, 0.05)]))
            for task in world.inner_tasks():
                task.cancel()
            await asyncio.sleep(0)
            await tracker.track(PAGE)
            before = world.now
            await world.settled(0.001)
            # Down for 100 ms at most; then the timed flush, a new connection, the request and its answer.
            assert world.now - before <= 0.1 + 0.01 + 4 * LATENCY[1] + 0.002
    assert_nothing_lost(world, 2 * rounds)
    assert world.stats().restarts >= rounds


def test_a_delivery_whose_tasks_are_all_cancelled_is_back_within_100_ms() -> None:
    simulate(live_with_mass_cancels, short=6, full=1000)
