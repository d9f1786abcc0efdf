"""The context of a request in a job: its events are as if the request itself had tracked them."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snowplow_aio import (
    CLEAR,
    MemoryEmitter,
    PageView,
    SelfDescribing,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
    current_subject,
    use_context,
    use_subject,
)
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.asgi import SnowplowMiddleware, tracker_of
from snowplow_aio.integrations.jobs import HEADER, extract, inject
from snowplow_aio.tracking.scope import Permission, TrackingScope, held
from tests.integrations.made import Trackers, http_scope, request
from tests.scale import scale

pytestmark = pytest.mark.anyio

SHIP = StructuredEvent(category="order", action="ship")
CART = "iglu:com.example.shop/cart/jsonschema/1-0-0"
VISITOR = {
    "User-Agent": "Firefox",
    "Accept-Language": "de-AT",
    "Host": "shop.example",
    "Referer": "https://search.example/?q=shoes",
    "Cookie": "_sp_id.1fff=a1b2.1.7.3.4.6d1f6b1e-3b9f-4f7e-9a43-8c4b1c1f2d3e; sp=network",
}


class Cart(SelfDescribing, schema=CART):
    items: int


class Scope(TrackingScope):
    """A request of which all is said."""

    def __init__(
        self, permission: Permission, fields: Mapping[str, str], page: Mapping[str, str] | None = None
    ) -> None:
        self._all = permission, fields, page or {}

    def permission(self) -> Permission:
        return self._all[0]

    def fields(self) -> Mapping[str, str]:
        return self._all[1]

    def page(self) -> Mapping[str, str]:
        return self._all[2]


def job(*events: Any, subject: Subject | None = None, **options: Any) -> list[dict[str, str]]:
    """Return the payloads of a job that tracks *events*, by a tracker of its own."""
    emitter = MemoryEmitter()
    tracker = Tracker(emitter, namespace="jobs", app_id="jobs", subject=subject, **options)
    for event in events or (SHIP,):
        tracker.track_nowait(event)
    return [comparable(payload.fields()) for payload in emitter.payloads]


def comparable(payload: Mapping[str, str]) -> dict[str, str]:
    """Return *payload* without what differs for each event and each tracker."""
    return {key: value for key, value in payload.items() if key not in {"eid", "dtm", "tna", "aid"}}


def each(name: str, values: Iterable[Any]) -> pytest.MarkDecorator:
    """Have a test run once for each of *values*, of which the text may be long or the same."""
    return pytest.mark.parametrize(name, [pytest.param(value, id=str(i)) for i, value in enumerate(values)])


def entities(payload: Mapping[str, str]) -> Any:
    padded = payload["cx"] + "=" * (-len(payload["cx"]) % 4)
    return json.loads(urlsafe_b64decode(padded), parse_float=Decimal)["data"]


async def answered(
    headers: Mapping[str, str], act: Callable[[], Any], /, **options: Any
) -> tuple[list[dict[str, str]], Any]:
    """Return the event of a request with these *headers*, and the result of *act* in it."""
    trackers = Trackers()
    results: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await tracker_of(scope).track(SHIP)
        results.append(act())

    scope = http_scope("/cart?id=1", headers=dict(headers))
    await request(SnowplowMiddleware(app, trackers, platform=None, **options), scope)
    return [comparable(event) for event in trackers.events], results[0]


# --- a request and its job


async def test_a_job_is_about_the_visitor_and_the_page_of_the_request_that_caused_it() -> None:
    events, headers = await answered(VISITOR, inject, user_id=lambda _: "u-42")
    with extract(headers):
        assert job() == events
    (event,) = events
    assert (event["uid"], event["duid"], event["tnuid"], event["vid"]) == ("u-42", "a1b2", "network", "7")
    assert (event["ua"], event["lang"], event["ip"]) == ("Firefox", "de-AT", "203.0.113.50")
    assert (event["url"], event["refr"]) == ("http://shop.example/cart?id=1", VISITOR["Referer"])


async def test_a_job_of_an_anonymous_visitor_is_anonymous_and_its_header_identifies_nobody() -> None:
    asked = VISITOR | {"DNT": "1"}
    events, headers = await answered(asked, inject, user_id=lambda _: "u-42", without_consent="anonymous")
    assert not [
        text for text in ("u-42", "a1b2", "network", "203.0.113.50", "6d1f6b1e") if text in headers[HEADER]
    ]
    with extract(headers), use_subject(user_id="u-42"):
        assert job() == events
        emitter = MemoryEmitter()
        Tracker(emitter).track_nowait(SHIP)
        assert emitter.payloads[0].anonymous


async def test_a_job_of_a_visitor_who_may_not_be_tracked_tracks_nothing() -> None:
    events, headers = await answered(VISITOR | {"DNT": "1"}, inject, user_id=lambda _: "u-42")
    assert (events, headers) == ([], {HEADER: "1;nothing;"})
    with extract(headers), use_subject(user_id="u-42"):
        assert job() == []


async def test_a_page_of_the_jobs_own_goes_before_that_of_the_request() -> None:
    _, headers = await answered(VISITOR, inject)
    with extract(headers):
        (event,) = job(PageView(page_url="https://shop.example/receipt"))
    assert event["url"] == "https://shop.example/receipt"
    assert "refr" not in event


async def test_a_job_of_a_job_is_about_the_same_visitor() -> None:
    events, headers = await answered(VISITOR, inject)
    with extract(headers):
        again = inject()
    with extract(again):
        assert job() == events


TEXTS = st.text(max_size=20)
PAIR = st.tuples(st.integers(1, 10_000), st.integers(1, 10_000))


def _subject(fields: dict[str, Any]) -> Subject:
    return Subject(**fields)


SUBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "platform": st.sampled_from(["web", "mob", "srv", CLEAR]),
        "user_id": TEXTS | st.just(CLEAR),
        "screen_resolution": PAIR | st.just(CLEAR),
        "viewport": PAIR | st.just(CLEAR),
        "color_depth": st.integers(1, 64) | st.just(CLEAR),
        "timezone": TEXTS | st.just(CLEAR),
        "lang": TEXTS | st.just(CLEAR),
        "ip_address": st.ip_addresses().map(str) | st.just(CLEAR),
        "useragent": TEXTS | st.just(CLEAR),
        "domain_user_id": TEXTS | st.just(CLEAR),
        "network_user_id": TEXTS | st.just(CLEAR),
        "domain_session_id": st.uuids() | st.just(CLEAR),
        "domain_session_index": st.integers(0, 2**31 - 1) | st.just(CLEAR),
    },
).map(_subject)


def visible(subject: Subject) -> dict[str, str]:
    return {key: text for key, text in subject.protocol_fields().items() if isinstance(text, str) and text}


PAGES = st.fixed_dictionaries(
    {}, optional={"url": st.just("https://shop.example/ü?q=1"), "refr": st.just("https://a.example/")}
)
SCOPES = st.none() | st.builds(
    Scope, st.sampled_from(["all", "anonymous", "nothing"]), SUBJECTS.map(visible), PAGES
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTITIES = st.builds(SelfDescribingJson, st.just(CART), JSON) | st.builds(Cart, items=st.integers())
RULES = st.none() | st.sampled_from(["iglu:com.acme/*/jsonschema/*-*-*", "iglu:*/*/*/*-*-*"])
CONTEXTS = st.lists(st.tuples(st.lists(ENTITIES, min_size=1, max_size=3), RULES, RULES), max_size=3)
SAVE = SelfDescribingJson("iglu:com.acme/save/jsonschema/1-0-0", {"level": 1})


@contextmanager
def surroundings(scope: TrackingScope | None, bound: list[Subject], contexts: list[Any]) -> Generator[None]:
    with ExitStack() as stack:
        if scope is not None:
            stack.enter_context(held(scope))
        for subject in bound:
            stack.enter_context(use_subject(subject))
        for found, include, exclude in contexts:
            stack.enter_context(use_context(found, include=include, exclude=exclude))
        yield


@settings(deadline=None, max_examples=scale(60, 5_000))
@given(scope=SCOPES, bound=st.lists(SUBJECTS, max_size=2), contexts=CONTEXTS, trackers=SUBJECTS, own=SUBJECTS)
def test_whatever_is_bound_the_events_of_a_job_are_as_if_the_request_had_tracked_them(
    scope: TrackingScope | None,
    bound: list[Subject],
    contexts: list[Any],
    trackers: Subject,
    own: Subject,
) -> None:
    events = (SHIP, SAVE, PageView(page_url="https://shop.example/ü?q=1"))
    with surroundings(scope, bound, contexts):
        headers = inject()
        with use_subject(own):
            expected = job(*events, subject=trackers)
            known = current_subject()
    # Nothing of the place where the job is done gets into its events.
    with (
        surroundings(Scope("all", {"uid": "other"}), [Subject(lang="xx")], []),
        extract(headers),
        use_subject(own),
    ):
        assert job(*events, subject=trackers) == expected
        if scope is None or scope.permission() == "all":
            assert visible(current_subject() or Subject()) == visible(known or Subject())
    assert all(text.isascii() and text.isprintable() for text in headers.values())


# --- what is bound


async def test_entities_that_are_bound_go_along_with_their_rules() -> None:
    amount = Decimal("9.90")
    with (
        use_context(Cart(items=2), [SelfDescribingJson(CART, {"total": amount, "note": "naïve 😀"})]),
        use_context(Cart(items=3), include="iglu:com.acme/*/jsonschema/1-*-*"),
        use_context(Cart(items=4), exclude=["iglu:com.acme/save/jsonschema/*-*-*"]),
    ):
        headers = inject()
    assert headers[HEADER].isascii()
    with extract(headers):
        ship, save = job(SHIP, SAVE)
    carts = [{"items": 2}, {"total": amount, "note": "naïve 😀"}]
    assert [entity["data"] for entity in entities(ship)] == [*carts, {"items": 4}]
    assert [entity["data"] for entity in entities(save)] == [*carts, {"items": 3}]


def test_what_a_job_binds_itself_goes_before_what_was_carried() -> None:
    with use_subject(user_id="u-1", lang="de"), use_context(Cart(items=1)):
        headers = inject()
    with extract(headers), use_subject(user_id="u-2"), use_context(Cart(items=2)):
        (event,) = job()
    assert (event["uid"], event["lang"]) == ("u-2", "de")
    assert [entity["data"]["items"] for entity in entities(event)] == [1, 2]


def test_a_function_that_makes_entities_stays_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "snowplow_aio.integrations")
    with use_context(lambda _draft: Cart(items=1)), use_context(Cart(items=2)):
        headers = inject()
    with extract(headers):
        (event,) = job()
    assert [entity["data"]["items"] for entity in entities(event)] == [2]


def test_what_removes_a_field_removes_it_in_the_job_as_well() -> None:
    with use_subject(user_id=CLEAR, lang=""):
        headers = inject()
    with extract(headers):
        (event,) = job(subject=Subject(user_id="worker", lang="en", timezone="UTC"))
    assert {key: event.get(key) for key in ("uid", "lang", "tz")} == {"uid": None, "lang": None, "tz": "UTC"}


def test_a_later_change_of_what_was_bound_does_not_reach_the_job() -> None:
    with use_subject(user_id="u-1") as subject:
        headers = inject()
        subject.set_user_id("u-2")
    with extract(headers):
        assert job()[0]["uid"] == "u-1"


# --- headers


def test_where_nothing_is_bound_there_is_no_header() -> None:
    assert inject() == {}
    assert inject([]) == []
    with extract({}):
        assert inject() == {}


def test_other_headers_stay_as_they_are_and_the_given_ones_are_not_changed() -> None:
    mapping, pairs = {"trace": b"1", 7: "x"}, [("trace", b"1"), (b"n", "x")]
    with use_subject(user_id="u"):
        carried = inject()[HEADER]
        assert inject(mapping) == {"trace": b"1", 7: "x", HEADER: carried}
        assert inject(pairs) == [*pairs, (HEADER, carried.encode())]
    assert (len(mapping), len(pairs)) == (2, 2)


@each("name", [HEADER, "Snowplow-Context", HEADER.encode()])
def test_a_header_that_is_forwarded_is_replaced_by_what_is_bound_and_kept_where_nothing_is(name: Any) -> None:
    assert inject({name: "1;nothing;"}) == {name: "1;nothing;"}
    assert inject([(name, b"1;nothing;")]) == [(name, b"1;nothing;")]
    with use_subject(user_id="u"):
        assert inject({name: "1;nothing;"}) == inject()
        assert inject([(name, b"1;nothing;")]) == inject([])


@each("headers", ["text", 5, b"bytes", [1], [("a", "b", "c")], {"a"}, object()])
def test_headers_that_are_none_are_refused_where_they_are_written(headers: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^headers: must be a mapping, a list of pairs, or None"):
        inject(headers)


class Items:
    """Headers that are like a mapping, and are none."""

    def __init__(self, text: str) -> None:
        self._text = text

    def items(self) -> list[tuple[str, str]]:
        return [(HEADER, self._text)]


def forms(text: str) -> list[Any]:
    """Return the headers with *text* as clients of queues give them."""
    raw = text.encode()
    return [
        {HEADER: text},
        {HEADER: raw},
        {HEADER.encode(): raw},
        {"Snowplow-Context": text, "other": 5},
        [(HEADER, raw)],
        [("other", None), (HEADER, raw), ("other",)],
        ((HEADER, text),),
        iter([[HEADER, memoryview(raw)]]),
        Items(text),
        {HEADER: bytearray(raw)},
    ]


@pytest.mark.parametrize("form", range(10))
def test_headers_are_read_in_the_form_that_each_client_gives_them(form: int) -> None:
    with use_subject(user_id="u"):
        text = inject()[HEADER]
    with extract(forms(text)[form]):
        assert job()[0]["uid"] == "u"


def test_of_several_headers_the_last_one_counts_and_each_may_forbid() -> None:
    with use_subject(user_id="u-1"):
        (first,) = inject([])
    with use_subject(user_id="u-2"):
        (second,) = inject([])
    with extract([first, second]):
        assert job()[0]["uid"] == "u-2"
    for forbidding, expected in (("1;nothing;", 0), ("1;anonymous;{}", 1), ("?", 0)):
        for headers in ([(HEADER, forbidding), first], [first, (HEADER, forbidding)]):
            with extract(headers), use_subject(user_id="u-3"):
                events = job()
            assert len(events) == expected
            assert not any("uid" in event for event in events)


# --- headers that are broken


@each(
    "header",
    [
        *["", "?", "1", "1;", "1;al", "all", "1;all", "1;some;{}", ";all;{}", "x;all;{}", "-1;all;{}"],
        *[
            '{"v":1}',
            "nothing",
            "\x00",
            "ÿ",
            "1;ALL;{}",
            " 1;all;{}",
            b"\xff\xfe",
            None,
            5,
            1.5,
            True,
            [],
            {},
        ],
        *[["1;all;{}"], object()],
    ],
)
def test_a_job_whose_permission_cannot_be_read_tracks_nothing(
    header: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with extract({HEADER: header}), use_subject(user_id="u"):
        assert job() == []


@each("headers", [5, "text", object(), b"bytes", 1.5])
def test_headers_that_are_none_are_as_one_that_cannot_be_read(headers: Any) -> None:
    with extract(headers), use_subject(user_id="u"):
        assert job() == []


@pytest.mark.parametrize("permission", ["all", "anonymous"])
@each(
    "rest",
    [
        *["", "{", "[]", "5", "null", '"text"', "{}{}", "NaN", '{"visitor":{"uid":NaN}}', "[" * 16_000],
        *['{"visitor":' * 1_400, '{"visitor":{"uid":"x"}}' + " " * 16_384, '{"visitor":{"uid":"\x00'],
    ],
)
def test_of_a_header_that_is_cut_or_garbled_the_permission_is_known(permission: str, rest: str) -> None:
    with extract({HEADER: f"1;{permission};{rest}"}), use_subject(user_id="u"):
        (event,) = job()
    assert ("uid" in event) == (permission == "all")
    assert event.keys() - {"uid"} == {"e", "p", "tv", "se_ca", "se_ac"}


@settings(deadline=None, max_examples=scale(60, 400))
@given(length=st.integers(0, 400))
def test_a_header_that_is_cut_anywhere_lets_nobody_be_tracked_who_must_not_be(length: int) -> None:
    permissions: tuple[Permission, ...] = ("anonymous", "nothing")
    for permission in permissions:
        scope = Scope(permission, {"uid": "u", "ua": "Firefox"}, {"url": "https://shop.example/"})
        with held(scope), use_context(Cart(items=1)):
            header = inject()[HEADER][:length]
        with extract({HEADER: header}), use_subject(user_id="u"):
            events = job()
        assert permission == "anonymous" or not events
        assert not any("uid" in event for event in events)


def test_a_header_of_a_later_version_says_what_may_be_tracked_and_no_more() -> None:
    later = '{"visitor":{"uid":"u"},"more":1}'
    for permission, expected in (("all", 1), ("anonymous", 1), ("nothing", 0), ("pseudonymous", 0)):
        with extract({HEADER: f"2;{permission};{later}"}):
            events = job()
        assert len(events) == expected
        assert not any("uid" in event for event in events)


def test_members_that_are_unknown_are_no_reason_to_lose_the_others() -> None:
    text = '1;all;{"visitor":{"uid":"u","shoe":"42","p":5},"tenant":{"id":1},"context":5,"page":[]}'
    with extract({HEADER: text}):
        assert job()[0]["uid"] == "u"


@each(
    "url",
    [
        "http://[bad",
        "",
        "http://shop.example/?_sp=a.b",
        5,
        None,
        "http://a.example/" + "x" * 12_000,
        "\ud800",
    ],
)
def test_an_address_that_the_pipeline_does_not_take_loses_no_event(url: Any) -> None:
    page = {"url": url, "refr": "https://search.example/", "e": "pv"}
    with extract({HEADER: f"1;all;{json.dumps({'page': page})}"}):
        (event,) = job()
    assert (event["refr"], event["e"]) == ("https://search.example/", "se")
    # A page view with such an address is refused.
    assert "url" not in event or PageView(page_url=event["url"]).page_url == event["url"]


NUMBERS = ["1e1000000000000000000", "1" * 5000, "-1e-1000000000000000000", "NaN"]


@each("number", NUMBERS)
@pytest.mark.parametrize("permission", ["anonymous", "nothing"])
def test_a_number_that_nobody_reads_makes_nobody_known(number: str, permission: str) -> None:
    with use_subject(user_id="ada"), extract({HEADER: f'1;{permission};{{"x":{number}}}'}):
        events = job()
    assert not any("uid" in event for event in events)
    assert len(events) == (permission == "anonymous")


BROKEN: dict[str, list[Any]] = {
    "uid": ["x" * 256, 5, None, [], "\ud800"], "ip": ["1.1.1.1, 2.2.2.2"], "sid": ["no-uuid", ""],
    "vid": ["-1", "many", "9" * 5000, "2147483648"], "res": ["0x5", "5", "x", "1x2x3", 5], "cd": ["0"],
    "p": ["shop"], "duid": ["x" * 129], "e": ["pv"], "eid": ["x"], "aid": ["x"], "tv": ["x"],
}  # fmt: skip


@each("broken", [(key, value) for key in BROKEN for value in BROKEN[key]])
def test_a_value_that_breaks_a_rule_is_left_out_alone(broken: tuple[str, Any]) -> None:
    key, value = broken
    with extract({}):
        (plain,) = job()
    for layer in ("visitor", "subject"):
        text = f"1;all;{json.dumps({layer: {key: value, 'lang': 'en'}})}"
        with extract({HEADER: text}):
            assert job() == [plain | {"lang": "en"}]


@each(
    "entity",
    [
        *[None, 5, "x", [], {}, {"schema": CART}, {"data": {}}, {"schema": "cart", "data": {}}],
        *[{"schema": 5, "data": {}}, {"schema": [], "data": {}}, {"schema": CART, "data": {"a": "\ud800"}}],
        *[{"schema": CART, "data": {}, "include": bad} for bad in ([], "x", 5, {"a": 1}, [None])],
        {"schema": CART, "data": json.loads("[" * 60 + "]" * 60)},
    ],
)
def test_an_entity_that_cannot_be_sent_is_left_out_alone(entity: Any) -> None:
    good = {"schema": CART, "data": {"items": 1}}
    with extract({HEADER: f"1;all;{json.dumps({'context': [entity, good]})}"}):
        (event,) = job()
    assert entities(event) == [good]


def test_a_number_that_python_does_not_read_costs_its_entity_and_no_more() -> None:
    digits = "9" * 5_000
    text = f'{{"context":[{{"schema":"{CART}","data":[{digits}]}}],"visitor":{{"uid":"u"}}}}'
    with extract({HEADER: f"1;all;{text}"}):
        assert job()[0]["uid"] == "u"


@settings(deadline=None, max_examples=scale(100, 5_000))
@given(text=st.text() | st.binary() | JSON.map(lambda value: f"1;all;{json.dumps(value, default=str)}"))
def test_no_header_makes_a_job_or_its_events_fail(text: Any) -> None:
    for headers in ({HEADER: text}, [(HEADER, text)], text):
        with extract(headers):
            assert len(job()) <= 1


def test_what_cannot_be_read_is_logged_once_a_minute_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with extract({HEADER: "secret"}), extract({HEADER: "1;all;secret"}):
            pass
    # Another test may have said it within this minute.
    assert len(caplog.records) <= 2
    assert "secret" not in caplog.text


# --- size


def longest(**more: str) -> Subject:
    """Return the subject with the longest texts that there are, each character of which is escaped."""
    return Subject(
        **more, user_id="ü" * 255, useragent="ü" * 1000, timezone="ü" * 255, lang="ü" * 255,
        domain_user_id="ü" * 128, network_user_id="ü" * 128, ip_address="ü" * 128,
        domain_session_id="6d1f6b1e-3b9f-4f7e-9a43-8c4b1c1f2d3e", domain_session_index=2**31 - 1,
        screen_resolution=(2**31 - 1, 2**31 - 1), viewport=(2**31 - 1, 2**31 - 1), color_depth=2**31 - 1,
        platform="web",
    )  # fmt: skip


def test_the_longest_subject_has_room_and_the_header_never_grows_beyond_its_bound() -> None:
    visitor = visible(longest())
    with held(Scope("all", visitor)), use_subject(longest()):
        headers = inject()
        expected = job()
    with extract(headers):
        assert job() == expected
    with held(Scope("all", visitor, {"url": "https://shop.example/" + "x" * 2_900})):
        for number in range(0, 300, 7):
            with use_context(*[SelfDescribingJson(CART, {"note": "ü" * number})] * 20):
                assert len(inject()[HEADER]) <= 16_384


def test_entities_that_do_not_fit_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    large = SelfDescribingJson(CART, {"note": "x" * 9_000})
    with use_subject(user_id="u"), use_context(large, large, Cart(items=1)):
        headers = inject()
    with extract(headers):
        (event,) = job()
    assert event["uid"] == "u"
    assert [len(entity["data"].get("note", "")) for entity in entities(event)] == [9_000, 0]


def test_a_subject_without_room_does_not_let_another_appear() -> None:
    # Control characters count nothing in the pipeline, so there may be many.
    with held(Scope("all", {"uid": "visitor"})), use_subject(user_id="u" + "\x01" * 20_000):
        headers = inject()
    with extract(headers):
        assert "uid" not in job()[0]


def test_an_entity_that_is_no_json_stays_behind() -> None:
    with use_context(SelfDescribingJson(CART, {"a": object()}), Cart(items=1)):
        headers = inject()
    with extract(headers):
        (event,) = job()
    assert [entity["data"] for entity in entities(event)] == [{"items": 1}]


# --- where it holds


def header_of(user_id: str) -> dict[str, str]:
    with use_subject(user_id=user_id):
        return inject()


def users(*events: Any) -> list[str | None]:
    return [event.get("uid") for event in job(*events)]


def test_a_message_within_that_of_another_is_about_its_own_visitor_and_then_it_is_as_before() -> None:
    first, second = header_of("u-1"), header_of("u-2")
    with use_subject(user_id="outside", lang="de"), use_context(Cart(items=1)):
        (before,) = job()
        with extract(first):
            with extract(second):
                assert job()[0].keys() == before.keys() - {"lang", "cx"}
                assert users() == ["u-2"]
            assert users() == ["u-1"]
            with extract({}):
                assert users() == [None]
            with extract(None):
                assert users() == [None]
            assert users() == ["u-1"]
        assert job() == [before]
    assert users() == [None]


def test_a_job_that_fails_leaves_nothing_bound() -> None:
    with pytest.raises(LookupError), extract(header_of("u")):
        raise LookupError
    assert users() == [None]


async def test_tasks_that_a_job_starts_are_about_its_visitor_also_after_it() -> None:
    go = asyncio.Event()

    async def later() -> list[str | None]:
        await go.wait()
        return users()

    with extract(header_of("u")):
        task = asyncio.create_task(later())
        assert await asyncio.to_thread(users) == ["u"]
    go.set()
    assert await task == ["u"]
    assert users() == [None]


def test_leaving_it_in_another_context_harms_nothing() -> None:
    block = extract(header_of("u"))
    inside = copy_context()
    inside.run(block.__enter__)
    with use_subject(user_id="other"):
        block.__exit__(None, None, None)
        assert users() == ["other"]
    assert inside.run(users) == ["u"]


async def test_jobs_at_once_in_one_loop_never_mix() -> None:
    async def work(number: int) -> None:
        with extract(header_of(f"u-{number}")):
            for _ in range(3):
                await asyncio.sleep(0)
                assert users() == [f"u-{number}"]

    await asyncio.gather(*map(work, range(100)))


def test_jobs_in_the_threads_of_a_pool_never_mix() -> None:
    barrier = threading.Barrier(2, timeout=20)

    def work(user: str | None) -> None:
        with extract({} if user is None else header_of(user)):
            for _ in range(20):
                barrier.wait()
                assert users() == [user]

    with ThreadPoolExecutor(2) as pool:
        for pair in (("u-1", "u-2"), ("u-3", None), (None, "u-4")):
            list(pool.map(work, pair))


async def test_a_plain_queue_carries_it_with_its_messages() -> None:
    messages: queue.Queue[tuple[dict[str, str], str]] = queue.Queue()

    def send() -> None:
        messages.put((inject({"content-type": "text/plain"}), "order-1"))

    events, _ = await answered(VISITOR, send, user_id=lambda _: "u-42")
    found: list[Any] = []

    def consume() -> None:
        headers, _body = messages.get(timeout=20)
        with extract(headers):
            found.extend(job())

    thread = threading.Thread(target=consume)
    thread.start()
    thread.join()
    assert found == events
