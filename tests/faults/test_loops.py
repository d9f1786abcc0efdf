"""Several event loops, in turn, at the same time or gone: each closes its own connections."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from snowplow_aio import HttpEmitter, PageView, Tracker
from tests.collector import Collector, collector_in_a_thread
from tests.waiting import wait_until

PAGE = PageView(page_url="https://shop.example/")
SWITCHES = 30


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collector_in_a_thread() as running:
        yield running


def new_tracker(collector: Collector) -> Tracker:
    return Tracker(HttpEmitter(collector.url, flush_interval=0.01, drain_timeout=20))


async def deliver(tracker: Tracker) -> None:
    await tracker.track(PAGE)
    assert (await tracker.flush(20)).pending == 0


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="only here a process can count its files")
def test_two_loops_in_turn_have_no_more_connections_than_two(collector: Collector) -> None:
    tracker = new_tracker(collector)
    with asyncio.Runner() as one, asyncio.Runner() as two:
        files = set()
        for i in range(SWITCHES):
            (one if i % 2 else two).run(deliver(tracker))
            if i > 1:
                files.add(open_files())
        result = one.run(tracker.aclose(20))
        two.run(asyncio.sleep(0))
    # One connection here, both its ends.
    assert max(files) - min(files) <= 4
    assert (result.pending, result.dropped, tracker.stats()["http"].delivered) == (0, 0, SWITCHES)
    assert collector.accepted.total() == len(collector.accepted) == SWITCHES


def test_no_event_stays_behind_where_a_loop_stops_in_the_middle_of_a_request(collector: Collector) -> None:
    """The delivery that was left in the other loop runs on there later, and must take nothing."""

    async def begin() -> None:
        await tracker.track(PAGE)
        seen = len(collector.requests)
        await tracker.flush(wait=False)
        while len(collector.requests) == seen and tracker.stats()["http"].pending:  # noqa: ASYNC110
            await asyncio.sleep(0)

    tracker = new_tracker(collector)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with asyncio.Runner() as one, asyncio.Runner() as two:
            for i in range(SWITCHES):
                (one if i % 2 else two).run(begin())
            result = one.run(tracker.aclose(20))
            two.run(asyncio.sleep(0))
    stats = tracker.stats()["http"]
    assert (result.pending, stats.pending, stats.leased, stats.delivered) == (0, 0, 0, SWITCHES)
    assert len(collector.accepted) == SWITCHES


@pytest.mark.skipif(sys.platform != "linux", reason="only here a process can count its files")
def test_loops_that_are_closed_under_the_delivery_leave_no_file_open(collector: Collector) -> None:
    tracker = new_tracker(collector)
    files = set()
    for i in range(SWITCHES):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(deliver(tracker))
        loop.close()
        if i > 1:
            files.add(open_files())
    assert max(files) - min(files) <= 4
    asyncio.run(tracker.aclose(20))
    assert collector.accepted.total() == SWITCHES
    wait_until(lambda: collector.open_connections == 0)


def test_a_close_from_the_loop_of_another_thread_leaves_connections_to_their_own(
    collector: Collector,
) -> None:
    tracker = new_tracker(collector)
    complaints: list[dict[str, object]] = []
    with ExitStack() as running:
        loop = asyncio.new_event_loop()
        running.callback(loop.close)
        # It notices whoever calls it from another thread.
        loop.set_debug(True)
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        running.callback(thread.join)
        running.callback(loop.call_soon_threadsafe, loop.stop)

        async def track() -> None:
            for _ in range(82):
                await tracker.track(PAGE)

        asyncio.run_coroutine_threadsafe(track(), loop).result()
        result = asyncio.run(tracker.aclose(20))
        wait_until(lambda: collector.open_connections == 0)
        wait_until(lambda: not asyncio.all_tasks(loop))
    assert (result.delivered, result.pending, result.dropped) == (82, 0, 0)
    assert collector.accepted.total() == len(collector.accepted) == 82
    assert complaints == []
