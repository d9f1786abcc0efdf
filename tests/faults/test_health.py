"""Seen: the numbers account for every event, and one line says why events do not arrive."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from snowplow_aio import EmitterStats, HttpEmitter, MemoryEmitter, MemoryStore, PageView, Retry, Tracker
from tests.collector import Answer, Collector, running_collector
from tests.faults.conftest import balance
from tests.waiting import until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/secret")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


def tracker_for(collector: Collector | str, **options: Any) -> Tracker:
    url = collector if isinstance(collector, str) else collector.url
    quick: dict[str, Any] = {"flush_interval": 0.01, "drain_timeout": 0}
    return Tracker(HttpEmitter(url, **(quick | options)))


async def track(tracker: Tracker, count: int) -> None:
    for _ in range(count):
        await tracker.track(PAGE)


def state_of(tracker: Tracker) -> str:
    return tracker.stats()["http"].state


def line_of(tracker: Tracker) -> str:
    """Return the summary, after a check that it is one line without anything of an event."""
    health = tracker.health()
    line = str(health)
    assert line == health.summary
    assert "\n" not in line
    assert "secret" not in line
    assert bool(health) is health.is_ok
    return line


# --- health


async def test_a_tracker_whose_events_arrive_is_healthy(collector: Collector) -> None:
    async with tracker_for(collector) as tracker:
        assert tracker.health()
        await track(tracker, 3)
        await tracker.flush(30)
        line = line_of(tracker)
        assert tracker.health().is_ok
        assert re.match(r"http: ok\b", line)
        assert "3 delivered" in line
        assert "0 waiting" in line


@pytest.mark.parametrize(
    ("status", "reason"), [(503, "status 503"), (429, "status 429"), (None, "ClientConnectorError")]
)
async def test_the_line_says_that_and_why_a_destination_is_left_alone(
    collector: Collector, status: int | None, reason: str
) -> None:
    collector.rule = lambda _request: Answer(status or 200)
    retry = Retry(initial_delay=600, max_delay=600)
    async with tracker_for(collector if status else "http://127.0.0.1:9", retry=retry) as tracker:
        await track(tracker, 7)
        await until(lambda: state_of(tracker) == "backing_off")
        line = line_of(tracker)
        assert not tracker.health()
        assert "backing off" in line
        assert reason in line
        assert "7 waiting" in line
        assert re.search(r"oldest for \d+ s", line)
        assert re.search(r"next attempt in \d+ s", line)


@pytest.mark.parametrize("status", [301, 401, 403, 404])
async def test_the_line_says_that_everything_is_refused_and_with_what(
    collector: Collector, status: int
) -> None:
    collector.rule = lambda _request: Answer(status)
    async with tracker_for(collector) as tracker:
        await track(tracker, 7)
        await until(lambda: state_of(tracker) == "misconfigured")
        line = line_of(tracker)
        assert not tracker.health()
        assert "misconfigured" in line
        assert f"status {status}" in line
        assert "7 waiting" in line
        collector.rule = lambda _request: Answer()
        await tracker.flush(30)
        assert tracker.health()
        assert "misconfigured" not in line_of(tracker)


async def test_the_line_says_that_events_are_dropped_because_there_is_no_room(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    async with tracker_for(collector, store=MemoryStore(capacity=10)) as tracker:
        await track(tracker, 15)
        line = line_of(tracker)
        assert "5 dropped (queue_full)" in line
        assert "10 waiting" in line


async def test_the_line_says_that_events_are_rejected(collector: Collector) -> None:
    collector.answer_next(422)
    async with tracker_for(collector) as tracker:
        await track(tracker, 1)
        await tracker.flush(30)
        # The destination works; only the event was wrong.
        assert tracker.health()
        assert "1 rejected (refused)" in line_of(tracker)


async def test_the_line_says_that_a_tracker_is_closed_and_what_that_cost(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    tracker = tracker_for(collector)
    await track(tracker, 7)
    await tracker.aclose(0)
    await tracker.track(PAGE)
    assert not tracker.health()
    assert re.match(r"http: closed\b", line_of(tracker))
    assert "8 dropped (closed)" in line_of(tracker)


async def test_the_line_names_each_emitter_and_one_that_fails_is_enough(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(401)
    async with Tracker(
        [MemoryEmitter(), HttpEmitter(collector.url, flush_interval=0.01, drain_timeout=0)]
    ) as tracker:
        await track(tracker, 1)
        await until(lambda: state_of(tracker) == "misconfigured")
        assert not tracker.health()
        assert re.search(r"memory: ok\b.*http: misconfigured\b", line_of(tracker))


async def test_health_can_be_asked_without_a_loop_and_before_the_first_event() -> None:
    tracker = Tracker(HttpEmitter("https://collector.example.com"))
    assert await asyncio.to_thread(lambda: bool(tracker.health()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        tracker.health().is_ok = False  # type: ignore[misc]


# --- numbers

COUNTERS = {
    "accepted",
    "delivered",
    "pending",
    "leased",
    "bytes",
    "rejected",
    "dropped",
    "retries",
    "requests",
    "last_error",
    "last_success_age",
    "oldest_age",
    "state",
    "restarts",
    "hook_errors",
}


async def test_the_numbers_are_complete_and_frozen(collector: Collector) -> None:
    async with tracker_for(collector, store=MemoryStore(capacity=1)) as tracker:
        await track(tracker, 2)
        stats = tracker.stats()["http"]
    assert {field.name for field in dataclasses.fields(stats)} >= COUNTERS
    for field in dataclasses.fields(stats):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(stats, field.name, 0)
    for numbers in (tracker.stats(), stats.dropped, stats.rejected, stats.retries):
        with pytest.raises(TypeError):
            numbers["queue_full"] = 0  # type: ignore[index]
    # A picture of one moment, which later events do not change.
    assert (stats.accepted, dict(stats.dropped)) == (2, {"queue_full": 1})


async def test_the_ages_tell_how_long_nothing_has_arrived(collector: Collector) -> None:
    began = time.monotonic()

    def ages() -> tuple[float | None, float | None]:
        stats = tracker.stats()["http"]
        return stats.last_success_age, stats.oldest_age

    async with tracker_for(collector, retry=Retry(initial_delay=0.01, max_delay=0.01)) as tracker:
        assert ages() == (None, None)
        await track(tracker, 1)
        await tracker.flush(30)
        success, oldest = ages()
        assert success is not None
        assert 0 <= success <= time.monotonic() - began
        assert oldest is None
        collector.rule = lambda _request: Answer(503)
        await track(tracker, 1)
        await until(lambda: all(age is not None and age > 0.05 for age in ages()))
        collector.rule = lambda _request: Answer()
        await tracker.flush(30)
        later, oldest = ages()
        assert later is not None
        assert later < time.monotonic() - began
        assert oldest is None


async def test_the_numbers_account_for_every_event_through_all_that_can_happen(collector: Collector) -> None:
    """Delivered, retried, refused, too large, too many, too old, kept while misconfigured, closed."""
    seen: list[EmitterStats] = []

    def look() -> EmitterStats:
        seen.append(tracker.stats()["http"])
        return seen[-1]

    retry = Retry(initial_delay=0.01, max_delay=0.02)
    tracker = tracker_for(collector, store=MemoryStore(capacity=50), retry=retry, hooks=[lambda _: look()])
    for script, count in [([], 10), ([503, 429], 10), ([422], 1), ([413], 1), ([404] * 3, 10), ([], 60)]:
        collector.answer_next(*script)
        for _ in range(count):
            tracker.track_nowait(PAGE)
            look()
        await tracker.flush(30)
        look()
    collector.rule = lambda _request: Answer(503)
    await track(tracker, 5)
    await until(lambda: look().state == "backing_off")
    await tracker.aclose(0)
    last = look()
    assert [balance(stats) for stats in seen] == [0] * len(seen)
    assert (last.accepted, last.pending, last.leased, last.bytes) == (97, 0, 0, 0)
    assert (dict(last.rejected), dict(last.dropped)) == (
        {"refused": 1, "too_large": 1},
        {"queue_full": 10, "closed": 5},
    )
    assert last.delivered == collector.accepted.total() == 80
    assert {"status 503", "status 429"} <= last.retries.keys()
    assert {stats.state for stats in seen} == {"ok", "backing_off", "misconfigured", "closed"}
    # Each that arrived; the close may have ended a probe on its way.
    assert 0 <= last.requests - len(collector.requests) <= 1


async def test_the_bytes_are_those_of_what_waits_and_what_is_on_its_way(collector: Collector) -> None:
    collector.answer_next(Answer(hangs=True))
    async with tracker_for(collector, flush_interval=None, batch_size=5) as tracker:
        await track(tracker, 5)
        await collector.requested(1)
        on_its_way = tracker.stats()["http"]
        assert (on_its_way.leased, on_its_way.bytes > 5 * len(PAGE.page_url)) == (5, True)
        await track(tracker, 3)
        assert tracker.stats()["http"].bytes > on_its_way.bytes
        collector.disconnect()
        await tracker.flush(30)
        assert tracker.stats()["http"].bytes == 0


async def test_a_delivery_that_was_cancelled_by_others_is_counted(collector: Collector) -> None:
    async with tracker_for(collector) as tracker:
        await track(tracker, 1)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "Supervisor._run" in repr(task.get_coro()):
                task.cancel()
        await tracker.flush(30)
        await track(tracker, 1)
        await tracker.flush(30)
        assert (tracker.stats()["http"].restarts, tracker.stats()["http"].delivered) == (1, 2)
