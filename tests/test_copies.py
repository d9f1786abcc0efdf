"""Values can be copied and pickled; what has events in it says that it cannot."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from snowplow_aio import (
    CLEAR,
    AddToCart,
    ApplicationError,
    CeleryEmitter,
    ConsoleEmitter,
    Delivered,
    DeviceTimestamp,
    Draft,
    Dropped,
    EcommerceTransaction,
    EmitterStats,
    FileEmitter,
    FlushResult,
    FormChange,
    FormElement,
    FormSubmit,
    Health,
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    MemoryStore,
    MobileScreenView,
    Overflow,
    PagePing,
    PageView,
    Payload,
    RedisEmitter,
    RedisListStore,
    RedisStreamStore,
    Rejected,
    Retried,
    Retry,
    SchemaKey,
    SelfDescribing,
    SelfDescribingJson,
    SiteSearch,
    StructuredEvent,
    Subject,
    Tracker,
    TrueTimestamp,
)
from snowplow_aio.abc import Response, Transport
from snowplow_aio.entities.client_hints import Brand, HttpClientHints
from snowplow_aio.entities.user import User
from snowplow_aio.entities.web_page import WebPage
from snowplow_aio.instrumentation.health import HealthEndpoint
from snowplow_aio.micro import Micro
from snowplow_aio.policies import Batching
from snowplow_aio.registry import TrackerRegistry
from snowplow_aio.settings import Settings
from snowplow_aio.tracking.enricher_chain import EnrichmentStats
from snowplow_aio.worker import RedisWorker

URI = "iglu:com.acme/game/jsonschema/1-0-0"
VIEW = PageView(page_url="https://example.com/")
PAYLOAD = Payload({"e": "pv", "p": "srv", "tv": "t"})
OUTCOME: dict[str, Any] = {"emitter": "http", "payloads": (PAYLOAD,), "attempts": 1, "waited": 0.5}


class Game(SelfDescribing, schema=URI):
    level: int = 1


class OwnTransport(Transport):
    async def send(self, payloads: Sequence[Payload]) -> Response:
        raise NotImplementedError


class OwnStore(MemoryStore):
    pass


ITEM = {"sku": "s", "price": 1, "quantity": 1, "context": [User(id_="u")]}
VALUES: list[Any] = [
    VIEW,
    PagePing(page_url="u", min_x=-1),
    StructuredEvent(category="c", action="a", value=1.5),
    EcommerceTransaction(order_id="o", total_value=1, items=[ITEM]),
    AddToCart(sku="s", quantity=1),
    FormChange(form_id="f", element_id="e", node_name="INPUT", value=None),
    FormSubmit(form_id="f", elements=[FormElement(name="n", value="v", node_name="INPUT")]),
    SiteSearch(terms=["t"], filters={"a": True}),
    MobileScreenView(name="n"),
    ApplicationError(message="m"),
    Game(level=2),
    SelfDescribingJson(URI, {"a": [1]}),
    WebPage(),
    HttpClientHints(is_mobile=True, brands=[Brand(brand="b", version="1")]),
    PAYLOAD,
    SchemaKey.parse(URI),
    TrueTimestamp(1_700_000_000_000),
    DeviceTimestamp(datetime(2024, 1, 1, tzinfo=UTC)),
    Retry(retry_codes={429: True}),
    Retry.never(),
    Overflow.WAIT,
    Batching(),
    Delivered(**OUTCOME, status=200),
    Rejected(**OUTCOME, reason="refused", status=400),
    Dropped(**OUTCOME, reason="closed"),
    Retried(**OUTCOME, reason="503", pause=1.0),
    FlushResult.of({"http": FlushResult(delivered=2)}),
    EmitterStats(accepted=1, rejected=MappingProxyType({"refused": 1})),
    Health.of({"http": EmitterStats()}),
    EnrichmentStats(faults=MappingProxyType({"f": 1})),
    Settings(collector="c.example"),
    Draft(event=VIEW, context=(), subject=Subject(), anonymous=False, event_id="i"),
]
NAMES = [f"{i}-{type(value).__name__}" for i, value in enumerate(VALUES)]
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {version}": lambda value, version=version: pickle.loads(pickle.dumps(value, version))  # type: ignore[misc]
        for version in (2, pickle.HIGHEST_PROTOCOL)
    },
}
each_way = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


@each_way
@pytest.mark.parametrize("value", VALUES, ids=NAMES)
def test_a_value_and_its_copy_are_equal(copied: Callable[[Any], Any], value: Any) -> None:
    twin = copied(value)

    assert type(twin) is type(value)
    assert repr(twin) == repr(value)
    if not isinstance(value, Draft):
        assert twin == value


@each_way
def test_a_copy_is_as_read_only_as_the_value(copied: Callable[[Any], Any]) -> None:
    retry = copied(Retry(retry_codes={429: True}))
    stats = copied(EmitterStats(dropped=MappingProxyType({"closed": 1})))

    for mapping in (retry.retry_codes, stats.dropped):
        with pytest.raises(TypeError, match="item assignment"):
            mapping["x"] = 1


@each_way
def test_a_copied_subject_can_be_changed_by_itself_and_keeps_what_it_clears(
    copied: Callable[[Any], Any],
) -> None:
    subject = Subject(user_id="u", lang=CLEAR, viewport=(1, 2))
    twin = copied(subject)
    twin.set_user_id("other")

    assert repr(subject) == "Subject(user_id='u', viewport=(1, 2), lang=CLEAR)"
    assert twin.lang is CLEAR
    assert copied(CLEAR) is CLEAR


@each_way
def test_a_copied_transaction_still_has_its_items(copied: Callable[[Any], Any]) -> None:
    order = EcommerceTransaction(order_id="o", total_value=1, items=[ITEM])
    tracker = Tracker(emitter := MemoryEmitter())

    tracker.track_nowait(copied(order))

    assert [payload["e"] for payload in emitter.payloads] == ["tr", "ti"]


@each_way
@pytest.mark.parametrize(
    "make",
    [
        lambda: Tracker(MemoryEmitter()),
        lambda: HttpEmitter("c.example"),
        lambda: FileEmitter("events.jsonl"),
        CeleryEmitter,
        ConsoleEmitter,
        RedisEmitter,
        MemoryEmitter,
        MemoryStore,
        RedisListStore,
        RedisStreamStore,
        lambda: RedisWorker(HttpEmitter("c.example")),
        lambda: HealthEndpoint(RedisWorker(HttpEmitter("c.example"))),
        TrackerRegistry,
        Micro,
        OwnTransport,
        OwnStore,
    ],
    ids=[
        "Tracker",
        "HttpEmitter",
        "FileEmitter",
        "CeleryEmitter",
        "ConsoleEmitter",
        "RedisEmitter",
        "MemoryEmitter",
        "MemoryStore",
        "RedisListStore",
        "RedisStreamStore",
        "RedisWorker",
        "HealthEndpoint",
        "TrackerRegistry",
        "Micro",
        "OwnTransport",
        "OwnStore",
    ],
)
def test_what_events_wait_in_says_that_it_cannot_be_copied(
    copied: Callable[[Any], Any], make: Callable[[], Any]
) -> None:
    thing = make()

    name = type(thing).__name__
    with pytest.raises(TypeError, match=rf"^{name} cannot be copied or pickled; make another one"):
        copied(thing)


@each_way
def test_the_errors_are_values_too(copied: Callable[[Any], Any]) -> None:
    error = copied(InvalidEventError.about("tstamp", 5, "must be milliseconds"))

    assert str(error) == "tstamp: must be milliseconds, got 5"
