"""Memory stays within its bound, and tracking waits for no collector that fails."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Self

import pytest

from snowplow_aio import HttpEmitter, MemoryStore, PageView, Retried, Retry, Tracker
from snowplow_aio.abc import LocalStore
from snowplow_aio.delivery.back_pressure import BackPressure
from snowplow_aio.outcomes import Outcome
from tests.faults.conftest import balance, lasting
from tests.faults.server import ROOT, CollectorProcess, Faults
from tests.scale import scale
from tests.waiting import until

Report = Callable[..., None]

PAGE = PageView(page_url="https://shop.example/")
# One that takes 1 kB as JSON.
LARGE_PAGE = PageView(page_url="https://shop.example/" + "x" * 875)

MIB = 2**20
BOUND = 64 * MIB
# The connections that an emitter opens at most.
CONNECTIONS = 16
# A turn of the loop is a piece of time: the quicker the machine, the more events it has. Some 200 are usual;
# where the loop runs only when the store is full, a hundred times as many.
EVENTS_PER_TURN = 2_000


class Watched(Generator[Any, Any, None]):
    """Awaits another, and counts how often that waits for something instead of just letting others run."""

    def __init__(self, awaitable: Any, waits: Counter[str]) -> None:
        self._inner = awaitable.__await__()
        self._waits = waits

    def __await__(self) -> Self:
        return self

    def send(self, value: Any) -> Any:
        return self._count(self._inner.send(value))

    def throw(self, *error: Any) -> Any:
        return self._count(self._inner.throw(*error))

    def _count(self, awaited: Any) -> Any:
        # `asyncio.sleep(0)` gives None; everything else is a future.
        if awaited is not None:
            self._waits[type(awaited).__name__] += 1
        return awaited


# --- memory, in a process that does nothing but track


def resident() -> int:
    """Return the bytes of memory that this process has."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


class Probes:
    """
    A hook that looks whether the destination is left alone for as long as the retries say.

    It is told a moment after the failure, on a busy machine even later. So the
    emitter is asked when it will try again; each time that must be the pause later
    than the time before, and no failure may come sooner than that.
    """

    def __init__(self) -> None:
        self._not_before = 0.0
        self.emitter: HttpEmitter | None = None
        self.steps = 0
        self.early = 0

    def __call__(self, outcome: Outcome) -> None:
        if isinstance(outcome, Retried):
            assert self.emitter is not None
            clock = asyncio.get_running_loop().time
            # The moment of the next attempt is between the two sums.
            asked = clock()
            wait = self.emitter.stats().next_attempt or 0.0
            answered = clock()
            # Requests that were under way when the first one failed belong to its step.
            is_step = asked >= self._not_before
            is_late_enough = answered + wait >= self._not_before + outcome.pause - 1e-6
            self.steps += is_step
            self.early += not (is_step and is_late_enough)
            self._not_before = max(self._not_before, asked + wait)


async def survive_an_outage(url: str, count: int) -> None:
    """Track *count* events, say so, and end when a collector has taken all that were kept."""
    probes = Probes()
    emitter = HttpEmitter(
        url,
        retry=Retry(initial_delay=0.05, max_delay=0.5),
        store=MemoryStore(capacity=10 * count, capacity_bytes=BOUND),
        hooks=[probes],
    )
    probes.emitter = emitter
    async with Tracker(emitter) as tracker:
        await tracker.track(LARGE_PAGE)
        await until(lambda: probes.steps > 0)
        before = resident()
        numbers = await fill(tracker, count - 1, emitter)
        # Some more probes, now that nothing is tracked.
        steps = probes.steps
        await until(lambda: probes.steps >= steps + 5)
        numbers |= {"growth": numbers["peak"] - before, "steps": probes.steps, "early": probes.early}
        stats = emitter.stats()
        kept, retries = stats.pending + stats.leased, sum(stats.retries.values())
        say(**numbers, kept=kept, bytes=stats.bytes, dropped=dict(stats.dropped), retries=retries)
        await asyncio.to_thread(sys.stdin.readline)
        started = time.monotonic()
        await until(lambda: emitter.stats().delivered > 0)
        first = time.monotonic() - started
        await until(lambda: emitter.stats().delivered == kept, seconds=60)
        say(first=first, seconds=time.monotonic() - started, growth=resident() - before)


async def fill(tracker: Tracker, count: int, emitter: HttpEmitter) -> dict[str, Any]:
    """Track *count* events; return how long that took, how often it waited and the most memory taken."""
    waits, peak = Counter[str](), 0
    started = time.monotonic()
    for i in range(count):
        await Watched(tracker.track(LARGE_PAGE), waits)
        if i % 5_000 == 0:
            peak = max(peak, resident())
            assert balance(emitter.stats()) == 0
    seconds = time.monotonic() - started
    return {"seconds": seconds, "waits": waits.total(), "peak": max(peak, resident())}


def say(**numbers: object) -> None:
    print(json.dumps(numbers), flush=True)  # noqa: T201 - to the test that has started this process


@lasting(900)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_an_outage_takes_no_more_memory_than_its_bound_and_ends_without_a_rush(
    collector: CollectorProcess, report: Report
) -> None:
    """In full, a million events of 1 kB against a bound of 64 MiB, while connections are refused."""
    events = scale(75_000, 1_000_000)
    collector.close()
    program = "import asyncio, sys; from tests.faults.test_bounds import survive_an_outage as main; "
    program += "asyncio.run(main(sys.argv[1], int(sys.argv[2])))"
    command = [sys.executable, "-c", program, collector.url, str(events)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as tracking:
        assert tracking.stdin is not None
        assert tracking.stdout is not None
        during = json.loads(tracking.stdout.readline())
        # Answers that take their time show how many requests come before the first of them.
        # Before it listens: a probe may come at once.
        collector.do(Faults(slow=1))
        collector.open()
        tracking.stdin.write("\n")
        tracking.stdin.flush()
        after = json.loads(tracking.stdout.readline())
    counts = collector.counts()
    report(
        events=events,
        growth_MiB=round(during["growth"] / MIB, 1),
        kept=during["kept"],
        kept_MiB=round(during["bytes"] / MIB, 1),
        dropped=during["dropped"],
        per_second=round(events / during["seconds"]),
        waits=during["waits"],
        steps=during["steps"],
        early=during["early"],
        first_after=round(after["first"], 2),
        drained_after=round(after["seconds"], 2),
        growth_after_MiB=round(after["growth"] / MIB, 1),
        requests_before_first_answer=counts.early,
        at_once=counts.at_once,
    )
    assert tracking.returncode == 0
    assert during["growth"] <= 1.3 * BOUND + 15 * MIB
    assert 0.99 * BOUND < during["bytes"] <= BOUND
    assert 1_000 <= during["bytes"] / during["kept"] <= 1_100
    assert during["dropped"] == {"queue_full": events - during["kept"]}
    assert during["waits"] == 0
    # One probe for each step, and none before its time.
    assert (during["steps"], during["early"]) == (during["retries"], 0)
    assert during["steps"] > 5
    assert counts.early == 1
    # Then the backlog takes all connections.
    assert counts.at_once > CONNECTIONS / 2
    assert (counts.distinct, counts.duplicates) == (during["kept"], 0)


# --- fairness


class Ticker:
    """
    A task that wants to run all the time; it counts its turns and measures the longest wait for one.

    It measures what the loop did meanwhile: that the machine did something else tells nothing.
    """

    def __init__(self) -> None:
        self.turns = 0
        self.longest = 0.0

    async def run(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            self.turns += 1
            last = now


async def track_in_a_tight_loop(tracker: Tracker, count: int) -> tuple[int, Ticker, float]:
    """Track *count* events and return how often that waited, what a ticker saw, and the events per second."""
    waits, ticker = Counter[str](), Ticker()
    ticking = asyncio.create_task(ticker.run())
    started = time.monotonic()
    for i in range(count):
        await Watched(tracker.track(PAGE), waits)
        if i % 5_000 == 0:
            assert [balance(stats) for stats in tracker.stats().values()] == [0]
    seconds = time.monotonic() - started
    ticking.cancel()
    await asyncio.wait([ticking])
    return waits.total(), ticker, count / seconds


class PatientEmitter(HttpEmitter):
    """Waits longer for room, where the collector is healthy: it may stand still on a busy machine."""

    def new_back_pressure(self, store: LocalStore) -> BackPressure:
        return BackPressure(store, longest=10)


@lasting(900)
@pytest.mark.anyio
async def test_a_tight_loop_drops_nothing_and_lets_others_run(
    collector: CollectorProcess, report: Report
) -> None:
    # More than the store holds, so that the collector must get a part meanwhile.
    events, capacity = scale((40_000, 30_000), (1_000_000, 100_000))
    emitter = PatientEmitter(collector.url, store=MemoryStore(capacity=capacity))
    async with Tracker(emitter) as tracker:
        waits, ticker, per_second = await track_in_a_tight_loop(tracker, events)
        await tracker.flush()
        stats = tracker.stats()["http"]
    counts = collector.counts()
    report(
        events=events,
        per_second=round(per_second),
        events_per_turn=round(events / ticker.turns, 1),
        longest_ms=round(ticker.longest * 1000, 1),
        waits=waits,
    )
    assert (stats.delivered, dict(stats.dropped)) == (events, {})
    assert (counts.distinct, counts.duplicates) == (events, 0)
    assert ticker.turns > events / EVENTS_PER_TURN
    # Milliseconds where nothing else runs.
    assert ticker.longest < 2


@pytest.mark.anyio
async def test_a_tight_loop_waits_for_a_healthy_collector_that_is_slower(
    collector: CollectorProcess, report: Report
) -> None:
    collector.do(Faults(slow=1))
    events = scale(8_000, 20_000)
    emitter = PatientEmitter(collector.url, max_connections=4, store=MemoryStore(capacity=events // 4))
    async with Tracker(emitter) as tracker:
        waits, ticker, per_second = await track_in_a_tight_loop(tracker, events)
        await tracker.flush()
        stats = tracker.stats()["http"]
    report(per_second=round(per_second), waits=waits, longest_ms=round(ticker.longest * 1000, 1))
    assert (stats.delivered, dict(stats.dropped)) == (events, {})
    assert waits > 0


@lasting(900)
@pytest.mark.anyio
async def test_a_tight_loop_waits_for_nothing_while_the_collector_is_dead(
    collector: CollectorProcess, report: Report
) -> None:
    collector.close()
    events, capacity = scale((40_000, 30_000), (1_000_000, 100_000))
    emitter = HttpEmitter(collector.url, store=MemoryStore(capacity=capacity), drain_timeout=0)
    async with Tracker(emitter) as tracker:
        waits, ticker, per_second = await track_in_a_tight_loop(tracker, events)
        stats = tracker.stats()["http"]
    report(
        events=events,
        per_second=round(per_second),
        events_per_turn=round(events / ticker.turns, 1),
        longest_ms=round(ticker.longest * 1000, 1),
    )
    assert waits == 0
    assert stats.pending + stats.leased == capacity
    assert dict(stats.dropped) == {"queue_full": events - capacity}
    assert ticker.turns > events / EVENTS_PER_TURN
    # Milliseconds where nothing else runs.
    assert ticker.longest < 2
