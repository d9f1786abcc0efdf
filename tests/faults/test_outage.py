"""A collector that fails in many ways loses nothing, and is sent nothing twice without need."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from snowplow_aio import EmitterStats, HttpEmitter, MemoryStore, PageView, Retry, Tracker
from tests.faults.conftest import balance, balanced, internal_tasks, lasting
from tests.faults.server import CollectorProcess, Counts, Faults
from tests.scale import scale

pytestmark = pytest.mark.anyio

Report = Callable[..., None]

PAGE = PageView(page_url="https://shop.example/")
EVENTS = scale(20_000, 100_000)
BATCH = 100

THIRD_REFUSED = Faults(refused=0.3)
EVERYTHING = Faults(refused=0.3, unanswered=0.05, reset=0.05, slow=0.01)


QUICK = Retry(initial_delay=0.01, max_delay=0.05)


def emitter_to(collector: CollectorProcess, retry: Retry = QUICK, max_batch: int = BATCH) -> HttpEmitter:
    store = MemoryStore(capacity=EVENTS, capacity_bytes=2**30)
    return HttpEmitter(collector.url, max_batch=max_batch, retry=retry, store=store)


async def deliver_all(emitter: HttpEmitter, tracker: Tracker) -> tuple[EmitterStats, float]:
    """Track all events and return the numbers and the seconds once they are settled."""
    started = time.monotonic()
    for _ in range(EVENTS):
        await tracker.track(PAGE)
    # Not `tracker.flush`: its tasks are the library's too, and the third test may cancel deliveries only.
    await emitter.flush(scale(30, 600))
    return emitter.stats(), round(time.monotonic() - started, 1)


def assert_nothing_lost(stats: EmitterStats, counts: Counts, events: int = EVENTS) -> None:
    assert balance(stats) == 0
    assert (stats.accepted, stats.delivered) == (events, events)
    assert counts.distinct == events


@lasting(900)
async def test_a_collector_that_refuses_three_in_ten_gets_every_event_once(
    collector: CollectorProcess, report: Report
) -> None:
    """30 % answered 503. The full version has the pauses and batches of an application."""
    collector.do(THIRD_REFUSED)
    emitter = emitter_to(collector, scale(QUICK, Retry()), scale(BATCH, 500))
    async with Tracker(emitter) as tracker, balanced(tracker):
        stats, seconds = await deliver_all(emitter, tracker)
    counts = collector.counts()
    ratio = counts.requests / counts.acknowledged
    report(events=EVENTS, seconds=seconds, requests=counts.requests, per_batch=round(ratio, 2))
    assert_nothing_lost(stats, counts)
    assert counts.duplicates == 0
    assert counts.requests > counts.acknowledged
    assert ratio <= 1.6
    assert set(stats.retries) == {"status 503"}


@lasting(900)
async def test_an_event_arrives_twice_only_where_an_answer_was_lost(
    collector: CollectorProcess, report: Report
) -> None:
    """30 % answered 503, 5 % reset after they were processed, 5 % before, 1 % answered late."""
    collector.do(EVERYTHING)
    emitter = emitter_to(collector)
    async with Tracker(emitter) as tracker, balanced(tracker):
        stats, seconds = await deliver_all(emitter, tracker)
    counts = collector.counts()
    report(
        events=EVENTS,
        seconds=seconds,
        requests=counts.requests,
        twice=counts.duplicates,
        unanswered=counts.unanswered,
    )
    assert_nothing_lost(stats, counts)
    assert counts.duplicates == counts.unanswered > 0


@lasting(900)
async def test_cancelled_deliveries_lose_nothing_either(collector: CollectorProcess, report: Report) -> None:
    """The same, while one of the library's tasks is cancelled every 0 to 20 ms."""
    collector.do(EVERYTHING)
    chance = random.Random(3)
    cancels = 0

    async def cancel_tasks() -> None:
        nonlocal cancels
        while True:
            await asyncio.sleep(chance.random() * 0.02)
            if tasks := internal_tasks():
                chance.choice(tasks).cancel()
                cancels += 1

    emitter = emitter_to(collector)
    events, started = 0, time.monotonic()
    async with Tracker(emitter) as tracker, balanced(tracker):
        cancelling = asyncio.create_task(cancel_tasks())
        # A fast machine is done before enough was cancelled.
        while cancels < scale(20, 90):
            await deliver_all(emitter, tracker)
            events += EVENTS
        cancelling.cancel()
        await asyncio.wait([cancelling])
    stats = emitter.stats()
    counts = collector.counts()
    report(
        events=events,
        seconds=round(time.monotonic() - started, 1),
        cancels=cancels,
        restarts=stats.restarts,
        twice=counts.duplicates,
        unanswered=counts.unanswered,
    )
    assert_nothing_lost(stats, counts, events)
    assert counts.duplicates <= counts.unanswered + cancels * BATCH
    assert 0 < stats.restarts <= cancels
