"""Whatever the application's callbacks do, the delivery of all other events goes on."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from snowplow_aio import HttpEmitter, MemoryStore, Overflow, PageView, Retry, Tracker
from tests.collector import OK, Answer, Collector, running_collector
from tests.faults.conftest import balance
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
EVENTS = scale(1_000, 20_000)
BLOCKED_SECONDS = scale(0.1, 1.0)

# What a callback is given does not matter: each of these takes everything.
Callback = Callable[..., Any]
Making = Callable[[Tracker], Callback]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


def plain(error: BaseException) -> Making:
    def fail(*_: object) -> None:
        raise error

    return lambda _tracker: fail


def coroutine(error: BaseException) -> Making:
    async def fail(*_: object) -> None:
        await asyncio.sleep(0)
        raise error

    return lambda _tracker: fail


def blocks(_tracker: Tracker) -> Callback:
    done: list[bool] = []

    def block(*_: object) -> None:
        if not done:
            done.append(True)
            time.sleep(BLOCKED_SECONDS)

    return block


def never_ends(_tracker: Tracker) -> Callback:
    async def wait(*_: object) -> None:
        await asyncio.Event().wait()

    return wait


def flushes(tracker: Tracker) -> Callback:
    async def flush(*_: object) -> None:
        await tracker.flush()

    return flush


def flushes_without_waiting(tracker: Tracker) -> Callback:
    tasks: set[asyncio.Task[Any]] = set()

    def flush(*_: object) -> None:
        tasks.add(task := asyncio.get_running_loop().create_task(tracker.flush()))
        task.add_done_callback(tasks.discard)

    return flush


CALLBACKS: dict[str, Making] = {
    "raises": plain(ZeroDivisionError()),
    "raises a cancellation": plain(asyncio.CancelledError()),
    "raises a time-out": plain(TimeoutError()),
    "raises later": coroutine(ZeroDivisionError()),
    "is cancelled": coroutine(asyncio.CancelledError()),
    "blocks": blocks,
    "never ends": never_ends,
    "flushes": flushes,
    "flushes in a task": flushes_without_waiting,
    "gives back nonsense": lambda _tracker: lambda *_: 42,
}


def some_503() -> Callable[[object], Answer]:
    chance = random.Random(1)
    return lambda _request: Answer(503) if chance.random() < 0.3 else OK


class Late:
    """Stands for a callback that needs the tracker, which needs the callback."""

    def __init__(self) -> None:
        self.calls = 0
        self.callback: Callback | None = None

    def __call__(self, *given: object) -> Any:
        self.calls += 1
        return self.callback(*given) if self.callback is not None else None


def emitter_for(collector: Collector, **options: Any) -> HttpEmitter:
    return HttpEmitter(collector.url, retry=Retry(initial_delay=0.01, max_delay=0.05), **options)


@pytest.mark.parametrize("given_as", ["hook", "on_success", "on_failure"])
@pytest.mark.parametrize("what", CALLBACKS)
async def test_a_callback_that_misbehaves_costs_no_event(
    collector: Collector, what: str, given_as: str
) -> None:
    """The faults of the plainest promise, with a callback that does wrong at every outcome."""
    collector.rule = some_503()
    late, other = Late(), Late()
    # Small batches, so that it is called often; room for all but ten, so that something is given up.
    options: dict[str, Any] = {"hook": {"hooks": [late, other]}}.get(given_as, {given_as: late})
    store = MemoryStore(capacity=EVENTS - 10)
    emitter = emitter_for(collector, store=store, max_batch=100, flush_interval=None, **options)
    tracker = Tracker(emitter)
    late.callback = CALLBACKS[what](tracker)
    ids = [tracker.track_nowait(PAGE) for _ in range(EVENTS)]
    assert (await tracker.flush(60)).pending == 0
    ids += [await tracker.track(PAGE) for _ in range(10)]
    # One that never ends uses up the time.
    await tracker.aclose(2 if what == "never ends" else 30)
    stats = tracker.stats()["http"]
    assert (stats.delivered, stats.dropped, balance(stats)) == (EVENTS, {"queue_full": 10}, 0)
    assert len(collector.accepted) == collector.accepted.total() == EVENTS
    assert collector.accepted.keys() <= set(ids)
    assert late.calls > 0
    assert given_as != "hook" or late.calls == other.calls


@pytest.mark.parametrize("what", ["raises", "raises a cancellation", "is cancelled", "never ends"])
async def test_a_callback_of_one_emitter_harms_no_other(collector: Collector, what: str) -> None:
    late = Late()
    bad = emitter_for(collector, name="bad", hooks=[late], drain_timeout=0.5)
    good = emitter_for(collector, name="good")
    async with Tracker([bad, good]) as tracker:
        late.callback = CALLBACKS[what](tracker)
        for _ in range(3):
            await tracker.track(PAGE)
            result = await tracker.flush(30)
            assert [result.by_emitter[name].delivered for name in ("bad", "good")] == [1, 1]


@pytest.mark.parametrize("what", ["raises", "raises a cancellation", "raises later", "is cancelled"])
async def test_what_a_callback_raises_is_counted_and_ends_nothing(collector: Collector, what: str) -> None:
    late = Late()
    async with Tracker(emitter_for(collector, hooks=[late])) as tracker:
        late.callback = CALLBACKS[what](tracker)
        for count in range(1, 4):
            await tracker.track(PAGE)
            await tracker.flush(30)
            await until(lambda count=count: tracker.stats()["http"].hook_errors == count)  # type: ignore[misc]
        stats = tracker.stats()["http"]
        # The delivery was not cancelled: somebody else's cancellation is not ours.
        assert (stats.delivered, stats.restarts) == (3, 0)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_a_callback_may_track_again(collector: Collector, kind: str) -> None:
    """Each delivery tracks one event more, a hundred times."""

    def again(*_: object) -> None:
        if tracker.stats()["http"].accepted < 100:
            tracker.track_nowait(PAGE)

    async def again_later(*_: object) -> None:
        if tracker.stats()["http"].accepted < 100:
            await tracker.track(PAGE)

    emitter = emitter_for(
        collector, flush_interval=0.001, on_success=again if kind == "plain" else again_later
    )
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].delivered == 100)
        assert balance(tracker.stats()["http"]) == 0
    assert collector.accepted.total() == 100


async def test_a_callback_that_waits_for_room_in_its_own_store_stops_no_delivery(
    collector: Collector,
) -> None:
    async def again(*_: object) -> None:
        if tracker.stats()["http"].accepted < 500:
            for _again in range(50):
                await tracker.track(PAGE)

    store = MemoryStore(capacity=10, overflow=Overflow.WAIT)
    async with Tracker(
        emitter_for(collector, store=store, flush_interval=0.001, on_success=again)
    ) as tracker:
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].delivered >= 500)
        assert (balance(tracker.stats()["http"]), tracker.stats()["http"].dropped) == (0, {})


@pytest.mark.parametrize("seconds", [None, 0, 5])
@pytest.mark.parametrize("given_as", ["on_success", "on_failure"])
async def test_a_callback_may_close_the_tracker_and_all_get_the_same_answer(
    collector: Collector, given_as: str, seconds: float | None
) -> None:
    results: list[Any] = []
    closed = asyncio.Event()

    async def close(*_: object) -> None:
        results.append(await tracker.aclose(seconds))
        closed.set()

    poison = PageView(page_url="https://shop.example/poison")
    collector.rule = lambda request: Answer(400 if b"poison" in request.body else 200)
    # A close that waited for its own callback would take an hour.
    options: dict[str, Any] = {given_as: close, "drain_timeout": 3600}
    async with asyncio.timeout(30):
        tracker = Tracker(emitter_for(collector, **options))
        await tracker.track(PAGE if given_as == "on_success" else poison)
        await tracker.flush()
        await closed.wait()
        results.append(await tracker.aclose())
        assert results[0] == results[-1]
    stats = tracker.stats()["http"]
    assert (stats.state, stats.accepted, balance(stats)) == ("closed", 1, 0)


async def test_a_callback_that_never_ends_does_not_keep_a_close_waiting(collector: Collector) -> None:
    late = Late()
    tracker = Tracker(emitter_for(collector, hooks=[late]))
    late.callback = never_ends(tracker)
    await tracker.track(PAGE)
    assert (await tracker.flush(30)).delivered == 1
    began = time.monotonic()
    async with asyncio.timeout(30):
        await tracker.aclose(0.2)
    # Generous: the machine may be busy. Without a bound it would never end.
    assert time.monotonic() - began < 10


# --- a plain function that blocks for ever


@pytest.fixture
def blocking() -> Iterator[Callable[..., None]]:
    released = threading.Event()
    yield lambda *_: (released.wait(), None)[1]
    released.set()


@pytest.mark.parametrize("given_as", ["hook", "on_success", "on_failure"])
@pytest.mark.parametrize("answer", [OK, Answer(400), Answer(503)], ids=["taken", "refused", "given up"])
async def test_a_callback_that_blocks_for_ever_does_not_keep_a_close_waiting(
    collector: Collector,
    blocking: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
    given_as: str,
) -> None:
    collector.rule = lambda _request: answer
    told: list[Any] = []
    options: dict[str, Any] = {} if given_as == "hook" else {given_as: blocking}
    hooks = [blocking, told.append] if given_as == "hook" else [told.append]
    tracker = Tracker(emitter_for(collector, hooks=hooks, flush_interval=None, **options))
    await tracker.track(PAGE)
    result = await tracker.aclose(0.2)
    stats = tracker.stats()["http"]
    assert (result.pending, balance(stats), stats.state) == (0, 0, "closed")
    # Whoever comes after it hears of everything.
    assert told
    is_called = {"hook": True, "on_success": answer is OK, "on_failure": answer is not OK}[given_as]
    assert (stats.hook_errors > 0) is is_called
    said = [record for record in caplog.records if "takes too long" in record.getMessage()]
    assert len(said) == is_called


async def test_a_close_that_is_cancelled_waits_for_no_callback_that_blocks(
    collector: Collector, blocking: Callable[..., None]
) -> None:
    collector.rule = lambda _request: Answer(503)
    tracker = Tracker(emitter_for(collector, on_failure=blocking))
    await tracker.track(PAGE)
    closing = asyncio.create_task(tracker.aclose(3600))
    await until(lambda: bool(collector.requests))
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    stats = tracker.stats()["http"]
    assert (stats.state, stats.dropped["closed"], stats.hook_errors) == ("closed", 1, 1)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """A function that makes event loops."""
    new: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip(request.param).new_event_loop
    # With its first loop, uvloop opens a pipe for as long as the process lives.
    new().close()
    return new


def test_a_callback_of_a_close_may_use_the_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """It finds the loop running, and what it starts there is done there."""
    heard: asyncio.Queue[int] = asyncio.Queue()
    threads: list[threading.Thread] = []
    tasks: list[asyncio.Task[None]] = []

    def hear(_sent: int, unsent: list[dict[str, str]]) -> None:
        heard.put_nowait(len(unsent))
        tasks.append(asyncio.get_running_loop().create_task(later()))

    async def later() -> None:
        threads.append(threading.current_thread())
        heard.put_nowait(-1)

    async def main() -> list[int]:
        first = asyncio.create_task(heard.get())
        tracker = Tracker(HttpEmitter("http://127.0.0.1:9", on_failure=hear))
        await tracker.track(PAGE)
        await asyncio.sleep(0)
        await tracker.aclose(0)
        return [await first, await heard.get()]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(main()) == [1, -1]
    assert threads == [threading.current_thread()]
