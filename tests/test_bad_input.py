"""What cannot be tracked is refused at the call, with one clear error, and harms nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from snowplow_aio import (
    AddToCart,
    ConfigurationError,
    EcommerceTransaction,
    EcommerceTransactionItem,
    FormChange,
    FormSubmit,
    HttpEmitter,
    InvalidEventError,
    LinkClick,
    MemoryEmitter,
    MobileScreenView,
    PagePing,
    PageView,
    ScreenView,
    SelfDescribing,
    SelfDescribingJson,
    SiteSearch,
    StructuredEvent,
    Subject,
    Tracker,
    TrueTimestamp,
    use_subject,
)

URI = "iglu:com.acme/x/jsonschema/1-0-0"
VIEW = PageView(page_url="https://example.com/")


class Game(SelfDescribing, schema=URI):
    level: int = 1
    anything: Any = None


class Nameless(SelfDescribing):
    pass


def _circle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    return circle


def _plain(data: Any) -> Callable[[Tracker], Any]:
    return lambda tracker: tracker.track_nowait(SelfDescribingJson(URI, data))


def _built(model: Any, **values: Any) -> Callable[[Tracker], Any]:
    return lambda tracker: tracker.track_nowait(model(**values))


def _called(**metadata: Any) -> Callable[[Tracker], Any]:
    return lambda tracker: tracker.track_nowait(VIEW, **metadata)


def _event(event: Any) -> Callable[[Tracker], Any]:
    return lambda tracker: tracker.track_nowait(event)


def _bound(**fields: Any) -> Callable[[Tracker], Any]:
    def call(tracker: Tracker) -> None:
        with use_subject(**fields):
            tracker.track_nowait(VIEW)

    return call


# What is done: the argument as the caller wrote it, the rule, and the value as it is shown.
BAD: Mapping[str, tuple[Callable[[Tracker], Any], str, str, str]] = {
    # wrong type
    "url of bytes": (_built(PageView, page_url=b"x"), "page_url", "valid string", "b'x'"),
    "title of int": (_built(PageView, page_url="x", page_title=5), "page_title", "valid string", "5"),
    "offset of text": (_built(PagePing, page_url="x", min_x="0"), "min_x", "valid integer", "'0'"),
    "offset of bool": (_built(PagePing, page_url="x", min_x=True), "min_x", "valid integer", "True"),
    "value of text": (
        _built(StructuredEvent, category="c", action="a", value="1"),
        "value",
        "must be an int, a float or a Decimal",
        "'1'",
    ),
    "level of text": (_built(Game, level="23"), "level", "valid integer", "'23'"),
    "terms of text": (_built(SiteSearch, terms="abc"), "terms", "must be a list of strings", "'abc'"),
    "filter of int": (
        _built(SiteSearch, terms=["a"], filters={"n": 1}),
        "filters.n",
        "must be a string or a bool",
        "1",
    ),
    "elements of dict": (
        _built(FormSubmit, form_id="f", elements={"name": "n"}),
        "elements",
        "must be a list of dicts",
        "{'name': 'n'}",
    ),
    "classes of text": (
        _built(LinkClick, target_url="u", element_classes="a b"),
        "element_classes",
        "must be a list of strings",
        "'a b'",
    ),
    "subject of dict": (
        _called(subject={"user_id": "u"}),
        "subject",
        "must be a Subject",
        "{'user_id': 'u'}",
    ),
    "empty dict for subject": (_called(subject={}), "subject", "must be a Subject", "{}"),
    "context of one": (_called(context=Game()), "context", "must be a list of entities", "Game(level=1"),
    "entity of dict": (
        _called(context=[{"schema": URI, "data": {}}]),
        "context[0]",
        "must be a SelfDescribingJson",
        f"'schema': '{URI}'",
    ),
    "event of text": (_event("page view"), "event", "must be an event: an instance of", "'page view'"),
    "event of class": (_event(PageView), "event", "must be an event: an instance of", "PageView'>"),
    "event of none": (_event(None), "event", "must be an event", "None"),
    "event without schema": (_event(Nameless()), "event", "must be of a class with a schema", "'Nameless'"),
    "id of int": (_called(event_id=5), "event_id", "must be a UUID in its canonical form", "5"),
    "time of text": (_called(tstamp="now"), "tstamp", "must be milliseconds since the epoch", "'now'"),
    "bound user of int": (_bound(user_id=5), "user_id", "must be a string", "5"),
    # missing and unknown
    "no url": (_built(PageView), "page_url", "required", "{}"),
    "no node name": (
        _built(FormChange, form_id="f", element_id="e", value="v"),
        "node_name",
        "required",
        "'f'",
    ),
    "neither name nor id": (_built(ScreenView), "name or id_", "one of them is needed", "{}"),
    "unknown field": (_built(PageView, page_url="x", heading="t"), "heading", "not permitted", "'t'"),
    # empty
    "empty url": (_built(PageView, page_url=""), "page_url", "at least 1 character", "''"),
    "empty target": (_built(LinkClick, target_url=""), "target_url", "at least 1 character", "''"),
    "empty sku": (_built(AddToCart, sku="", quantity=1), "sku", "must not be empty", "''"),
    "empty form": (_built(FormSubmit, form_id=""), "form_id", "must not be empty", "''"),
    "empty screen": (_built(ScreenView, name=""), "name", "must not be empty", "''"),
    "empty order": (_built(EcommerceTransaction, order_id="", total_value=1), "order_id", "at least 1", "''"),
    "no terms": (_built(SiteSearch, terms=[]), "terms", "at least 1 item", "[]"),
    # out of range
    "offset below all": (
        _built(PagePing, page_url="x", min_y=-(2**31) - 1),
        "min_y",
        "greater than or equal to -2147483648",
        "-2147483649",
    ),
    "large offset": (
        _built(PagePing, page_url="x", max_y=2**31),
        "max_y",
        "less than or equal to",
        "2147483648",
    ),
    "large quantity": (
        _built(EcommerceTransactionItem, order_id="o", sku="s", price=1, quantity=2**31),
        "quantity",
        "less than or equal to 2147483647",
        "2147483648",
    ),
    "negative results": (
        _built(SiteSearch, terms=["a"], total_results=-1),
        "total_results",
        "greater than or equal to 0",
        "-1",
    ),
    "naive time": (
        _called(tstamp=datetime(2024, 1, 1)),  # noqa: DTZ001
        "tstamp",
        "must be a datetime with a time zone",
        "datetime.datetime(2024, 1, 1, 0, 0)",
    ),
    "late time": (_called(tstamp=1e15), "tstamp", "years 0 to 9999", "1000000000000000.0"),
    "endless time": (_called(true_timestamp=10**400), "true_timestamp", "years 0 to 9999", "1000000000"),
    "true time of text": (
        lambda tracker: tracker.track_nowait(VIEW, tstamp=TrueTimestamp("soon")),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        "TrueTimestamp",
        "must be milliseconds",
        "'soon'",
    ),
    "two true times": (
        _called(tstamp=TrueTimestamp(10**12), true_timestamp=2),
        "true_timestamp",
        "must be None where tstamp is a true one",
        "2",
    ),
    "NaN value": (
        _built(StructuredEvent, category="c", action="a", value=float("nan")),
        "value",
        "must be finite",
        "nan",
    ),
    "huge price": (
        _built(EcommerceTransaction, order_id="o", total_value=Decimal("1e400")),
        "total_value",
        "must be below 1e309",
        "Decimal('1E+400')",
    ),
    "unknown node": (
        _built(FormChange, form_id="f", element_id="e", node_name="age", value="24"),
        "node_name",
        "'INPUT', 'TEXTAREA' or 'SELECT'",
        "'age'",
    ),
    "id of a screen": (
        _built(MobileScreenView, name="n", id_="534"),
        "id_",
        "must be a UUID in its canonical form",
        "'534'",
    ),
    "event id": (_called(event_id="123"), "event_id", "must be a UUID in its canonical form", "'123'"),
    # too long
    "long title": (
        _built(PageView, page_url="x", page_title="t" * 2001),
        "page_title",
        "at most 2000 characters as the pipeline counts them (UTF-16 units), it has 2001",
        "'ttt",
    ),
    "long currency": (
        _built(EcommerceTransaction, order_id="o", total_value=1, currency="EURO"),
        "currency",
        "at most 3 characters",
        "'EURO'",
    ),
    "long query": (
        _built(PageView, page_url="https://example.com/?" + "q" * 6001),
        "page_url",
        "a query of at most 6000 characters, it has 6001",
        "'https://example.com/",
    ),
    "long bound user": (_bound(user_id="u" * 256), "user_id", "at most 255 characters", "'uuu"),
    "event too large": (_plain("x" * 1_000_000), "event", "at most 991808 bytes as JSON", "it has 1333"),
    "event too large with entities": (
        _called(context=[SelfDescribingJson(URI, "x" * 400_000)] * 2),
        "event",
        "contexts included",
        "it has 10",
    ),
    # no JSON
    "NaN in data": (
        _plain({"a": [float("nan")]}),
        "event.data.a[0]",
        "must be finite: JSON has no NaN",
        "nan",
    ),
    "NaN in a model": (_event(Game(anything=float("inf"))), "event.anything", "must be finite", "inf"),
    "circular": (_plain(_circle()), "event.data.again", "must not contain itself", "'dict'"),
    "set": (_plain({"tags": {"a"}}), "event.data.tags", "must not be a set", "{'a'}"),
    "bytes": (_plain({"raw": b"x"}), "event.data.raw", "is not JSON; give json_default", "b'x'"),
    "object": (_plain([object()]), "event.data[0]", "is not JSON; give json_default", "<object object"),
    "number as key": (_plain({"a": {1: 2}}), "event.data.a", "must have strings as keys", "1"),
    "lone surrogate": (
        _plain({"a": "\ud83d"}),
        "event.data.a",
        "must not contain a lone surrogate",
        r"'\ud83d'",
    ),
    "lone surrogate in a field": (_built(PageView, page_url="\ud83d"), "page_url", "unicode", r"'\ud83d'"),
    "naive time in data": (
        _plain({"at": datetime(2024, 1, 1)}),  # noqa: DTZ001
        "event.data.at",
        "must be a datetime with a time zone",
        "datetime.datetime(2024",
    ),
    "bad entity": (
        _called(context=[Game(), Game(anything={1})]),
        "context[1].anything",
        "must not be a set",
        "{1}",
    ),
    # no Iglu URI
    "no Iglu URI": (
        lambda tracker: tracker.track_nowait(SelfDescribingJson("com.acme/x/1-0-0", {})),
        "schema",
        "must be an Iglu URI like 'iglu:com.acme/save_game/jsonschema/1-0-2'",
        "'com.acme/x/1-0-0'",
    ),
    "model version 0": (
        lambda tracker: tracker.track_nowait(SelfDescribingJson("iglu:com.acme/x/jsonschema/0-1-0", {})),
        "schema",
        "MODEL from 1",
        "'iglu:com.acme/x/jsonschema/0-1-0'",
    ),
    # the track methods
    "track_page_view": (
        lambda tracker: tracker.track_page_view(""),
        "page_url",
        "at least 1 character",
        "''",
    ),
    "track_struct_event": (
        lambda tracker: tracker.track_struct_event("c", "a", None, None, None, 1368725287000),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        "context",
        "must be a list of entities",
        "1368725287000",
    ),
    "track_self_describing_event": (
        lambda tracker: tracker.track_self_describing_event({"schema": URI, "data": {}}),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        "event",
        "must be an event",
        "'schema'",
    ),
    "track_screen_view": (lambda tracker: tracker.track_screen_view(), "name or id_", "needed", "{}"),
}


@pytest.mark.parametrize(("call", "argument", "rule", "value"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_error_and_tracking_goes_on(
    call: Callable[[Tracker], Any], argument: str, rule: str, value: str
) -> None:
    emitter = MemoryEmitter()
    tracker = Tracker(emitter)
    before = tracker.stats()

    with pytest.raises(ValueError, match=r".") as caught:
        call(tracker)

    assert isinstance(caught.value, ValidationError | InvalidEventError)
    if isinstance(caught.value, ValidationError):
        assert caught.value.error_count() == 1
    message = str(caught.value)
    assert argument in message
    assert rule in message
    assert value in message
    assert len(message) < 500
    assert emitter.payloads == []
    assert tracker.stats() == before

    tracker.track_nowait(VIEW)
    assert [event["e"] for event in emitter.payloads] == ["pv"]


@pytest.mark.anyio
async def test_track_refuses_at_the_call_before_anything_is_awaited() -> None:
    tracker = Tracker(emitter := MemoryEmitter())

    with pytest.raises(InvalidEventError, match=r"^event_id: "):
        tracker.track(VIEW, event_id="123")  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]
    good: Any = tracker.track(VIEW)
    with pytest.raises(InvalidEventError, match=r"^tstamp: "):
        good.track(VIEW, tstamp=True)
    await good

    assert len(emitter.payloads) == 1


class NoInput:
    """An object that is no emitter."""


MISMADE: Mapping[str, tuple[Callable[[], Any], type[Exception], str, str, str]] = {
    "no emitters": (lambda: Tracker([]), ConfigurationError, "emitters", "at least one", "[]"),
    "emitter of none": (lambda: Tracker(None), ConfigurationError, "emitters", "an input method", "None"),
    "emitter of text": (
        lambda: Tracker("collector.example.com"),
        ConfigurationError,
        "emitters",
        "an input method",
        "'collector.example.com'",
    ),
    "emitter of class": (
        lambda: Tracker(MemoryEmitter),
        ConfigurationError,
        "emitters",
        "an input method",
        "MemoryEmitter",
    ),
    "emitter without input": (
        lambda: Tracker([MemoryEmitter(), NoInput()]),
        ConfigurationError,
        "emitters",
        "must be an emitter: an object with an input method",
        "NoInput",
    ),
    "added without input": (
        lambda: Tracker(MemoryEmitter()).add_emitter(NoInput()),
        ConfigurationError,
        "emitter",
        "an input method",
        "NoInput",
    ),
    "namespace of int": (
        lambda: Tracker(MemoryEmitter(), namespace=0),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        InvalidEventError,
        "namespace",
        "must be a string",
        "0",
    ),
    "namespace with a colon": (
        lambda: Tracker(MemoryEmitter(), namespace="a:b"),
        InvalidEventError,
        "namespace",
        "must not contain ':' or ';'",
        "'a:b'",
    ),
    "long app id": (
        lambda: Tracker(MemoryEmitter(), app_id="a" * 256),
        InvalidEventError,
        "app_id",
        "at most 255 characters",
        "...",
    ),
    "unknown platform": (
        lambda: Tracker(MemoryEmitter(), platform="walrus"),
        InvalidEventError,
        "platform",
        "must be one of ['app', 'cnsl', 'headset', 'iot', 'mob', 'pc', 'srv', 'tv', 'web']",
        "'walrus'",
    ),
    "no platform": (
        lambda: Tracker(MemoryEmitter(), platform=""),
        InvalidEventError,
        "platform",
        "must be one of",
        "''",
    ),
    "tracker's subject": (
        lambda: Tracker(MemoryEmitter(), subject={"user_id": "u"}),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        InvalidEventError,
        "subject",
        "must be a Subject",
        "{'user_id': 'u'}",
    ),
    "set_subject": (
        lambda: Tracker(MemoryEmitter()).set_subject("u"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        InvalidEventError,
        "subject",
        "must be a Subject",
        "'u'",
    ),
    "colour depth": (
        lambda: Subject().set_color_depth("walrus"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        InvalidEventError,
        "color_depth",
        "must be bits per pixel, a whole number from 1 to 2147483647",
        "'walrus'",
    ),
    "empty endpoint": (lambda: HttpEmitter(""), ConfigurationError, "endpoint", "must", "''"),
    "endpoint of none": (
        lambda: HttpEmitter(None),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        ConfigurationError,
        "endpoint",
        "must",
        "None",
    ),
    "wrong scheme": (
        lambda: HttpEmitter("ftp://collector.example.com"),
        ConfigurationError,
        "endpoint",
        "must",
        "'ftp://collector.example.com'",
    ),
    "contradictory protocol": (
        lambda: HttpEmitter("https://collector.example.com", protocol="http"),
        ConfigurationError,
        "protocol",
        "contradicts https://",
        "'http'",
    ),
    "contradictory port": (
        lambda: HttpEmitter("https://collector.example.com:8443", port=9443),
        ConfigurationError,
        "port",
        "contradicts the port of 'https://collector.example.com:8443'",
        "9443",
    ),
    "method": (
        lambda: HttpEmitter("collector.example.com", method="put"),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        ConfigurationError,
        "method",
        "must",
        "'put'",
    ),
}


@pytest.mark.parametrize(("make", "kind", "argument", "rule", "value"), MISMADE.values(), ids=MISMADE)
def test_what_cannot_be_made_is_one_clear_error(
    make: Callable[[], Any], kind: type[Exception], argument: str, rule: str, value: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make()

    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.startswith(argument)
    assert rule in message
    assert value in message
    assert len(message) < 500
