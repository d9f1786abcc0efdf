"""Callbacks and hooks hear of every outcome, and can do no harm."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from snowplow_aio import (
    Delivered,
    Dropped,
    HttpEmitter,
    MemoryStore,
    PageView,
    Rejected,
    Retried,
    Retry,
    SelfDescribingJson,
    Tracker,
)
from snowplow_aio.outcomes import Outcome
from tests.collector import Answer, Collector

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
SCHEMA = "iglu:com.acme/note/jsonschema/1-0-0"


async def test_hooks_receive_each_outcome_with_its_details(collector: Collector) -> None:
    seen: list[object] = []
    collector.answer_next(503, 200, 422)
    emitter = HttpEmitter(collector.url, name="h", retry=Retry(initial_delay=0.01), hooks=[seen.append])
    async with Tracker(emitter) as tracker:
        first = await tracker.track(PAGE)
        await tracker.flush()
        await tracker.track(PAGE)
        await tracker.flush()
    retried, delivered, rejected = seen
    assert isinstance(retried, Retried)
    assert (retried.status, retried.reason, retried.attempts) == (503, "status 503", 1)
    assert 0 <= retried.pause <= 0.01
    assert isinstance(delivered, Delivered)
    assert (delivered.emitter, delivered.status, delivered.attempts) == ("h", 200, 2)
    assert [payload["eid"] for payload in delivered.payloads] == [first]
    assert delivered.waited > 0
    assert isinstance(rejected, Rejected)
    assert (rejected.status, rejected.reason) == (422, "refused")


async def test_on_success_counts_and_may_be_a_coroutine_function(collector: Collector) -> None:
    counts: list[int] = []

    async def on_success(count: int) -> None:
        await asyncio.sleep(0)
        counts.append(count)

    async with Tracker(HttpEmitter(collector.url, on_success=on_success)) as tracker:
        for _ in range(3):
            await tracker.track(PAGE)
    assert sum(counts) == 3


async def test_a_hook_that_raises_is_logged_and_harms_nothing(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_outcome: object) -> None:
        raise ZeroDivisionError

    async def broken_too(_outcome: object) -> None:
        raise KeyError

    async with Tracker(HttpEmitter(collector.url, hooks=[broken, broken_too])) as tracker:
        for _ in range(3):
            await tracker.track(PAGE)
            await tracker.flush()
    stats = tracker.stats()["http"]
    assert (stats.delivered, stats.hook_errors) == (3, 6)
    assert {record.levelno for record in caplog.records if "hook" in record.getMessage()} == {logging.ERROR}


async def test_a_hook_may_track_flush_and_close(collector: Collector) -> None:
    trackers: list[Tracker] = []

    async def hook(outcome: object) -> None:
        if isinstance(outcome, Delivered) and len(collector.requests) == 1:
            await trackers[0].track(PAGE)
            await trackers[0].flush()
            await trackers[0].aclose()

    # With such a drain time, a close that waited for its own hook would be noticed.
    trackers.append(tracker := Tracker(HttpEmitter(collector.url, hooks=[hook], drain_timeout=3600)))
    await tracker.track(PAGE)
    await tracker.flush()
    await collector.requested(2)
    await tracker.aclose()
    assert tracker.stats()["http"].delivered == 2


async def test_what_is_lost_at_close_is_handed_to_hooks(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    dropped: list[Dropped] = []
    unsent: list[dict[str, str]] = []
    emitter = HttpEmitter(
        collector.url,
        hooks=[lambda outcome: dropped.append(outcome) if isinstance(outcome, Dropped) else None],
        on_failure=lambda _sent, events: unsent.extend(events),
    )
    tracker = Tracker(emitter)
    ids = [await tracker.track(PAGE) for _ in range(4)]
    await tracker.aclose(0)
    assert [event["eid"] for event in unsent] == ids
    assert [outcome.reason for outcome in dropped] == ["closed"]


async def test_closing_waits_for_what_hooks_do_with_the_last_events(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    stored: list[dict[str, str]] = []

    async def store(_sent: int, events: list[dict[str, str]]) -> None:
        await asyncio.to_thread(stored.extend, events)

    tracker = Tracker(HttpEmitter(collector.url, on_failure=store))
    event_id = await tracker.track(PAGE)
    await tracker.aclose(0)
    assert [event["eid"] for event in stored] == [event_id]


@pytest.mark.usefixtures("time_to_end")
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_giving_back_what_was_given_up_ends_with_the_emitter(collector: Collector, kind: str) -> None:
    """The recipe of the synchronous tracker, with a collector that never comes back."""
    collector.rule = lambda _request: Answer(503)

    def again(_sent: int, events: list[dict[str, str]]) -> None:
        for event in events:
            emitter.input_nowait(event)

    async def again_later(_sent: int, events: list[dict[str, str]]) -> None:
        for event in events:
            await emitter.input(event)

    emitter = HttpEmitter(collector.url, on_failure=again if kind == "plain" else again_later)
    tracker = Tracker(emitter)
    await tracker.track(PAGE)
    await tracker.aclose(0.1)
    await tracker.track(PAGE)
    stats = emitter.stats()
    assert (stats.pending, stats.leased) == (0, 0)
    assert stats.accepted == sum(stats.dropped.values()) == stats.dropped["closed"] > 2


async def test_giving_back_to_a_full_store_ends(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    told: list[int] = []

    def again(_sent: int, events: list[dict[str, str]]) -> None:
        told.append(len(events))
        for event in events:
            emitter.input_nowait(event)

    emitter = HttpEmitter(collector.url, store=MemoryStore(capacity=1), on_failure=again, drain_timeout=0)
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await tracker.track(PAGE)
        assert (told, dict(emitter.stats().dropped)) == ([1], {"queue_full": 2})


async def test_nothing_of_an_event_is_logged_above_debug(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answer_next(503, 400)
    emitter = HttpEmitter(collector.url, retry=Retry(initial_delay=0.01), drain_timeout=0)
    with caplog.at_level(logging.DEBUG, "snowplow_aio"):
        async with Tracker(emitter) as tracker:
            await tracker.track(PageView(page_url="https://shop.example/secret", page_title="secret"))
            await tracker.flush()
            collector.rule = lambda _request: Answer(503)
            await tracker.track(PageView(page_url="https://shop.example/secret"))
    loud = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    assert loud
    assert not [line for line in loud if "secret" in line]


async def test_a_hook_that_does_not_end_keeps_no_more_than_a_thousand_calls_waiting(
    collector: Collector,
) -> None:
    async def hang(_outcome: object) -> None:
        await asyncio.Event().wait()

    emitter = HttpEmitter(collector.url, hooks=[hang], batch_size=1, max_batch=1, max_connections=1)
    async with Tracker(emitter) as tracker:
        for _ in range(1_010):
            await tracker.track(PAGE)
        await tracker.flush()
        # One call is being made, a thousand wait.
        assert emitter.stats().hook_errors == 9
        await tracker.aclose(0.1)


async def test_what_a_hook_has_started_is_made_after_all_when_its_task_is_cancelled_from_outside(
    collector: Collector,
) -> None:
    told, begun, go = [0], asyncio.Event(), asyncio.Event()

    async def count(outcome: Outcome) -> None:
        begun.set()
        await go.wait()
        told[0] += len(outcome.payloads)

    async with Tracker(HttpEmitter(collector.url, hooks=[count], max_batch=1)) as tracker:
        for _ in range(5):
            await tracker.track(PAGE)
        await tracker.flush()
        await begun.wait()
        for task in asyncio.all_tasks():
            if "Hooks." in repr(task):
                task.cancel()
        go.set()
    # The one that was being made is lost with its task.
    assert told[0] == 4


@pytest.mark.parametrize("given_as", ["hooks", "on_success"])
async def test_what_waits_for_a_hook_that_does_not_end_is_bounded_by_its_bytes(
    collector: Collector, caplog: pytest.LogCaptureFixture, given_as: str
) -> None:
    """Otherwise an hour of events would wait for it, beyond every bound of the store."""

    async def hang(_outcome: object) -> None:
        await asyncio.Event().wait()

    options: dict[str, Any] = {"hooks": [hang]} if given_as == "hooks" else {"on_success": hang}
    emitter = HttpEmitter(collector.url, batch_size=1, max_batch=1, max_connections=1, **options)
    calls = 400
    async with Tracker(emitter) as tracker:
        for _ in range(calls):
            await tracker.track(PAGE, context=[SelfDescribingJson(SCHEMA, {"text": "y" * 30_000})])
        size = emitter.stats().bytes // (emitter.stats().pending + emitter.stats().leased)
        await tracker.flush()
        # One call is being made, and eight MiB wait.
        kept = calls - 1 - emitter.stats().hook_errors
        assert 7 * 2**20 < kept * size <= 8 * 2**20
        await tracker.aclose(0.1)
    lines = [record for record in caplog.records if "hooks take too long" in record.getMessage()]
    assert len(lines) == 1


async def test_all_that_a_close_gives_up_reaches_a_hook_however_much_it_is(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    told: list[int] = []

    async def keep(outcome: Outcome) -> None:
        if isinstance(outcome, Dropped):
            told.append(len(outcome.payloads))

    tracker = Tracker(HttpEmitter(collector.url, hooks=[keep]))
    for _ in range(300):
        await tracker.track(PAGE, context=[SelfDescribingJson(SCHEMA, {"text": "y" * 30_000})])
    await tracker.aclose(0)
    assert told == [300]
