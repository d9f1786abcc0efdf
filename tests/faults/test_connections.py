"""What goes wrong with one request or connection has no consequences for the next."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import pytest

from snowplow_aio import Delivered, HttpEmitter, PageView, Retried, Retry, Tracker
from snowplow_aio.http.collector import Collector
from snowplow_aio.http.transport import HttpTransport
from snowplow_aio.model.payload import Payload
from snowplow_aio.outcomes import Outcome
from tests.faults.conftest import balance, balanced, internal_tasks, lasting
from tests.faults.server import CollectorProcess, Faults
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio

Report = Callable[..., None]

PAGE = PageView(page_url="https://shop.example/")
REQUEST_TIMEOUT = scale(1.0, 10.0)

# A busy machine may be late by this, and not by the pace of a dripping answer.
LATE = 5.0


# --- answers that do not end


@lasting(180)
@pytest.mark.parametrize("manner", ["never", "dripping"])
async def test_a_request_without_an_answer_ends_in_time_and_gives_its_events_back(
    collector: CollectorProcess, manner: Literal["never", "dripping"], report: Report
) -> None:
    collector.do(Faults(manner=manner))
    failed: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def note(outcome: Outcome) -> None:
        if isinstance(outcome, Retried) and not failed.done():
            failed.set_result(outcome)

    # The next attempt is far away, so that what is given back can be seen waiting.
    emitter = HttpEmitter(
        collector.url,
        request_timeout=REQUEST_TIMEOUT,
        retry=Retry(initial_delay=1e6, max_delay=1e6),
        hooks=[note],
    )
    async with Tracker(emitter) as tracker, balanced(tracker):
        started = time.monotonic()
        for _ in range(10):
            await tracker.track(PAGE)
        await tracker.flush(wait=False)
        outcome = await failed
        took = time.monotonic() - started
        # The hook is told before the events are given back, in the same step.
        stats = emitter.stats()
        assert (stats.pending, stats.leased) == (10, 0)
        assert isinstance(outcome, Retried)
        assert "Timeout" in outcome.reason
        collector.do(Faults())
        assert (await tracker.flush()).delivered == 10
    report(seconds=round(took, 2), request_timeout=REQUEST_TIMEOUT)
    assert REQUEST_TIMEOUT - 0.05 <= took < REQUEST_TIMEOUT + LATE
    assert collector.counts().distinct == 10
    await until(lambda: collector.counts().connections == 0)


@lasting(180)
async def test_a_body_that_drips_ends_in_time_and_changes_nothing(
    collector: CollectorProcess, report: Report
) -> None:
    collector.do(Faults(manner="dripping body"))
    async with Tracker(HttpEmitter(collector.url, request_timeout=REQUEST_TIMEOUT)) as tracker:
        started = time.monotonic()
        await tracker.track(PAGE)
        assert (await tracker.flush()).delivered == 1
        took = time.monotonic() - started
    report(seconds=round(took, 2), request_timeout=REQUEST_TIMEOUT)
    assert took < REQUEST_TIMEOUT + LATE
    counts = collector.counts()
    assert (counts.requests, counts.processed) == (1, 1)
    await until(lambda: collector.counts().connections == 0)


async def test_a_body_without_end_is_not_read_on(collector: CollectorProcess, report: Report) -> None:
    """The collector sends 8 KiB every 20 ms; 4 MB until the request would time out."""
    collector.do(Faults(manner="endless body"))
    async with Tracker(HttpEmitter(collector.url, request_timeout=10)) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush()).delivered == 1
        await until(lambda: collector.counts().connections == 0)
    counts = collector.counts()
    report(read_at_most_KiB=counts.body_bytes // 1024)
    assert counts.body_bytes <= 512 * 1024
    assert (counts.requests, counts.processed) == (1, 1)


# --- idle connections that are closed at our pace


@lasting(300)
@pytest.mark.parametrize("connections", [1, 4])
async def test_an_idle_connection_that_is_closed_just_now_costs_nothing(
    collector: CollectorProcess, connections: int, report: Report
) -> None:
    idle = pause = 0.05
    collector.do(Faults(idle=idle))
    emitter = HttpEmitter(
        collector.url, max_batch=1, batch_size=1, max_connections=connections, retry=Retry(initial_delay=0.01)
    )
    rounds = scale(40, 400)
    connected = reconnects = 0
    async with Tracker(emitter) as tracker, balanced(tracker):
        for _ in range(rounds):
            for _ in range(connections):
                await tracker.track(PAGE)
            await emitter.flush()
            answered = time.monotonic()
            # Longer while connections are reused, shorter while they are not: this
            # finds the moment at which both sides act at once.
            previous, connected = connected, collector.counts().connected
            reconnects += connected > previous
            pause += -0.0002 if connected > previous else 0.0002
            await asyncio.sleep(max(0, answered + pause - time.monotonic()))
        stats = emitter.stats()
    counts = collector.counts()
    report(
        posts=rounds * connections, connections=counts.connected, reconnects=reconnects, pause=round(pause, 4)
    )
    assert dict(stats.retries) == {}
    assert stats.last_error is None
    assert (counts.distinct, counts.duplicates) == (rounds * connections, 0)
    assert reconnects > 1


async def test_idle_connections_that_are_all_dead_cost_nothing(collector: CollectorProcess) -> None:
    """What is sent again on the next pooled connection would only find that one dead as well."""
    collector.do(Faults(once=True, delay=0.02))
    emitter = HttpEmitter(
        collector.url, max_batch=1, batch_size=1, max_connections=4, retry=Retry(initial_delay=0.01)
    )
    async with Tracker(emitter) as tracker, balanced(tracker):
        for count in (4, 1) * 5:
            for _ in range(count):
                await tracker.track(PAGE)
            await emitter.flush()
        stats = emitter.stats()
    counts = collector.counts()
    assert (stats.delivered, dict(stats.retries)) == (25, {})
    assert (counts.distinct, counts.duplicates) == (25, 0)


# --- requests that are cancelled on their way

# Statuses that all say "delivered": which of them comes tells whose answer it is.
STATUSES = (200, 201, 202, 203, 206, 207, 208, 226)


@lasting(900)
async def test_after_cancelled_requests_every_answer_belongs_to_its_own(
    collector: CollectorProcess, report: Report
) -> None:
    collector.do(Faults(delay=0.01))
    transport = HttpTransport(
        Collector.at(collector.url, protocol=None, port=None, post_path=None), connections=4
    )
    chance = random.Random(33)
    cancels, wrong = scale(200, 10_000), 0
    attempted = 0

    async def one_by_one(count: int) -> None:
        """Cancel one request in two somewhere on its way; look at the answers of the others."""
        nonlocal attempted, wrong
        cancelled = 0
        while cancelled < count:
            status = chance.choice(STATUSES)
            payload = Payload(
                {"e": "pv", "p": "web", "tv": "t", "url": f"https://shop.example/answer/{status}"}
            )
            request = asyncio.create_task(transport.send([payload]))
            attempted += 1
            if chance.random() < 0.5:
                # Not to synchronise: the moment is what is drawn.
                await asyncio.sleep(chance.random() * 0.01)
                cancelled += request.cancel()
            with suppress(asyncio.CancelledError):
                wrong += (await request).status != status

    await asyncio.gather(*(one_by_one(cancels // 8) for _ in range(8)))
    counts = collector.counts()
    report(
        cancels=cancels, requests=attempted, wrong=wrong, connected=counts.connected, open=counts.connections
    )
    try:
        assert wrong == 0
        await until(lambda: collector.counts().connections <= 4)
        await assert_so_many_at_once(4, transport, collector)
    finally:
        await transport.aclose()
    await until(lambda: collector.counts().connections == 0)


async def assert_so_many_at_once(count: int, transport: HttpTransport, collector: CollectorProcess) -> None:
    """Assert that no place in the pool of connections is taken."""
    # The collector may still be at work for requests that were cancelled.
    await until(lambda: collector.counts().under_way == 0)
    collector.do(Faults(manner="never"))
    payload = Payload({"e": "pv", "p": "web", "tv": "t"})
    requests = [asyncio.create_task(transport.send([payload])) for _ in range(count)]
    await until(lambda: collector.counts().under_way >= count)
    for request in requests:
        request.cancel()
    await asyncio.wait(requests)


@lasting(900)
async def test_events_whose_requests_are_cancelled_get_the_answer_that_is_theirs(
    collector: CollectorProcess, report: Report
) -> None:
    """The same with an emitter, of which every fifth event is refused."""
    collector.do(Faults(delay=0.01))
    outcomes: list[bool] = []

    def look(outcome: Outcome) -> None:
        if not isinstance(outcome, Retried):
            (payload,) = outcome.payloads
            wanted = int(re.sub(".*/", "", payload["url"]))
            outcomes.append(getattr(outcome, "status", None) == wanted)
            assert isinstance(outcome, Delivered) == (wanted < 300)

    chance = random.Random(34)
    events, cancels, cancelled = scale(400, 20_000), scale(200, 10_000), 0
    emitter = HttpEmitter(collector.url, max_batch=1, batch_size=1, max_connections=4, hooks=[look])
    async with Tracker(emitter) as tracker, balanced(tracker):
        for i in range(events):
            status = 400 if i % 5 == 0 else chance.choice(STATUSES)
            await tracker.track(PageView(page_url=f"https://shop.example/answer/{status}"))
        flushing = asyncio.create_task(emitter.flush())
        while not flushing.done():
            await asyncio.sleep(chance.random() * 0.005)
            tasks = [task for task in internal_tasks() if task is not flushing]
            if tasks and cancelled < cancels:
                chance.choice(tasks).cancel()
                cancelled += 1
        stats = emitter.stats()
        await until(lambda: collector.counts().connections <= 4)
    counts = collector.counts()
    report(events=events, cancels=cancelled, restarts=stats.restarts, connected=counts.connected)
    assert balance(stats) == 0
    assert (stats.delivered, dict(stats.rejected)) == (events * 4 // 5, {"refused": events // 5})
    assert (len(outcomes), all(outcomes), stats.hook_errors) == (events, True, 0)
    assert 0 < stats.restarts <= cancelled
    await until(lambda: collector.counts().connections == 0)
