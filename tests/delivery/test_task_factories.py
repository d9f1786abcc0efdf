"""Instrumentation sets task factories; the delivery works with every kind of them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from snowplow_aio import Delivered, HttpEmitter, MemoryStore, Overflow, PageView, Retry, Tracker
from snowplow_aio.outcomes import Outcome
from tests.collector import Answer, Collector

# On Python 3.11 aiohttp closes a session in a task; where that is cancelled before it begins, Python warns.
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("time_to_end")]

PAGE = PageView(page_url="https://shop.example/")


def wrapping(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    """Start the coroutine inside of another one, as Sentry does."""

    async def traced() -> Any:
        return await coroutine

    wrapper: Any = traced()
    # So that the tests find our tasks.
    wrapper.__qualname__ = getattr(coroutine, "__qualname__", "")
    return asyncio.Task(wrapper, loop=loop, **options)


def without_context(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]
) -> asyncio.Task[Any]:
    """Know nothing of contexts, as factories from before Python 3.11."""
    return asyncio.Task(coroutine, loop=loop)


def plain(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any],
    context: contextvars.Context | None = None,
) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, context=context)


FACTORIES: list[Any] = [plain, wrapping, without_context]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__, autouse=True)
async def factory(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Callable[..., Any]]:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(request.param)
    yield request.param
    loop.set_task_factory(None)


async def test_events_arrive_and_nothing_is_said(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Outcome] = []

    async def tell(outcome: Outcome) -> None:
        await asyncio.sleep(0)
        told.append(outcome)

    # At once, by a timer, and many at a time.
    async with Tracker(HttpEmitter(collector.url, hooks=[tell], flush_interval=0.01)) as tracker:
        await tracker.track(PAGE)
        await tracker.flush()
        await tracker.track(PAGE)
        await collector.requested(2)
        for _ in range(1_000):
            tracker.track_nowait(PAGE)
        assert (await tracker.flush()).pending == 0
        await tracker.track(PAGE)
    assert (collector.accepted.total(), max(collector.accepted.values())) == (1_003, 1)
    assert sum(len(outcome.payloads) for outcome in told if isinstance(outcome, Delivered)) == 1_003
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert tracker.stats()["http"].restarts == 0


async def test_failures_are_repeated_one_probe_at_a_time(collector: Collector) -> None:
    collector.answer_next(503, 404, 404, 200, 400)
    retry = Retry(initial_delay=0.01, max_delay=0.01)
    emitter = HttpEmitter(collector.url, retry=retry, batch_size=1, max_batch=1, max_connections=4)
    async with Tracker(emitter) as tracker:
        for _ in range(10):
            await tracker.track(PAGE)
        result = await tracker.flush()
    assert (result.delivered, result.rejected, result.pending) == (9, 1, 0)


async def test_a_hook_may_track_flush_and_close(collector: Collector) -> None:
    trackers: list[Tracker] = []

    async def hook(outcome: Outcome) -> None:
        if isinstance(outcome, Delivered) and len(collector.requests) == 1:
            await trackers[0].track(PAGE)
            await trackers[0].flush()
            await trackers[0].aclose()

    def plain_hook(outcome: Outcome) -> None:
        if isinstance(outcome, Delivered) and len(collector.requests) == 1:
            trackers[0].track_nowait(PAGE)

    emitter = HttpEmitter(collector.url, hooks=[plain_hook, hook], drain_timeout=60)
    trackers.append(tracker := Tracker(emitter))
    await tracker.track(PAGE)
    await tracker.flush()
    await tracker.aclose()
    assert tracker.stats()["http"].delivered == 3


async def test_whoever_waits_for_room_gets_it(collector: Collector) -> None:
    store = MemoryStore(capacity=5, overflow=Overflow.WAIT)
    async with Tracker(HttpEmitter(collector.url, store=store, flush_interval=0.01)) as tracker:
        await asyncio.gather(*(tracker.track(PAGE) for _ in range(50)))
    assert tracker.stats()["http"].delivered == 50


@pytest.mark.parametrize("turns", range(1, 5))
async def test_a_close_that_is_cancelled_at_once_counts_everything(collector: Collector, turns: int) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    emitter = HttpEmitter(collector.url)
    for _ in range(5):
        await emitter.input({"e": "pv", "p": "web", "tv": "t"})
    closing = asyncio.create_task(emitter.aclose(60))
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    stats = emitter.stats()
    assert (stats.pending, stats.leased, dict(stats.dropped), stats.state) == (0, 0, {"closed": 5}, "closed")


@pytest.mark.parametrize("turns", range(4))
async def test_whoever_cancels_everything_else_ends_no_delivery_and_no_close(
    collector: Collector, turns: int
) -> None:
    """Also tasks that have not made their first step."""
    emitter = HttpEmitter(collector.url, flush_interval=0.01)
    await emitter.input({"e": "pv", "p": "web", "tv": "t", "eid": "1"})
    for _ in range(turns):
        await asyncio.sleep(0)
    cancel_others()
    await collector.requested(1)
    await emitter.input({"e": "pv", "p": "web", "tv": "t", "eid": "2"})
    closing = asyncio.ensure_future(emitter.aclose())
    for _ in range(turns + 1):
        await asyncio.sleep(0)
    cancel_others(closing)
    assert (await closing).pending == 0
    stats = emitter.stats()
    assert (stats.delivered + sum(stats.dropped.values()), stats.pending, stats.leased) == (2, 0, 0)


def cancel_others(*spared: asyncio.Future[Any]) -> None:
    """Cancel what the library has started."""
    for task in asyncio.all_tasks() - {asyncio.current_task()} - set(spared):
        if any(name in repr(task) for name in ("Supervisor.", "DeliveryLoop.", "BufferedEmitter.")):
            task.cancel()


request_of: contextvars.ContextVar[str] = contextvars.ContextVar("request_of")


async def test_no_task_has_the_context_of_its_starter(collector: Collector) -> None:
    seen: list[str | None] = []

    async def hook(_outcome: Outcome) -> None:
        seen.append(request_of.get(None))

    hooks = [hook, lambda _outcome: seen.append(request_of.get(None))]
    async with Tracker(HttpEmitter(collector.url, hooks=hooks)) as tracker:
        token = request_of.set("a request")
        await tracker.track(PAGE)
        request_of.reset(token)
    assert seen == [None, None]


async def test_a_delivery_that_begins_in_a_request_does_not_belong_to_its_task(
    collector: Collector, factory: Callable[..., Any]
) -> None:
    loop = asyncio.get_running_loop()
    makers: list[asyncio.Task[Any] | None] = []

    def named_after_the_current_task(*arguments: Any, **options: Any) -> asyncio.Task[Any]:
        """Note whose child each task is, as New Relic does."""
        makers.append(asyncio.current_task(loop))
        task: asyncio.Task[Any] = factory(*arguments, **options)
        return task

    tracker = Tracker(HttpEmitter(collector.url, flush_interval=0.01))

    async def request() -> None:
        await tracker.track(PAGE)
        await collector.requested(1)

    of_request = asyncio.Task(request(), loop=loop)
    loop.set_task_factory(named_after_the_current_task)
    await of_request
    await tracker.aclose()
    assert len(collector.accepted) == 1
    assert makers
    assert of_request not in makers
