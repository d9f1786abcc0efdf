"""What `track` returns, and what a tracker adds to events."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from snowplow_aio import (
    ConfigurationError,
    InvalidEventError,
    MemoryEmitter,
    PageView,
    ScreenView,
    Subject,
    Tracker,
    __version__,
    use_subject,
)

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")


@pytest.fixture
def kept() -> MemoryEmitter:
    return MemoryEmitter()


def ids(kept: MemoryEmitter) -> list[str]:
    return [payload["eid"] for payload in kept.payloads]


async def test_awaiting_a_tracked_event_gives_its_id(kept: MemoryEmitter) -> None:
    assert [await Tracker(kept).track(PAGE)] == ids(kept)


async def test_an_event_reaches_no_emitter_before_it_is_awaited(kept: MemoryEmitter) -> None:
    tracking = Tracker(kept).track(PAGE)
    assert ids(kept) == []
    await tracking
    assert len(ids(kept)) == 1


async def test_calls_chain_in_order_and_give_the_last_id(kept: MemoryEmitter) -> None:
    last = await Tracker(kept).track_page_view("https://shop.example/").track_screen_view("end").track(PAGE)
    assert [payload["e"] for payload in kept.payloads] == ["pv", "ue", "pv"]
    assert last == ids(kept)[-1]


async def test_whatever_takes_a_coroutine_takes_a_tracked_event(kept: MemoryEmitter) -> None:
    tracker = Tracker(kept)
    given = [await asyncio.create_task(tracker.track(PAGE)), await asyncio.wait_for(tracker.track(PAGE), 30)]
    given += await asyncio.gather(tracker.track(PAGE), tracker.track(PAGE))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(tracker.track(PAGE)) for _ in range(3)]
    assert given + [task.result() for task in tasks] == ids(kept)


async def test_an_event_that_is_never_awaited_warns_as_a_coroutine_does(kept: MemoryEmitter) -> None:
    # What other tests have left warns before.
    gc.collect()
    with pytest.warns(RuntimeWarning, match="coroutine 'Tracker.track' was never awaited"):
        forget(Tracker(kept))
    assert ids(kept) == []


def forget(tracker: Tracker) -> None:
    tracking: Any = tracker.track(PAGE)
    tracking.track(PAGE)
    gc.collect()


async def test_an_event_is_awaited_once(kept: MemoryEmitter) -> None:
    tracking: Any = Tracker(kept).track(PAGE)
    await tracking
    with pytest.raises(RuntimeError, match="already awaited"):
        await tracking
    with pytest.raises(RuntimeError, match="begin again with the tracker"):
        tracking.track(PAGE)
    assert len(ids(kept)) == 1


async def test_a_wrong_event_raises_at_the_call(kept: MemoryEmitter) -> None:
    with pytest.raises(InvalidEventError, match="event: must be an event"):
        Tracker(kept).track({"e": "pv"})  # type: ignore[arg-type, unused-coroutine]
    assert ids(kept) == []


async def test_a_later_change_of_the_subject_reaches_no_tracked_event(kept: MemoryEmitter) -> None:
    tracker = Tracker(kept, subject=Subject(user_id="first"))
    first = tracker.track(PAGE)
    tracker.subject.set_user_id("second")
    second = tracker.track(PAGE)
    third = tracker.set_subject(Subject(user_id="third")).track(PAGE)
    await asyncio.gather(first, second, third)
    assert [payload["uid"] for payload in kept.payloads] == ["first", "second", "third"]


async def test_every_event_carries_what_the_tracker_knows(kept: MemoryEmitter) -> None:
    tracker = Tracker(
        kept,
        namespace="cf",
        app_id="shop",
        platform="srv",
        clock=lambda: 1_700_000_000_123_999_999,
        new_id=lambda: "5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6",
    )
    await tracker.track(PAGE)
    assert dict(kept.payloads[0]) == {
        "e": "pv",
        "url": "https://shop.example/",
        "eid": "5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6",
        "dtm": "1700000000123",
        "tv": f"pyaio-{__version__}",
        "tna": "cf",
        "aid": "shop",
        "p": "srv",
    }


async def test_one_event_goes_to_every_emitter_with_the_same_bytes(kept: MemoryEmitter) -> None:
    other = MemoryEmitter()
    await Tracker([kept]).add_emitter(other).track(ScreenView(name="end"))
    assert kept.payloads[0] is other.payloads[0]


async def test_trackers_without_a_subject_do_not_share_one() -> None:
    first, second = Tracker(MemoryEmitter()), Tracker(MemoryEmitter())
    first.subject.set_user_id("u")
    assert second.subject.user_id is None


@pytest.mark.parametrize(
    "emitters", [[], (), None, MemoryEmitter, object()], ids=["list", "tuple", "None", "class", "object"]
)
def test_a_tracker_needs_an_emitter(emitters: Any) -> None:
    with pytest.raises(ConfigurationError, match="emitters: must be an emitter"):
        Tracker(emitters)


def test_importing_adds_no_handler_and_sets_no_level() -> None:
    log = logging.getLogger("snowplow_aio")
    assert (log.handlers, log.level) == ([], logging.NOTSET)


async def test_a_thousand_tasks_with_subjects_of_their_own_never_mix(kept: MemoryEmitter) -> None:
    """Two trackers' subjects, and one bound in each task: no field crosses over."""
    trackers = [Tracker(kept, subject=Subject(lang=lang)) for lang in ("en", "de")]

    async def visit(number: int) -> None:
        tracker, lang = trackers[number % 2], ("en", "de")[number % 2]
        page = PageView(page_url=f"https://shop.example/{number}", page_title=lang)
        with use_subject(user_id=f"u{number}", timezone=f"z{number}"):
            await asyncio.sleep(0)
            await tracker.track(page)
            await asyncio.sleep(0)
            await tracker.track(page, subject=Subject(domain_user_id=f"d{number}"))

    await asyncio.gather(*(visit(number) for number in range(1000)))
    assert len(kept.payloads) == 2000
    for event in map(dict, kept.payloads):
        number = event["url"].rpartition("/")[2]
        assert (event["uid"], event["tz"], event["lang"]) == (f"u{number}", f"z{number}", event["page"])
        assert event.get("duid", f"d{number}") == f"d{number}"
