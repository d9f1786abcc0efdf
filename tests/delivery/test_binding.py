"""Which loop delivers: the one a tracker is opened in, or ours while those of the application come and go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from snowplow_aio import HttpEmitter, MemoryEmitter, PageView, RedisEmitter, Tracker
from snowplow_aio.abc import AcceptingEmitter
from snowplow_aio.delivery import binding
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.outcomes import Delivered, Outcome
from tests.collector import Answer, Collector, running_collector
from tests.waiting import until, wait_until

PAGE = PageView(page_url="https://shop.example/")
DEAD = "http://127.0.0.1:9"


def portals() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "snowplow_aio portal"]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    # It ends by itself a moment after its last guest has left.
    wait_until(lambda: not portals(), portals)


class LoopThread:
    """A loop in a thread, with a collector in it, for programs that have loops of their own."""

    def __enter__(self) -> Collector:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._thread.start()
        self._ready.wait()
        return self._collector

    async def _serve(self) -> None:
        self._loop, self._ends = asyncio.get_running_loop(), asyncio.Event()
        async with running_collector() as self._collector:
            self._ready.set()
            await self._ends.wait()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join()


class Threads:
    """A hook that notes in which threads events were delivered."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, outcome: Outcome) -> None:
        if isinstance(outcome, Delivered):
            self.names += [threading.current_thread().name] * len(outcome.payloads)


def track(tracker: Tracker, count: int = 1) -> None:
    async def main() -> None:
        for _ in range(count):
            await tracker.track(PAGE)

    asyncio.run(main())


# --- opening a tracker


@pytest.mark.anyio
async def test_an_open_tracker_delivers_what_only_threads_track(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, flush_interval=0.01)) as tracker:
        await asyncio.to_thread(lambda: [tracker.track_nowait(PAGE) for _ in range(500)])
        await until(lambda: tracker.stats()["http"].delivered == 500)
        assert tracker.health()


@pytest.mark.anyio
async def test_opening_binds_every_emitter_also_one_of_the_application(collector: Collector) -> None:
    taken: list[Any] = []

    class Own:
        async def input(self, payload: Any) -> None:
            taken.append(payload)

    emitters = [HttpEmitter(collector.url, flush_interval=0.01, name=f"http {i}") for i in range(3)]
    async with Tracker([*emitters, MemoryEmitter(), Own()]) as tracker:
        await asyncio.to_thread(tracker.track_nowait, PAGE)
        await until(lambda: collector.accepted.total() == 3 and len(taken) == 1)


def test_opening_takes_the_delivery_back_from_a_loop_that_has_ended() -> None:
    threads = Threads()

    async def opened() -> None:
        async with tracker:
            await asyncio.to_thread(tracker.track_nowait, PAGE)

    with LoopThread() as collector:
        tracker = Tracker(HttpEmitter(collector.url, flush_interval=60, hooks=[threads]))
        track(tracker, 3)
        wait_until(lambda: len(portals()) == 1, portals)
        asyncio.run(opened())
        assert (collector.accepted.total(), max(collector.accepted.values())) == (4, 1)
    assert threads.names == ["MainThread"] * 4
    assert dict(tracker.stats()["http"].dropped) == {}


# --- loops that end


def test_what_an_ended_loop_leaves_is_delivered_while_no_loop_runs() -> None:
    threads = Threads()
    delivered = threading.Event()
    with LoopThread() as collector:

        def note(_outcome: Outcome) -> None:
            delivered.set()

        tracker = Tracker(HttpEmitter(collector.url, flush_interval=0.01, hooks=[threads, note]))
        track(tracker, 5)
        assert delivered.wait(20)
        assert (tracker.stats()["http"].delivered, bool(tracker.health())) == (5, True)
        assert set(threads.names) == {"snowplow_aio portal"}
        asyncio.run(tracker.aclose())


def test_a_loop_that_has_nothing_left_to_deliver_starts_no_thread() -> None:
    async def main() -> None:
        await tracker.track(PAGE)
        await tracker.flush()

    with LoopThread() as collector:
        tracker = Tracker(HttpEmitter(collector.url))
        before = threading.active_count()
        asyncio.run(main())
        assert threading.active_count() == before
        asyncio.run(tracker.aclose())


def test_a_loop_that_ends_does_not_wait_until_another_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    may_start = threading.Event()
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        if thread.name == "snowplow_aio portal":
            may_start.wait()
        start(thread)

    with LoopThread() as collector:
        monkeypatch.setattr(threading.Thread, "start", start_late)
        tracker = Tracker(HttpEmitter(collector.url, flush_interval=0.01))
        for _ in range(3):
            track(tracker)
        assert tracker.health()
        may_start.set()
        wait_until(lambda: tracker.stats()["http"].delivered == 3)
        asyncio.run(tracker.aclose())


def test_what_an_ended_loop_leaves_is_delivered_where_no_second_thread_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def start_no_portal(thread: threading.Thread) -> None:
        if thread.name == "snowplow_aio portal":
            raise RuntimeError("can't start new thread")
        start(thread)

    with LoopThread() as collector:
        monkeypatch.setattr(threading.Thread, "start", start_no_portal)
        tracker = Tracker(HttpEmitter(collector.url, flush_interval=0.01))
        track(tracker)
        wait_until(lambda: tracker.stats()["http"].delivered == 1)
        asyncio.run(tracker.aclose())


def test_a_loop_that_lasts_takes_the_delivery_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_CLAIM_SECONDS", 0.01)
    threads = Threads()

    async def lasting() -> None:
        while "MainThread" not in threads.names:
            await tracker.track(PAGE)
            await asyncio.sleep(0.02)
        await tracker.aclose()

    with LoopThread() as collector:
        tracker = Tracker(HttpEmitter(collector.url, flush_interval=0.05, hooks=[threads]))
        track(tracker)
        asyncio.run(lasting())
        stats = tracker.stats()["http"]
        assert stats.accepted == stats.delivered == len(collector.accepted)


def test_a_delivery_with_nothing_to_do_leaves_no_thread_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_REST_SECONDS", 0.01)
    with LoopThread() as collector:
        tracker = Tracker(HttpEmitter(collector.url, flush_interval=0.01))
        track(tracker)
        wait_until(lambda: tracker.stats()["http"].delivered == 1 and not portals(), portals)
        # And it comes back.
        track(tracker)
        asyncio.run(tracker.aclose())
        assert collector.accepted.total() == 2


def test_a_session_of_the_application_sends_in_its_own_loop_only() -> None:
    async def main(url: str) -> Tracker:
        async with aiohttp.ClientSession() as session:
            tracker = Tracker(HttpEmitter(url, session=session, flush_interval=None))
            await tracker.track(PAGE)
        return tracker

    tracker = asyncio.run(main(DEAD))
    health = tracker.health()
    assert (bool(health), health.summary.split(",")[0]) == (
        False,
        "http: stalled (no event loop runs the delivery); 1 waiting",
    )
    asyncio.run(tracker.aclose(0))


# --- closing from elsewhere


def test_closing_in_another_loop_closes_in_the_loop_that_delivers() -> None:
    """The delivery runs in a thread with a loop, the close is called in the main thread."""
    threads = Threads()
    with LoopThread() as collector:
        tracker = Tracker(HttpEmitter(collector.url, flush_interval=None, hooks=[threads]))
        ready, ends = threading.Event(), threading.Event()

        async def serve() -> None:
            async with tracker:
                for _ in range(10):
                    await tracker.track(PAGE)
                ready.set()
                await asyncio.to_thread(ends.wait)

        serving = threading.Thread(target=asyncio.run, args=(serve(),), name="serving")
        serving.start()
        ready.wait()
        result = asyncio.run(tracker.aclose())
        ends.set()
        serving.join()
        assert (result.delivered, result.pending, result.dropped) == (10, 0, 0)
        assert set(threads.names) == {"serving"}


def test_a_close_that_is_cancelled_counts_what_the_portal_had() -> None:
    async def cancel() -> None:
        closing = asyncio.create_task(tracker.aclose(60))
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    with LoopThread() as collector:
        collector.rule = lambda _request: Answer(hangs=True)
        tracker = Tracker(HttpEmitter(collector.url, flush_interval=0.01))
        track(tracker, 7)
        asyncio.run(cancel())
        stats = tracker.stats()["http"]
        assert (stats.pending, stats.leased, dict(stats.dropped), stats.state) == (
            0,
            0,
            {"closed": 7},
            "closed",
        )


# --- no loop


MAKERS: list[Callable[[], BufferedEmitter]] = [
    lambda: HttpEmitter(DEAD),
    lambda: RedisEmitter("redis://127.0.0.1:9/0"),
]


@pytest.mark.parametrize("make", MAKERS, ids=["http", "redis"])
def test_health_says_that_no_loop_delivers(make: Callable[[], BufferedEmitter]) -> None:
    emitter = make()
    tracker = Tracker(emitter)
    assert tracker.health()
    tracker.track_nowait(PAGE)
    health = tracker.health()
    assert not health
    why = "no event loop runs the delivery; a program without a loop uses snowplow_aio.sync"
    assert f"stalled ({why}); 1 waiting" in health.summary
    assert tracker.stats()[emitter.name].last_error == why
    asyncio.run(tracker.aclose(0))
    assert "closed" in tracker.health().summary


@pytest.mark.anyio
async def test_health_says_that_the_delivery_itself_fails(collector: Collector) -> None:
    """A task factory raises, and the delivery goes on once it does not."""

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no tasks\ntoday")

    loop = asyncio.get_running_loop()
    tracker = Tracker(HttpEmitter(collector.url, flush_interval=0.01))
    loop.set_task_factory(fail)
    try:
        await tracker.track(PAGE)
        await until(lambda: not tracker.health())
        summary = tracker.health().summary
    finally:
        loop.set_task_factory(None)
    assert summary.startswith(r"http: stalled (the delivery fails: RuntimeError: no tasks\ntoday); 1 waiting")
    await collector.requested(1)
    await tracker.aclose()


def test_an_emitter_of_the_application_needs_no_binding() -> None:
    class Plain(AcceptingEmitter):
        name = "plain"
        taken = 0

        def accept(self, payloads: Any) -> None:
            self.taken += len(payloads)

        accept_nowait = accept

        async def watch(self, payload: Any) -> None:
            return None

    async def main() -> None:
        async with Tracker(emitter) as tracker:
            await tracker.track(PAGE)

    emitter = Plain()
    asyncio.run(main())
    assert emitter.taken == 1


def test_a_loop_that_stands_still_for_a_moment_is_no_reason_to_worry() -> None:
    loop = asyncio.new_event_loop()
    tracker = Tracker(HttpEmitter(DEAD, flush_interval=None))

    async def main() -> None:
        await tracker.track(PAGE)

    loop.run_until_complete(main())
    assert tracker.health()
    loop.run_until_complete(tracker.aclose(0))
    loop.close()


@pytest.mark.anyio
async def test_a_loop_that_outlives_the_main_thread_goes_on_delivering() -> None:
    """The hook for the end of the main thread comes while threads of the application still run."""
    with LoopThread() as collector:
        tracker = Tracker(emitter := HttpEmitter(collector.url, flush_interval=0.01))
        async with tracker:
            end = await asyncio.to_thread(emitter.at_exit, 0.0, ends=False)
            assert end is not None
            await asyncio.wrap_future(end[1])
            await asyncio.to_thread(tracker.track_nowait, PAGE)
            await until(lambda: collector.accepted.total() == 1)
