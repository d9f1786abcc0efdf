"""
Every example in the manual of the synchronous tracker 0.8.0, and what arrives of it.

In their order there, with ``await`` and the names of this library. Those that
contradict the manual's own tables are refused, and work once they are corrected.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from snowplow_aio import (
    ConfigurationError,
    DeviceTimestamp,
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    Retry,
    SelfDescribing,
    SelfDescribingJson,
    Subject,
    Tracker,
    TrueTimestamp,
    disable_validation,
    enable_validation,
)
from snowplow_aio.micro import Micro
from snowplow_aio.tracking.track_methods import Timestamp, TrackCall
from tests.model.sent import NOW, read, read_base64, tracker_and_emitter

pytestmark = pytest.mark.anyio

Fields = dict[str, Any]
Setter = Callable[[Subject], Subject]
Call = Callable[[Tracker], TrackCall]

PAGE = "http://www.example.com"
VIEW = {"e": "pv", "url": PAGE}
NETWORK = "ecdff4d0-9175-40ac-a8bb-325c49733607"
FIREFOX = "Mozilla/5.0 (Windows NT 5.1; rv:23.0) Gecko/20100101 Firefox/23.0"


def told(kept: MemoryEmitter) -> list[Fields]:
    """Return the fields of each event, self-describing data decoded, without what every event has."""
    return [
        {
            key: read_base64(value)["data"] if key in {"ue_px", "cx"} else value
            for key, value in payload.items()
            if key not in {"eid", "dtm", "tv", "p"}
        }
        for payload in kept.payloads
    ]


def ours(name: str, version: str = "1-0-0", /, **data: Any) -> Fields:
    """Return the fields of a self-describing event of Snowplow's own."""
    uri = f"iglu:com.snowplowanalytics.snowplow/{name}/jsonschema/{version}"
    return {"e": "ue", "ue_px": {"schema": uri, "data": data}}


def tracker_to(collector: Micro, **options: Any) -> Tracker:
    """Return a tracker that sends to *collector*, by an emitter with *options*."""
    return Tracker(HttpEmitter(collector.url, **options), namespace="cf", app_id="cf29ea")


def arrived(collector: Micro, field: str = "page_url") -> list[str]:
    """Return *field* of the events that *collector* has, all of them good, in order."""
    assert collector.bad == []
    return [good["event"][field] for good in collector.good]


# --- 2 Initialization


async def test_a_tracker_needs_an_emitter_and_nothing_else() -> None:
    tracker, kept = tracker_and_emitter()
    await tracker.track_page_view(PAGE)
    assert kept.payloads[0].keys() == {"e", "url", "eid", "dtm", "tv", "p"}
    assert kept.payloads[0]["p"] == "pc"


async def test_namespace_app_id_encoding_and_subject_are_the_trackers() -> None:
    who = Subject(user_id="alexd")
    tracker, kept = tracker_and_emitter(namespace="cf", app_id="cf29ea", encode_base64=False, subject=who)
    await tracker.track_screen_view("title screen")
    (fields,) = told(kept)
    event = read(fields.pop("ue_pr"))["data"]
    assert fields == {"e": "ue", "tna": "cf", "aid": "cf29ea", "uid": "alexd"}
    assert event == ours("screen_view", name="title screen")["ue_px"]


# --- 3 Subject

SETTERS: dict[str, tuple[Setter, Fields]] = {
    "chained": (lambda s: s.set_platform("mob").set_user_id("user-12345"), {"p": "mob", "uid": "user-12345"}),
    "platform": (lambda s: s.set_platform("tv"), {"p": "tv"}),
    "user": (lambda s: s.set_user_id("alexd"), {"uid": "alexd"}),
    "screen": (lambda s: s.set_screen_resolution(1366, 768), {"res": "1366x768"}),
    "viewport": (lambda s: s.set_viewport(300, 200), {"vp": "300x200"}),
    "color depth": (lambda s: s.set_color_depth(32), {"cd": "32"}),
    "time zone": (lambda s: s.set_timezone("Europe/London"), {"tz": "Europe/London"}),
    "language": (lambda s: s.set_lang("en"), {"lang": "en"}),
    "address": (lambda s: s.set_ip_address("34.633.11.139"), {"ip": "34.633.11.139"}),
    "browser": (lambda s: s.set_useragent(FIREFOX), {"ua": FIREFOX}),
    "domain user": (lambda s: s.set_domain_user_id("c7aadf5c60a5dff9"), {"duid": "c7aadf5c60a5dff9"}),
    "network user": (lambda s: s.set_network_user_id(NETWORK), {"tnuid": NETWORK}),
}


@pytest.mark.parametrize(("setter", "fields"), SETTERS.values(), ids=SETTERS.keys())
async def test_what_a_setter_sets_is_in_every_event(setter: Setter, fields: Fields) -> None:
    tracker, kept = tracker_and_emitter()
    assert setter(tracker.subject) is tracker.subject
    await tracker.track_page_view(PAGE).track_page_view(PAGE)
    assert [fields.items() <= payload.items() for payload in kept.payloads] == [True, True]


def test_setters_are_the_subjects_and_not_the_trackers() -> None:
    for setter in ("set_ip_address", "set_useragent", "set_domain_user_id", "set_network_user_id"):
        assert hasattr(Subject, setter)
        assert not hasattr(Tracker, setter)


async def test_the_ids_in_a_visitors_cookies_are_read_by_the_library() -> None:
    session = "5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6"
    visit = f"c7aadf5c60a5dff9.1380000000.4.1380000500.1380000100.{session}"
    subject = Subject.from_cookies({"_sp_id.1fff": visit, "sp": NETWORK, "other": "x"})
    tracker, kept = tracker_and_emitter(subject=subject)
    await tracker.track_page_view(PAGE)
    assert told(kept) == [{**VIEW, "duid": "c7aadf5c60a5dff9", "vid": "4", "sid": session, "tnuid": NETWORK}]
    renamed = Subject.from_cookies({"_acme_id.1fff": visit}, prefix="_acme_")
    assert renamed.domain_user_id == "c7aadf5c60a5dff9"


async def test_two_subjects_take_turns() -> None:
    tracker, kept = tracker_and_emitter(namespace="cf", app_id="CF63A")
    s1, s2 = Subject(), Subject()
    s1.set_platform("pc").set_user_id("0a78f2867de")
    s2.set_platform("mob").set_user_id("0b08f8be3f1")
    tracker.set_subject(s1)
    await tracker.track_page_view(PAGE)
    tracker.set_subject(s2)
    await tracker.track_page_view(PAGE)
    tracked = ("Ecomm", "add-to-basket", "dog-skateboarding-video", "hd", 13.99)
    await tracker.set_subject(s1).track_struct_event(*tracked)
    named = {"tna": "cf", "aid": "CF63A"}
    action = {"e": "se", "se_ca": "Ecomm", "se_ac": "add-to-basket", "se_la": "dog-skateboarding-video"}
    assert told(kept) == [
        {**VIEW, "uid": "0a78f2867de", **named},
        {**VIEW, "uid": "0b08f8be3f1", **named},
        {**action, "se_pr": "hd", "se_va": "13.99", "uid": "0a78f2867de", **named},
    ]
    assert [payload["p"] for payload in kept.payloads] == ["pc", "mob", "pc"]


# --- 4.1 Contexts, timestamps, chaining

POSTER = SelfDescribingJson(
    "iglu:com.acme_company/movie_poster/jsonschema/2-1-1",
    {"movie_name": "Solaris", "poster_country": "JP", "poster_year": "1978-01-01"},
)
GEO = SelfDescribingJson(
    "iglu:com.snowplowanalytics.snowplow/geolocation_context/jsonschema/1-0-0",
    {"latitude": -23.2, "longitude": 43.0},
)


async def test_a_page_view_carries_its_contexts_in_order() -> None:
    tracker, kept = tracker_and_emitter()
    await tracker.track_page_view("http://www.films.com", "Homepage", context=[POSTER, GEO])
    contexts = read(json.dumps([POSTER.to_json(), GEO.to_json()]))
    assert told(kept) == [{"e": "pv", "url": "http://www.films.com", "page": "Homepage", "cx": contexts}]


async def test_contexts_are_a_list_and_an_empty_one_is_none_at_all() -> None:
    tracker, kept = tracker_and_emitter()
    await tracker.track_page_view(PAGE, context=[]).track_page_view(PAGE, context=None)
    with pytest.raises(InvalidEventError, match=r"^context: must be a list of entities, or None, got Self"):
        await tracker.track_page_view(PAGE, context=GEO)  # type: ignore[arg-type]
    assert told(kept) == [VIEW, VIEW]


TSTAMPS: list[tuple[Timestamp, Fields]] = [
    (1368725287000, {"dtm": "1368725287000"}),
    (1368725287000.25, {"dtm": "1368725287000"}),
    (DeviceTimestamp(1368725287000), {"dtm": "1368725287000"}),
    (TrueTimestamp(1368725287000), {"ttm": "1368725287000"}),
    (None, {"dtm": str(NOW)}),
]


@pytest.mark.parametrize(("tstamp", "fields"), TSTAMPS, ids=["int", "float", "device", "true", "None"])
async def test_a_timestamp_is_the_devices_or_a_true_one(tstamp: Timestamp, fields: Fields) -> None:
    tracker, kept = tracker_and_emitter()
    await tracker.track_struct_event("some cat", "save action", tstamp=tstamp)
    assert {key: value for key, value in kept.payloads[0].items() if key in {"dtm", "ttm"}} == fields


async def test_a_timestamp_in_the_place_of_the_context_is_refused() -> None:
    tracker, kept = tracker_and_emitter()
    example: Any = ["some cat", "save action", None, None, None, 1368725287000]
    with pytest.raises(InvalidEventError, match=r"^context: must be a list of entities.*got 1368725287000"):
        await tracker.track_struct_event(*example)
    await tracker.track_struct_event("some cat", "save action", None, None, None, None, 1368725287000)
    assert [payload["dtm"] for payload in kept.payloads] == ["1368725287000"]


async def test_tracking_methods_chain() -> None:
    tracker, kept = tracker_and_emitter()
    last = await tracker.track_page_view(PAGE).track_screen_view("title screen")
    assert told(kept) == [VIEW, ours("screen_view", name="title screen")]
    assert kept.payloads[-1]["eid"] == last


# --- 4.2 to 4.15, one tracking method after the other


class SaveGame(SelfDescribing, schema="iglu:com.example_company/save-game/jsonschema/1-0-2"):
    save_id: str
    level: int
    difficultyLevel: str  # noqa: N815 - as in its schema
    dl_content: bool


GAME = SelfDescribingJson(
    SaveGame.schema_uri, {"save_id": "4321", "level": 23, "difficultyLevel": "HARD", "dl_content": True}
)
DANCE: tuple[str, str, float, str] = ("The Devil's Dance", "Books", 23.99, "USD")
DANCED = {"name": DANCE[0], "category": DANCE[1], "unitPrice": read("23.99"), "currency": DANCE[3]}
LINK = ("http://my-target-url2/path", "element id 2", None, "element target", "element content")
LINKED = {"targetUrl": LINK[0], "elementId": LINK[1], "elementTarget": LINK[3], "elementContent": LINK[4]}
SNOWPLOW = ["analytics", "snowplow", "tracker"]
AGED = {"formId": "signupForm", "elementId": "ageInput", "nodeName": "INPUT", "value": "24"}
EMAIL = {"name": "email", "value": "alexd@example.com", "nodeName": "INPUT", "type": "email"}
SIGNED_UP = {"formId": "signupForm", "formClasses": ["signup__warning"], "elements": [EMAIL]}

EXAMPLES: dict[str, tuple[Call, Fields]] = {
    "self-describing": (lambda t: t.track_self_describing_event(GAME), {"e": "ue", "ue_px": GAME.to_json()}),
    "unstructured": (lambda t: t.track_unstruct_event(GAME), {"e": "ue", "ue_px": GAME.to_json()}),
    "page view": (
        lambda t: t.track_page_view("www.example.com", "example", "www.referrer.com"),
        {"e": "pv", "url": "www.example.com", "page": "example", "refr": "www.referrer.com"}),
    "page ping": (
        lambda t: t.track_page_ping("http://test2", "Page title 2", "http://my.com", 0, 100, 0, 500, None),
        {"e": "pp", "url": "http://test2", "page": "Page title 2", "refr": "http://my.com"}
        | {"pp_mix": "0", "pp_max": "100", "pp_miy": "0", "pp_may": "500"}),
    "screen view": (
        lambda t: t.track_screen_view("HUD > Save Game", "screen23", None, 1368725287000),
        ours("screen_view", name="HUD > Save Game", id="screen23")),
    "transaction item": (
        lambda t: t.track_ecommerce_transaction_item("order-789", "2001", 49.99, 1, "Shoes", "clothing"),
        {"e": "ti", "ti_id": "order-789", "ti_sk": "2001", "ti_pr": "49.99", "ti_qu": "1"}
        | {"ti_nm": "Shoes", "ti_ca": "clothing"}),
    "structured": (
        lambda t: t.track_struct_event("shop", "add-to-basket", None, "pcs", 2),
        {"e": "se", "se_ca": "shop", "se_ac": "add-to-basket", "se_pr": "pcs", "se_va": "2"}),
    "link, basic": (
        lambda t: t.track_link_click("http://my-target-url2/path"),
        ours("link_click", "1-0-1", targetUrl="http://my-target-url2/path")),
    "link, advanced": (lambda t: t.track_link_click(*LINK), ours("link_click", "1-0-1", **LINKED)),
    "in": (
        lambda t: t.track_add_to_cart("123", 2, *DANCE, None),
        ours("add_to_cart", sku="123", quantity=2, **DANCED)),
    "out, basic": (lambda t: t.track_remove_from_cart("1", 1), ours("remove_from_cart", sku="1", quantity=1)),
    "out, advanced": (
        lambda t: t.track_remove_from_cart("123", 2, *DANCE),
        ours("remove_from_cart", sku="123", quantity=2, **DANCED)),
    "form change, basic, corrected": (
        lambda t: t.track_form_change("signupForm", "ageInput", "INPUT", "24"), ours("change_form", **AGED)),
    "form change, advanced, corrected": (
        lambda t: t.track_form_change("signupForm", "ageInput", "INPUT", "24", "number", ["signup__number"]),
        ours("change_form", **AGED, type="number", elementClasses=["signup__number"])),
    "form submit, basic": (lambda t: t.track_form_submit("signup"), ours("submit_form", formId="signup")),
    "form submit, advanced, corrected": (
        lambda t: t.track_form_submit("signupForm", ["signup__warning"], [EMAIL]),
        ours("submit_form", **SIGNED_UP)),
    "search, basic": (lambda t: t.track_site_search(SNOWPLOW), ours("site_search", terms=SNOWPLOW)),
    "search, advanced": (
        lambda t: t.track_site_search(["pulp fiction", "reviews"], {"nswf": True}, 215, 22),
        ours("site_search", terms=["pulp fiction", "reviews"], filters={"nswf": True},
                 totalResults=215, pageResults=22)),
}  # fmt: skip


@pytest.mark.parametrize(("call", "fields"), EXAMPLES.values(), ids=EXAMPLES.keys())
async def test_each_method_sends_what_it_was_told_and_the_pipeline_takes_it(
    call: Call, fields: Fields
) -> None:
    tracker, kept = tracker_and_emitter(app_id="cf29ea")
    async with Micro(schemas=[SaveGame]) as collector:
        async with tracker.add_emitter(HttpEmitter(collector.url)):
            await call(tracker)
        assert arrived(collector, "app_id") == ["cf29ea"]
    assert told(kept) == [{**fields, "aid": "cf29ea"}]


async def test_a_transaction_is_an_event_for_itself_and_one_for_each_item_with_its_own_context() -> None:
    tracker, kept = tracker_and_emitter()
    items: list[Fields] = [{"sku": "pbz0026", "price": 20, "quantity": 1}]
    items.append({"sku": "pbz0038", "price": 15, "quantity": 1, "context": [POSTER]})
    await tracker.track_ecommerce_transaction("6a8078be", 35, city="London", currency="GBP", items=items)
    await tracker.track_ecommerce_transaction("without items", 35)
    of_both = {"e": "ti", "ti_id": "6a8078be", "ti_qu": "1", "ti_cu": "GBP"}
    assert told(kept) == [
        {"e": "tr", "tr_id": "6a8078be", "tr_tt": "35", "tr_ci": "London", "tr_cu": "GBP"},
        {**of_both, "ti_sk": "pbz0026", "ti_pr": "20"},
        {**of_both, "ti_sk": "pbz0038", "ti_pr": "15", "cx": [POSTER.to_json()]},
        {"e": "tr", "tr_id": "without items", "tr_tt": "35"},
    ]
    assert {payload["dtm"] for payload in kept.payloads} == {str(NOW)}
    assert [len(item) for item in items] == [3, 4]


WRONG: list[tuple[Callable[[Any], TrackCall], str]] = [
    (lambda t: t.track_form_change("signupForm", "ageInput", "age", "24"), r"node_name\n.*'age'"),
    (lambda t: t.track_form_submit("signupForm", ["signup__warning"], EMAIL), r"elements\n"),
    (lambda t: t.track_screen_view("Game Level", 42), r"id_\n.*string.*42"),
    (lambda t: t.track_screen_view(), "name or id_: one of them is needed"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=["node name", "no list", "no string", "nothing"])
async def test_what_contradicts_the_tables_is_refused(call: Callable[[Any], TrackCall], message: str) -> None:
    tracker, kept = tracker_and_emitter()
    with pytest.raises(ValueError, match=message):
        await call(tracker)
    assert told(kept) == []


# --- 5 Emitters


async def test_a_post_is_the_default_and_the_old_defaults_are_to_be_had() -> None:
    requests: list[Fields] = []
    async with Micro(record=requests.append) as collector:
        old = HttpEmitter("127.0.0.1", protocol="http", port=collector.port, method="get")
        for emitter in (HttpEmitter(collector.url), old):
            async with Tracker(emitter, namespace="cf", app_id="cf29ea") as tracker:
                await tracker.track_page_view(PAGE)
        assert arrived(collector) == [PAGE, PAGE]
    assert [request["path"] for request in requests] == ["/com.snowplowanalytics.snowplow/tp2", "/i"]


PAGES = [PAGE, f"{PAGE}/page1", f"{PAGE}/page2"]


async def test_the_third_event_fills_a_batch_of_three_and_on_success_counts_them() -> None:
    requests: list[Fields] = []
    counts: list[int] = []
    options: Fields = {"batch_size": 3, "flush_interval": None, "on_success": counts.append}
    async with Micro(record=requests.append) as collector, tracker_to(collector, **options) as tracker:
        for page in PAGES:
            await tracker.track_page_view(page)
        await collector.wait_for(3)
        assert arrived(collector) == PAGES
    assert [len(json.loads(request["body"])["data"]) for request in requests] == counts == [3]


async def test_what_could_not_be_sent_is_handed_to_on_failure() -> None:
    calls: list[tuple[int, list[dict[str, str]]]] = []

    def on_failure(sent: int, unsent: list[dict[str, str]]) -> None:
        calls.append((sent, unsent))

    options: Fields = {"batch_size": 3, "retry": Retry.never(), "on_failure": on_failure}
    async with Micro(answers=[503]) as collector, tracker_to(collector, **options) as tracker:
        for page in PAGES:
            await tracker.track_page_view(page)
        result = await tracker.flush()
        assert (result.delivered, result.dropped, collector.counts()["total"]) == (0, 3, 0)
    assert [(sent, [event["url"] for event in unsent]) for sent, unsent in calls] == [(0, PAGES)]


@pytest.mark.parametrize("retry", [Retry.never(), Retry(initial_delay=0.001)], ids=["the recipe", "retries"])
@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_putting_in_again_what_failed_never_sends_it_twice(kind: str, retry: Retry) -> None:
    async def awaiting(_sent: int, unsent: list[dict[str, str]]) -> None:
        for event in unsent:
            await emitter.input(event)

    def plain(_sent: int, unsent: list[dict[str, str]]) -> None:
        for event in unsent:
            emitter.input_nowait(event)

    async with Micro(answers=[503, 503]) as collector:
        on_failure = plain if kind == "def" else awaiting
        emitter = HttpEmitter(collector.url, retry=retry, on_failure=on_failure)
        async with Tracker(emitter, namespace="cf", app_id="cf29ea") as tracker:
            event_id = await tracker.track_page_view(PAGE)
            while collector.counts()["total"] == 0:
                await tracker.flush()
        assert arrived(collector, "event_id") == [event_id]
    # Put in again by the recipe, or not given up by the emitter at all.
    assert emitter.stats().accepted == (3 if retry.gives_up else 1)


async def test_a_flush_waits_unless_it_is_told_not_to() -> None:
    async with Micro() as collector, tracker_to(collector, flush_interval=None) as tracker:
        await tracker.track_page_view(PAGE)
        waited = await tracker.flush()
        assert (waited.delivered, waited.pending, collector.counts()["good"]) == (1, 0, 1)
        await tracker.track_page_view(PAGE)
        started = await tracker.flush(wait=False)
        assert (started.delivered, started.pending) == (0, 1)
        await collector.wait_for(2)


async def test_a_tracker_sends_to_several_emitters() -> None:
    requests: list[Fields] = []
    kept = MemoryEmitter()
    async with Micro(record=requests.append) as one, Micro(record=requests.append) as two:
        e1, e2 = HttpEmitter(one.url, method="get"), HttpEmitter(two.url, method="post")
        async with Tracker([e1, e2], namespace="cf", app_id="cf29ea") as tracker:
            await tracker.track_page_view(PAGES[0])
            assert tracker.add_emitter(kept) is tracker
            last = await tracker.track_page_view(PAGES[1])
        # Two GETs may overtake each other.
        assert sorted(arrived(one)) == arrived(two) == PAGES[:2]
        assert sorted(arrived(one, "event_id")) == sorted(arrived(two, "event_id"))
    assert sorted(request["method"] for request in requests) == ["GET", "GET", "POST"]
    assert [event["eid"] for event in kept.payloads] == [last]


class Plain(list[Mapping[str, str]]):
    def input(self, payload: Mapping[str, str]) -> None:
        self.append(payload)


class Awaited(Plain):
    async def input(self, payload: Mapping[str, str]) -> None:  # type: ignore[override]
        self.append(payload)


async def test_a_custom_emitter_needs_an_input_method_and_nothing_else() -> None:
    emitters = [Plain(), Awaited()]
    event_id = await Tracker(emitters).track_page_view(PAGE)
    assert [[event["eid"] for event in emitter] for emitter in emitters] == [[event_id], [event_id]]
    with pytest.raises(ConfigurationError, match=r"^emitters: must be an emitter: an object with an input"):
        Tracker(object())


async def test_a_flush_timer_sends_what_waits_until_it_is_cancelled() -> None:
    async with Micro() as collector:
        first = HttpEmitter(collector.url, flush_interval=None)
        second = HttpEmitter(collector.url, flush_interval=0.01)
        first.set_flush_timer(0.02)
        second.cancel_flush_timer()
        async with Tracker([first, second], namespace="cf", app_id="cf29ea") as tracker:
            await tracker.track_page_view(PAGE)
            await collector.wait_for(1)
            assert (first.stats().delivered + first.stats().leased, second.stats().pending) == (1, 1)


# --- 6 Contracts


async def test_a_value_of_the_wrong_kind_is_refused_by_name_and_taken_when_converted() -> None:
    rule = "must be bits per pixel, a whole number from 1 to 2147483647"
    with pytest.raises(InvalidEventError, match=f"^color_depth: {rule}, got 'walrus'$"):
        Subject().set_color_depth("walrus")  # type: ignore[arg-type]
    tracker, kept = tracker_and_emitter()
    await tracker.track_screen_view("Game Level", str(42))
    assert told(kept) == [ours("screen_view", name="Game Level", id="42")]


async def test_validation_can_be_switched_off_for_the_process_or_for_a_block() -> None:
    tracker, kept = tracker_and_emitter()
    disable_validation()
    try:
        tracker.subject.set_color_depth("walrus")  # type: ignore[arg-type]
    finally:
        enable_validation()
    with disable_validation():
        tracker.subject.set_platform("walrus")
    await tracker.track_page_view(PAGE)
    assert (kept.payloads[0]["cd"], kept.payloads[0]["p"]) == ("walrus", "walrus")
    with pytest.raises(InvalidEventError, match=r"^platform: must be one of"):
        Subject().set_platform("walrus")


# --- 7 Logging


@pytest.mark.parametrize(("level", "heard"), [(10, {10, 20, 30}), (30, {30}), (60, set[int]())])
async def test_the_loggers_level_decides_what_is_heard(
    level: int, heard: set[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(level, logger="snowplow_aio")
    options: Fields = {"retry": Retry(initial_delay=0.001)}
    async with Micro(answers=[503]) as collector, tracker_to(collector, **options) as tracker:
        await tracker.track_page_view(f"{PAGE}/secret")
    records = [record for record in caplog.records if record.name.startswith("snowplow_aio.")]
    assert {record.levelno for record in records} == heard
    assert not any("secret" in record.getMessage() for record in records if record.levelno > logging.DEBUG)
