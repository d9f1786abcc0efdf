"""Bad input gets the same error from both trackers, at the call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import snowplow_aio
from snowplow_aio import MemoryEmitter, PageView, SelfDescribingJson, sync

PAGE = PageView(page_url="https://shop.example/")
ENTITY = SelfDescribingJson("iglu:com.acme/user/jsonschema/1-0-0", {"id": {1, 2}})

CONSTRUCTIONS: dict[str, dict[str, Any]] = {
    "no emitter": {"emitters": []},
    "no input": {"emitters": 5},
    "a class": {"emitters": MemoryEmitter},
    "a namespace with a colon": {"namespace": "a:b"},
    "a namespace that is no text": {"namespace": 5},
    "a long app id": {"app_id": "x" * 256},
    "a subject that is none": {"subject": "ada"},
    "an unknown platform": {"platform": "toaster"},
    "a flag that is none": {"encode_base64": "yes"},
    "no function": {"json_default": 5},
    "no clock": {"clock": 5},
    "an old name": {"base64": True},
}

CALLS: dict[str, Callable[[Any], Any]] = {
    "no event": lambda tracker: tracker.track(5),
    "no event at all": lambda tracker: tracker.track(),
    "an old argument": lambda tracker: tracker.track(PAGE, event_subject=None),
    "two positions": lambda tracker: tracker.track(PAGE, [ENTITY]),
    "a set in an entity": lambda tracker: tracker.track(PAGE, context=[ENTITY]),
    "context without a list": lambda tracker: tracker.track(PAGE, context=ENTITY),
    "seconds": lambda tracker: tracker.track(PAGE, tstamp=1_700_000_000),
    "an id that is none": lambda tracker: tracker.track(PAGE, event_id="x"),
    "a subject that is none": lambda tracker: tracker.track(PAGE, subject=5),
    "nowait": lambda tracker: tracker.track_nowait(PAGE, tstamp=-1),
    "page view": lambda tracker: tracker.track_page_view(""),
    "page view, old name": lambda tracker: tracker.track_page_view(url="https://shop.example/"),
    "page ping": lambda tracker: tracker.track_page_ping("https://shop.example/", min_x="1"),
    "screen view": lambda tracker: tracker.track_screen_view(5),
    "structured": lambda tracker: tracker.track_struct_event("a", ""),
    "self-describing": lambda tracker: tracker.track_self_describing_event({"schema": "x"}),
    "link click": lambda tracker: tracker.track_link_click("x", element_classes="a"),
    "form change": lambda tracker: tracker.track_form_change("f", "e", "age", "24"),
    "form submit": lambda tracker: tracker.track_form_submit("f", ["c"], {"name": "email"}),
    "search": lambda tracker: tracker.track_site_search("terms"),
    "transaction": lambda tracker: tracker.track_ecommerce_transaction("o-1", "five"),
    "exception": lambda tracker: tracker.track_exception("no exception"),
    "confirm, timeout": lambda tracker: tracker.track_and_confirm(PAGE, timeout=-1),
    "confirm, old name": lambda tracker: tracker.track_and_confirm(PAGE, event_subject=None),
    "flush, below zero": lambda tracker: tracker.flush(-1),
    "flush, text": lambda tracker: tracker.flush("soon"),
    "emitter": lambda tracker: tracker.add_emitter(5),
    "subject": lambda tracker: tracker.set_subject(5),
    "platform": lambda tracker: tracker.set_default_platform("toaster"),
    "global context": lambda tracker: tracker.add_global_context(5),
    "enricher": lambda tracker: tracker.add_enricher(5),
    "rules": lambda tracker: tracker.add_enricher(print, include="no uri"),
    "old method": lambda tracker: tracker.addEmitter(MemoryEmitter()),
    "setter of the subject": lambda tracker: tracker.set_user_id("ada"),
    "no method": lambda tracker: tracker.track_everything(),
}


def said(call: Callable[[], Any]) -> tuple[type[Exception], str]:
    """Return what *call* raises, awaited if it has to be."""

    def finished() -> None:
        if inspect.iscoroutine(result := call()):
            asyncio.run(result)

    # Whatever it is, it is the same of both.
    with pytest.raises(Exception) as raised:  # noqa: PT011
        finished()
    return type(raised.value), str(raised.value)


@pytest.mark.parametrize("given", CONSTRUCTIONS.values(), ids=CONSTRUCTIONS)
def test_both_are_made_with_the_same_care(given: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"emitters": MemoryEmitter(), **given}
    ours = said(lambda: sync.Tracker(**arguments))
    assert ours == said(lambda: snowplow_aio.Tracker(**arguments))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_both_refuse_the_same(call: Callable[[Any], Any]) -> None:
    ours = said(lambda: call(sync.Tracker(MemoryEmitter())))
    assert ours == said(lambda: call(snowplow_aio.Tracker(MemoryEmitter())))


def test_what_is_refused_is_not_counted() -> None:
    tracker = sync.Tracker(MemoryEmitter())
    for call in CALLS.values():
        said(lambda call=call: call(tracker))  # type: ignore[misc] # mypy infers nothing of a default
    assert tracker.stats()["memory"].accepted == 0


OLD = {
    "sync_flush": r"use flush\(\)",
    "async_flush": r"use flush\(wait=False\)",
    "aclose": r"use close\(\)",
    "addEmitter": r"use add_emitter",
    "get_subject": "use the attribute subject",
}


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_old_names_say_what_blocks(old: str, new: str) -> None:
    with pytest.raises(AttributeError, match=new):
        getattr(sync.Tracker(MemoryEmitter()), old)


def test_an_import_from_the_wrong_module_names_the_right_one() -> None:
    with pytest.raises(
        ImportError, match=r"^snowplow_aio\.sync has no 'HttpEmitter': import it from snowplow_aio$"
    ):
        from snowplow_aio.sync import HttpEmitter  # type: ignore[attr-defined] # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'Walrus'"):
        from snowplow_aio.sync import Walrus  # type: ignore[attr-defined] # noqa: F401
