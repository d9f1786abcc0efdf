"""The blocking tracker: every name of the async one, without waiting for a loop of the program."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import aiohttp
import pytest

import snowplow_aio
from snowplow_aio import (
    ConfigurationError,
    ConsoleEmitter,
    DeliveryError,
    Draft,
    FileEmitter,
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    MemoryStore,
    Overflow,
    PageView,
    QueueFullError,
    Retry,
    SelfDescribingJson,
    Subject,
)
from snowplow_aio.abc import BlockingTracker
from snowplow_aio.sync import Tracker, from_async
from tests.collector import Answer, Collector, collector_in_a_thread
from tests.waiting import wait_until

PAGE = PageView(page_url="https://shop.example/")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collector_in_a_thread() as running:
        yield running


def names_of(kind: type[object]) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_it_has_every_name_of_the_async_tracker() -> None:
    assert names_of(Tracker) == names_of(snowplow_aio.Tracker) - {"aclose"} | {"close"}


def test_it_is_a_blocking_tracker_and_the_async_one_is_none() -> None:
    assert isinstance(Tracker(MemoryEmitter()), BlockingTracker)
    assert not isinstance(snowplow_aio.Tracker(MemoryEmitter()), BlockingTracker)
    assert not isinstance(Tracker(MemoryEmitter()), snowplow_aio.Tracker)


@pytest.mark.parametrize("name", sorted(name for name in names_of(Tracker) if name.startswith("track")))
def test_frameworks_see_a_plain_function(name: str) -> None:
    assert not inspect.iscoroutinefunction(getattr(Tracker, name))
    is_awaited = name != "track_nowait"
    assert inspect.iscoroutinefunction(getattr(snowplow_aio.Tracker, name)) == is_awaited


def test_events_arrive_in_their_order(collector: Collector) -> None:
    with Tracker(HttpEmitter(collector.url), namespace="cf", app_id="shop") as tracker:
        first = tracker.track(PAGE)
        same = tracker.track_page_view("https://shop.example/cart").track_screen_view("title")
        last = tracker.track_nowait(PAGE)
        assert same is tracker
        assert (tracker.namespace, tracker.app_id) == ("cf", "shop")
    sent = collector.requests[0].event_ids
    assert (len(sent), sent[0], sent[-1]) == (4, first, last)
    assert "closed" in str(tracker.health())


def test_flush_waits_or_does_not(collector: Collector) -> None:
    with Tracker(HttpEmitter(collector.url, flush_interval=60)) as tracker:
        tracker.track(PAGE)
        assert tracker.flush(timeout=30).delivered == 1
        tracker.track(PAGE)
        tracker.flush(False)
        wait_until(lambda: tracker.stats()["http"].delivered == 2)
        tracker.track(PAGE)
        tracker.flush(wait=False)
        assert tracker.flush(True).pending == 0
    assert tracker.close() == tracker.close()


def test_a_confirmed_event_has_arrived(collector: Collector) -> None:
    with Tracker(HttpEmitter(collector.url, retry=Retry.never())) as tracker:
        event_id = tracker.track_and_confirm(PAGE, timeout=30)
        assert event_id in collector.accepted
        collector.answer_next(Answer(400))
        with pytest.raises(DeliveryError, match="was not delivered by http"):
            tracker.track_and_confirm(PAGE, timeout=30)


def test_what_is_never_settled_is_not_waited_for() -> None:
    with Tracker(HttpEmitter("http://127.0.0.1:9", drain_timeout=0, hooks=[])) as tracker:
        with pytest.raises(TimeoutError, match="not delivered within"):
            tracker.track_and_confirm(PAGE, timeout=0.05)
        assert tracker.flush(timeout=0.05).pending == 1
        assert tracker.close().dropped == 1


def test_after_close_an_event_is_counted_and_dropped(collector: Collector) -> None:
    tracker = Tracker(HttpEmitter(collector.url, name="after close"))
    tracker.close()
    tracker.track(PAGE)
    assert tracker.stats()["after close"].dropped == {"closed": 1}


# --- subjects, contexts and enrichers

_current: ContextVar[str] = ContextVar("current")


def test_coroutine_functions_run_in_the_thread_and_see_the_caller(collector: Collector) -> None:
    async def user(_draft: Draft) -> SelfDescribingJson:
        await asyncio.sleep(0)
        return SelfDescribingJson("iglu:com.acme/user/jsonschema/1-0-0", {"id": _current.get()})

    async def named(draft: Draft) -> Draft:
        await asyncio.sleep(0)
        return draft.replace(subject=Subject(user_id=threading.current_thread().name))

    with Tracker(HttpEmitter(collector.url), encode_base64=False) as tracker:
        tracker.add_global_context(user).add_enricher(named)
        _current.set("u-1")
        tracker.track(PAGE)
        tracker.set_subject(None).track_page_view("https://shop.example/")
    events = collector.requests[0].events
    assert [event["uid"] for event in events] == ["snowplow_aio portal"] * 2
    assert all('"id":"u-1"' in event["co"] for event in events)


def test_a_function_that_never_answers_costs_a_second_and_not_the_event(collector: Collector) -> None:
    async def never(_draft: Draft) -> None:
        await asyncio.Event().wait()

    with Tracker(HttpEmitter(collector.url)) as tracker:
        tracker.add_global_context(never).track(PAGE)
        assert sum(tracker.enrichment_stats().faults.values()) == 1
        assert tracker.flush(timeout=30).delivered == 1


# --- emitters of all kinds


class Custom:
    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    async def input(self, payload: Mapping[str, str]) -> None:
        await asyncio.sleep(0)
        self.taken.append((payload["e"], threading.current_thread().name))


class Plain:
    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []

    def input(self, payload: Mapping[str, str]) -> None:
        self.taken.append((payload["e"], threading.current_thread().name))


def test_custom_emitters_are_called_where_they_can_run() -> None:
    custom, plain = Custom(), Plain()
    with Tracker([custom, plain]) as tracker:
        tracker.track(PAGE)
        tracker.track_nowait(PAGE)
        assert tracker.track_and_confirm(PAGE)
        tracker.flush(timeout=30)
        assert [stats.delivered for stats in tracker.stats().values()] == [3, 3]
    assert custom.taken == [("pv", "snowplow_aio portal")] * 3
    assert [kind for kind, _ in plain.taken] == ["pv"] * 3
    assert plain.taken[0] == ("pv", threading.current_thread().name)


class Ending:
    """Ends the tasks of the loop that calls it, as a loop that is closed does."""

    async def input(self, _payload: Mapping[str, str]) -> None:
        for task in asyncio.all_tasks():
            task.cancel()


def test_a_loop_that_ends_its_tasks_never_makes_tracking_raise() -> None:
    tracker = Tracker(Ending())
    tracker.track(PAGE)
    tracker.close(timeout=30)
    (stats,) = tracker.stats().values()
    assert stats.accepted == stats.delivered + sum(stats.dropped.values()) >= 1


def test_the_other_emitters_work_as_well(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kept = MemoryEmitter()
    with Tracker([kept, ConsoleEmitter(), FileEmitter(tmp_path / "events")]) as tracker:
        tracker.track(PAGE)
    assert len(kept.payloads) == 1
    assert "shop.example" in capsys.readouterr().out
    assert "shop.example" in (tmp_path / "events").read_text()


def test_a_session_of_a_loop_is_refused() -> None:
    async def make() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ConfigurationError, match="session: must be None"):
                Tracker(HttpEmitter("http://127.0.0.1:9", session=session))

    asyncio.run(make())


def test_a_callback_gives_events_back_without_await(collector: Collector) -> None:
    def on_failure(_count: int, unsent: Sequence[Mapping[str, str]]) -> None:
        for event in unsent:
            emitter.input(event)  # type: ignore[unused-coroutine]

    emitter = HttpEmitter(collector.url, retry=Retry.never(), on_failure=on_failure)
    collector.answer_next(503)
    with Tracker(emitter) as tracker:
        tracker.track(PAGE)
        wait_until(lambda: collector.accepted.total() == 1)


# --- room


def test_a_tight_loop_drops_nothing(collector: Collector) -> None:
    store = MemoryStore(capacity=200)
    with Tracker(HttpEmitter(collector.url, store=store)) as tracker:
        for _ in range(2000):
            tracker.track(PAGE)
        assert tracker.flush(timeout=30).delivered == 2000


@pytest.mark.parametrize("threads", [1, 4])
def test_who_waits_for_room_gets_it(threads: int, collector: Collector) -> None:
    store = MemoryStore(capacity=10, overflow=Overflow.WAIT)
    with Tracker(HttpEmitter(collector.url, store=store, batch_size=5)) as tracker:

        def work() -> None:
            for _ in range(200 // threads):
                tracker.track(PAGE)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        result = tracker.flush(timeout=30)
    assert (result.delivered, result.dropped) == (200, 0)


def test_a_full_store_raises_or_gives_up_in_time() -> None:
    full = MemoryStore(capacity=1, overflow=Overflow.RAISE)
    late = MemoryStore(capacity=1, overflow=Overflow.WAIT, wait_timeout=0.05)
    for store in (full, late):
        tracker = Tracker(HttpEmitter("http://127.0.0.1:9", store=store, drain_timeout=0, name="full"))
        tracker.track(PAGE)
        if store is full:
            with pytest.raises(QueueFullError):
                tracker.track(PAGE)
        else:
            tracker.track(PAGE)
            assert tracker.stats()["full"].dropped == {"queue_full": 1}
        tracker.close()


# --- calls that could never end


def test_a_hook_cannot_wait_for_itself_and_hands_over_all_the_same(collector: Collector) -> None:
    raised: list[str] = []

    def on_success(_count: int) -> None:
        if not raised:
            for call in (tracker.flush, tracker.close, lambda: tracker.track_and_confirm(PAGE)):
                try:
                    call()
                except ConfigurationError as error:
                    raised.append(str(error))
            tracker.track(PAGE)
            tracker.flush(False)

    with Tracker(HttpEmitter(collector.url, on_success=on_success)) as tracker:
        tracker.track(PAGE)
        tracker.flush(timeout=30)
        wait_until(lambda: collector.accepted.total() == 2)
    assert [text.split(":")[0] for text in raised] == ["flush", "close", "track_and_confirm"]
    assert all("would wait for the loop in which it is called" in text for text in raised)


# --- a face of an async tracker


def test_a_face_delivers_in_the_loop_of_its_tracker(collector: Collector) -> None:
    async def main() -> None:
        async with snowplow_aio.Tracker(HttpEmitter(collector.url)) as tracker:
            face = from_async(tracker)
            face.track(PAGE)
            for call, instead in ((face.flush, "flush"), (face.close, "aclose")):
                with pytest.raises(ConfigurationError, match=rf"await tracker\.{instead}\(\)"):
                    call()
            result = await asyncio.to_thread(face.flush, 30)
            assert result.delivered == 1
            assert await asyncio.to_thread(face.track_and_confirm, PAGE)
            await asyncio.to_thread(face.close)
            await tracker.track_and_confirm(PAGE)
            assert "snowplow_aio portal" not in {thread.name for thread in threading.enumerate()}

    asyncio.run(main())
    assert collector.accepted.total() == 3


def test_a_face_delivers_in_the_thread_where_its_tracker_has_no_loop(collector: Collector) -> None:
    tracker = snowplow_aio.Tracker(HttpEmitter(collector.url))
    with from_async(tracker) as face:
        face.track(PAGE)
        face.track_nowait(PAGE)
        assert face.flush(timeout=30).delivered == 2
    assert asyncio.run(tracker.aclose()).dropped == 0
    assert collector.accepted.total() == 2


# --- bad input


def test_bad_input_is_refused_at_the_call() -> None:
    tracker = Tracker(MemoryEmitter())
    with pytest.raises(InvalidEventError, match="event"):
        tracker.track(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="use subject"):
        tracker.track(PAGE, event_subject=Subject())  # type: ignore[arg-type]
    for call in (tracker.flush, tracker.close):
        with pytest.raises(ConfigurationError, match="timeout: must be seconds"):
            call(-1)
    with pytest.raises(ConfigurationError, match="tracker"):
        from_async(tracker)  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match=r"use close\(\)"):
        tracker.aclose()  # type: ignore[attr-defined]


def test_async_with_says_that_this_tracker_blocks() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="use 'with Tracker"):
            async with Tracker(MemoryEmitter()):  # type: ignore[attr-defined]
                pass

    asyncio.run(main())
