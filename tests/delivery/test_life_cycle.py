"""Starting, flushing, closing, and everything that happens to a process and its loops meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from snowplow_aio import EmitterStats, HttpEmitter, MemoryStore, Overflow, PageView, Payload, Retry, Tracker
from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.outcomes import Outcome
from snowplow_aio.policies import Batching
from tests.collector import Answer, Collector, Request, running_collector
from tests.ports import held_port
from tests.waiting import until

PAGE = PageView(page_url="https://shop.example/")
DEAD = "http://127.0.0.1:9"


def balance(stats: EmitterStats) -> int:
    """Return how many events the numbers lose; 0 at every moment."""
    ends = stats.delivered + sum(stats.rejected.values()) + sum(stats.dropped.values())
    return stats.accepted - stats.pending - stats.leased - ends


@pytest.mark.anyio
async def test_the_last_line_does_not_call_rejected_events_delivered(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "snowplow_aio.delivery")
    collector.rule = lambda request: Answer(422 if rejected in request.event_ids else 200)
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        rejected = await tracker.track(PAGE)
        await tracker.track(PAGE)
    line = caplog.records[-1].getMessage()
    assert line.startswith("http: closed; 0 waiting; 1 delivered")
    assert line.endswith("; 1 rejected (refused)")


# --- flush


@pytest.mark.anyio
async def test_a_flush_that_does_not_wait_returns_at_once_and_sends(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, flush_interval=None)) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(wait=False)).pending == 1
        await collector.requested(1)


@pytest.mark.anyio
async def test_a_flush_with_a_timeout_says_what_is_still_pending(collector: Collector) -> None:
    collector.answer_next(Answer(hangs=True))
    async with Tracker(HttpEmitter(collector.url, drain_timeout=0)) as tracker:
        await tracker.track(PAGE)
        result = await tracker.flush(0.02)
        assert (result.delivered, result.pending) == (0, 1)


@pytest.mark.anyio
async def test_a_flush_waits_for_nothing_that_was_tracked_after_it(collector: Collector) -> None:
    async with Tracker(
        HttpEmitter(collector.url, flush_interval=None, max_connections=1), app_id="a"
    ) as tracker:
        await tracker.track(PAGE)
        flushing = asyncio.create_task(tracker.flush())
        await collector.requested(1)
        collector.rule = lambda _request: Answer(hangs=True)
        await tracker.track(PAGE)
        assert (await flushing).delivered == 1
        assert tracker.stats()["http"].pending == 1
        collector.disconnect()
        collector.rule = lambda _request: Answer()


@pytest.mark.anyio
async def test_each_flush_reports_what_was_tracked_since_the_last(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        for count in (3, 2, 0):
            for _ in range(count):
                await tracker.track(PAGE)
            result = await tracker.flush()
            assert (result.delivered, result.by_emitter["http"].delivered) == (count, count)


@pytest.mark.anyio
async def test_a_flush_gives_a_destination_that_is_left_alone_one_probe(collector: Collector) -> None:
    collector.answer_next(503)
    failed = asyncio.Event()
    retry = Retry(initial_delay=600, max_delay=600)
    async with Tracker(
        HttpEmitter(collector.url, retry=retry, hooks=[lambda _outcome: failed.set()])
    ) as tracker:
        await tracker.track(PAGE)
        await tracker.flush(wait=False)
        await failed.wait()
        assert (await tracker.flush()).delivered == 1
    assert len(collector.requests) == 2


# --- close


@pytest.mark.usefixtures("time_to_end")
@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [0, 0.1])
@pytest.mark.parametrize("fault", ["refused", "503", "hole"])
async def test_closing_ends_in_time_and_says_what_was_lost(
    collector: Collector, fault: str, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    collector.rule = lambda _request: Answer(hangs=True) if fault == "hole" else Answer(503)
    tracker = Tracker(HttpEmitter(DEAD if fault == "refused" else collector.url))
    for _ in range(7):
        await tracker.track(PAGE)
    with caplog.at_level(logging.WARNING, "snowplow_aio"):
        result = await tracker.aclose(seconds)
    assert (result.delivered, result.dropped, result.pending) == (0, 7, 0)
    assert "closed with 7 events undelivered" in caplog.text
    stats = tracker.stats()["http"]
    assert (balance(stats), stats.state, dict(stats.dropped)) == (0, "closed", {"closed": 7})


@pytest.mark.anyio
async def test_every_close_gives_the_same_answer(collector: Collector) -> None:
    emitter = HttpEmitter(collector.url)
    await emitter.input({"e": "pv", "p": "web", "tv": "t", "eid": "x"})
    results = await asyncio.gather(emitter.aclose(), emitter.aclose(), emitter.aclose(0))
    assert [result.delivered for result in [*results, await emitter.aclose()]] == [1, 1, 1, 1]


@pytest.mark.anyio
async def test_tracking_after_close_does_not_raise_and_is_counted(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        await tracker.track(PAGE)
    with caplog.at_level(logging.WARNING, "snowplow_aio"):
        await tracker.track(PAGE)
        tracker.track_nowait(PAGE)
    stats = tracker.stats()["http"]
    assert (stats.accepted, stats.delivered, dict(stats.dropped)) == (3, 1, {"closed": 2})
    assert len([record for record in caplog.records if "dropped (closed)" in record.getMessage()]) == 1


@pytest.mark.anyio
async def test_a_cancelled_close_ends_the_draining_and_counts_everything(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    tracker = Tracker(HttpEmitter(collector.url))
    for _ in range(5):
        await tracker.track(PAGE)
    closing = asyncio.create_task(tracker.aclose(60))
    await collector.requested(1)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    stats = tracker.stats()["http"]
    assert (balance(stats), stats.pending, stats.leased, dict(stats.dropped)) == (0, 0, 0, {"closed": 5})


class Stubborn(Transport):
    """Takes nothing and cannot be closed."""

    async def send(self, payloads: Sequence[Payload]) -> Response:
        return Response(status=503)

    async def aclose(self) -> None:
        raise RuntimeError("not in this loop")


@pytest.mark.anyio
async def test_a_transport_that_cannot_be_closed_keeps_nothing_from_being_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    emitter = BufferedEmitter(Stubborn(), batching=Batching(), name="own", drain_timeout=0.05)
    tracker = Tracker(emitter)
    await tracker.track(PAGE)
    assert (await tracker.aclose()).dropped == 1
    assert (await tracker.aclose()).dropped == 1
    assert tracker.stats()["own"].dropped == {"closed": 1}
    assert "own: a part of the close failed" in caplog.messages


@pytest.mark.anyio
async def test_closing_drops_what_waits_for_room_and_lets_its_caller_go_on(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    store = MemoryStore(capacity=1, overflow=Overflow.WAIT)
    tracker = Tracker(HttpEmitter(collector.url, store=store))
    await tracker.track(PAGE)
    waiting = asyncio.create_task(tracker.track(PAGE))
    await asyncio.sleep(0)
    waits = tracker.stats()["http"]
    assert (waits.accepted, waits.pending + waits.leased, waiting.done()) == (2, 2, False)
    assert (await tracker.aclose(0)).dropped == 2
    await waiting
    stats = tracker.stats()["http"]
    assert (balance(stats), stats.pending, dict(stats.dropped)) == (0, 0, {"closed": 2})


@pytest.mark.anyio
async def test_closing_a_tracker_that_was_never_used_is_fine() -> None:
    assert (await Tracker(HttpEmitter("https://collector.example.com")).aclose()).delivered == 0


def test_an_emitter_that_is_dropped_unclosed_says_how_many_events_it_had() -> None:
    emitter = HttpEmitter("https://collector.example.com", name="forgotten")
    emitter.input_nowait({"e": "pv", "p": "web", "tv": "t"})
    with pytest.warns(ResourceWarning, match="forgotten: dropped without aclose.. with 1 event undelivered"):
        del emitter


# --- loops, threads and processes


def test_events_tracked_before_any_loop_runs_are_delivered_in_it() -> None:
    async def main() -> Counter[str]:
        async with running_collector() as collector:
            tracker = Tracker(HttpEmitter(collector.url))
            ids = await asyncio.to_thread(lambda: [tracker.track_nowait(PAGE) for _ in range(3)])
            async with tracker:
                await tracker.track(PAGE)
            assert set(ids) < set(collector.accepted)
            return collector.accepted

    assert asyncio.run(main()).total() == 4


@pytest.mark.anyio
async def test_events_from_other_threads_wake_the_delivery(collector: Collector) -> None:
    def track_many() -> list[str]:
        return [tracker.track_nowait(PAGE) for _ in range(500)]

    async with Tracker(HttpEmitter(collector.url, flush_interval=0.01)) as tracker:
        await tracker.track(PAGE)
        with ThreadPoolExecutor(8) as pool:
            tracked = await asyncio.gather(
                *(asyncio.get_running_loop().run_in_executor(pool, track_many) for _ in range(8))
            )
        await tracker.flush()
        assert balance(tracker.stats()["http"]) == 0
    assert collector.accepted.total() == 4001
    assert {event_id for ids in tracked for event_id in ids} < set(collector.accepted)
    assert max(collector.accepted.values()) == 1


@pytest.mark.anyio
async def test_a_flush_whose_loop_was_closed_keeps_an_outcome_from_nobody(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """Another thread ends its loop while it waits; the hooks here are called all the same."""
    outcomes: list[str] = []

    def note(outcome: Outcome) -> None:
        outcomes.append(type(outcome).__name__)

    tracker = Tracker(HttpEmitter(collector.url, hooks=[note]))
    arrived = threading.Event()

    def answer_late(_request: Request) -> Answer:
        arrived.set()
        return Answer(delay=0.2)

    collector.rule = answer_late

    def leave_while_it_waits(loop: asyncio.AbstractEventLoop) -> None:
        call = tracker.flush()
        waiting = loop.create_task(call)
        loop.run_until_complete(loop.run_in_executor(None, arrived.wait, 20))
        loop.close()
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]
        call.close()

    await tracker.track(PAGE)
    await asyncio.to_thread(leave_while_it_waits, asyncio.new_event_loop())
    await until(lambda: outcomes != [])
    await tracker.aclose()
    assert outcomes == ["Delivered"]
    assert balance(tracker.stats()["http"]) == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_what_one_run_leaves_the_next_run_delivers() -> None:
    received: Counter[str] = Counter()

    async def first(port: int) -> Tracker:
        tracker = Tracker(HttpEmitter(f"http://127.0.0.1:{port}", retry=Retry(initial_delay=0.01)))
        for _ in range(10):
            await tracker.track(PAGE)
        await tracker.flush(0.05)
        return tracker

    async def second(tracker: Tracker, port: int) -> None:
        collector = Collector()
        server = await asyncio.start_server(collector.serve, "127.0.0.1", port)
        async with server, tracker:
            await tracker.track(PAGE)
            await tracker.flush()
            received.update(collector.accepted)
            await tracker.aclose()
            collector.disconnect()

    with held_port() as port:
        tracker = asyncio.run(first(port))
        assert balance(tracker.stats()["http"]) == 0
        asyncio.run(second(tracker, port))
    assert (received.total(), max(received.values())) == (11, 1)


CLOSED_UNDER_US = """
import asyncio, json, threading
from snowplow_aio import HttpEmitter, PageView, Tracker
from tests.collector import Answer, running_collector

PAGE = PageView(page_url="https://shop.example/")
ready = threading.Event()
collectors, loops = [], []

async def collect():
    async with running_collector() as collector:
        collector.answer_next(Answer(hangs=True))
        collectors.append(collector)
        loops.append(asyncio.get_running_loop())
        ready.set()
        await asyncio.Event().wait()

threading.Thread(target=asyncio.run, args=(collect(),), daemon=True).start()
ready.wait()
collector = collectors[0]

async def begin():
    tracker = Tracker(HttpEmitter(collector.url))
    await tracker.track(PAGE)
    await tracker.flush(wait=False)
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(collector.requested(1), loops[0]))
    await tracker.track(PAGE)
    return tracker

async def go_on(tracker):
    await tracker.track(PAGE)
    return await tracker.aclose()

first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
tracker = first.run_until_complete(begin())
leased = tracker.stats()["http"].leased
first.close()
result = second.run_until_complete(go_on(tracker))
second.close()
stats = tracker.stats()["http"]
arrived = sorted(collector.accepted.values())
print(json.dumps([leased, result.delivered, arrived, stats.accepted, stats.restarts]))
"""


def test_a_loop_that_is_closed_under_the_delivery_loses_nothing() -> None:
    """What was on its way when the first loop was closed, and what waited, is sent in the second."""
    # A process of its own: a loop that is closed with tasks in it leaves them all behind.
    root = Path(__file__).parents[2]
    program = [sys.executable, "-c", CLOSED_UNDER_US]
    run = subprocess.run(program, capture_output=True, text=True, cwd=root, check=False)
    assert json.loads(run.stdout or run.stderr) == [1, 3, [1, 1, 1], 3, 1]


@pytest.mark.anyio
async def test_a_delivery_that_is_cancelled_from_outside_goes_on(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, flush_interval=0.01)) as tracker:
        await tracker.track(PAGE)
        for _ in range(5):
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                if "DeliveryLoop." in repr(task) or "Supervisor." in repr(task):
                    task.cancel()
            await tracker.track(PAGE)
        assert (await tracker.flush()).delivered == 6
        stats = tracker.stats()["http"]
        assert stats.restarts >= 1
        assert balance(stats) == 0
    assert (collector.accepted.total(), max(collector.accepted.values())) == (6, 1)


@pytest.mark.anyio
async def test_a_cancelled_delivery_needs_nobody_to_go_on(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, flush_interval=0.2)) as tracker:
        await tracker.track(PAGE)
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "Supervisor." in repr(task):
                task.cancel()
        await collector.requested(1)
        assert tracker.stats()["http"].restarts == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_sends_its_own_events_and_none_of_its_parents() -> None:
    """The child begins with an empty store; the parent delivers what it has, once."""

    async def main() -> Counter[str]:
        async with running_collector() as collector:
            tracker = Tracker(HttpEmitter(collector.url, flush_interval=None))
            await tracker.track(PAGE)
            await tracker.flush()
            parents = await tracker.track(PAGE)
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                _be_the_child(tracker, writer)
            os.close(writer)
            await asyncio.to_thread(os.waitpid, pid, 0)
            assert os.read(reader, 100) == b"1 0 1"
            os.close(reader)
            await tracker.aclose()
            assert collector.accepted[parents] == 1
            return collector.accepted

    with warnings.catch_warnings():
        # Python 3.12 warns of a fork in a process with threads; that is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        accepted = asyncio.run(main())
    assert (accepted.total(), max(accepted.values())) == (3, 1)


def _be_the_child(tracker: Tracker, writer: int) -> None:
    async def main() -> None:
        await tracker.track(PAGE)
        result = await tracker.aclose(10)
        os.write(writer, f"{result.delivered} {result.dropped} {tracker.stats()['http'].accepted}".encode())

    try:
        # The child of a fork inside a running loop must forget that it is running.
        asyncio._set_running_loop(None)
        asyncio.run(main())
    finally:
        os._exit(0)


@pytest.fixture
def no_new_threads() -> Iterator[None]:
    # Those of earlier tests may end meanwhile.
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_a_program_that_forgets_to_close_still_ends(no_new_threads: None) -> None:
    async def main() -> Tracker:
        tracker = Tracker(HttpEmitter(DEAD))
        await tracker.track(PAGE)
        return tracker

    tracker = asyncio.run(main())
    assert balance(tracker.stats()["http"]) == 0
    assert tracker.stats()["http"].pending == 1
    asyncio.run(tracker.aclose(0))


@pytest.mark.anyio
async def test_a_tight_loop_lets_other_tasks_run(collector: Collector) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        for _ in range(5000):
            await tracker.track(PAGE)
        assert turns >= 10
    task.cancel()
    assert collector.accepted.total() == 5000


@pytest.mark.anyio
async def test_tracking_without_waiting_starts_the_delivery(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, flush_interval=0.01)) as tracker:
        tracker.track_nowait(PAGE)
        await collector.requested(1)


@pytest.mark.anyio
async def test_a_collector_that_hangs_does_not_make_tracking_wait_each_time(
    collector: Collector,
) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    # The store is crowded with its first few events, and whoever tracks lets the loop run after each 144.
    store = MemoryStore(capacity=1_000)
    async with Tracker(HttpEmitter(collector.url, store=store, drain_timeout=0)) as tracker:
        loop = asyncio.get_running_loop()
        waited = 0
        for _ in range(2_000):
            begin = loop.time()
            await tracker.track(PAGE)
            waited += loop.time() - begin > 0.9
        assert waited <= 4
        assert tracker.stats()["http"].dropped == {"queue_full": 1_000}
