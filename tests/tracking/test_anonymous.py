"""Anonymous events say of nobody who it was, tell the collector so, and travel apart."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from snowplow_aio import (
    EcommerceTransaction,
    HttpEmitter,
    MemoryEmitter,
    PageView,
    Payload,
    Retry,
    SelfDescribingJson,
    Subject,
    Tracker,
    use_subject,
)
from snowplow_aio.exceptions import ConfigurationError
from tests.collector import OK, Answer, Collector, Request, running_collector

pytestmark = pytest.mark.anyio

SESSION = "5cea9899-10df-4ccf-bf66-8c36f4a4bba2"
IDENTIFYING = {
    "uid": "ada",
    "duid": "c7aadf5c60a5dff9",
    "tnuid": "ecdff4d0-9175-40ac-a8bb-325c49733607",
    "sid": SESSION,
    "vid": "4",
    "ip": "198.51.100.7",
}
OTHERS = {
    "p": "mob",
    "lang": "en",
    "tz": "Europe/London",
    "res": "1366x768",
    "vp": "300x200",
    "cd": "32",
    "ua": "Mozilla/5.0",
}
PAGE = PageView(page_url="https://shop.example/shoes")


def ada() -> Subject:
    return Subject(
        platform="mob",
        user_id="ada",
        domain_user_id="c7aadf5c60a5dff9",
        network_user_id="ecdff4d0-9175-40ac-a8bb-325c49733607",
        domain_session_id=SESSION,
        domain_session_index=4,
        ip_address="198.51.100.7",
        lang="en",
        timezone="Europe/London",
        screen_resolution=(1366, 768),
        viewport=(300, 200),
        color_depth=32,
        useragent="Mozilla/5.0",
    )


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


async def track_in_every_way(tracker: Tracker) -> int:
    """Track an event in each way that there is; return how many events that are."""
    await tracker.track(PAGE)
    await tracker.track(PAGE, anonymous=False)
    await tracker.track_page_view("https://shop.example/").track_struct_event("shop", "look")
    await tracker.track(SelfDescribingJson("iglu:com.acme/look/jsonschema/1-0-0", {}))
    await tracker.track(EcommerceTransaction(order_id="o", total_value=1, items=[item("a"), item("b")]))
    tracker.track_nowait(PAGE)
    await asyncio.to_thread(tracker.track_nowait, PAGE)
    with use_subject(user_id="bound", ip_address="198.51.100.8"):
        await tracker.track(PAGE)
        await tracker.track(PAGE, subject=Subject(domain_user_id="of the call"))
    await tracker.track_and_confirm(PAGE, timeout=30)
    return 13


def item(sku: str) -> dict[str, Any]:
    return {"sku": sku, "price": 1, "quantity": 1}


def is_anonymous(request: Request) -> bool:
    return request.headers.get("sp-anonymous") == "*"


def events_of(collector: Collector) -> list[dict[str, str]]:
    return [event for request in collector.requests for event in request.events]


@pytest.mark.parametrize("method", ["post", "get"])
async def test_an_anonymous_tracker_says_of_no_event_who_it_was(collector: Collector, method: Any) -> None:
    emitter = HttpEmitter(collector.url, method=method)
    async with Tracker(emitter, subject=ada(), anonymous=True) as tracker:
        count = await track_in_every_way(tracker)
    events = events_of(collector)
    assert len(events) == collector.accepted.total() == count
    assert [event.keys() & {*IDENTIFYING, "nuid"} for event in events] == [set()] * count
    assert [event | OTHERS for event in events] == events
    assert [request.headers.get("sp-anonymous") for request in collector.requests] == ["*"] * len(
        collector.requests
    )


@pytest.mark.parametrize("method", ["post", "get"])
async def test_a_plain_tracker_says_it_and_asks_the_collector_for_nothing(
    collector: Collector, method: Any
) -> None:
    async with Tracker(HttpEmitter(collector.url, method=method), subject=ada()) as tracker:
        count = await track_in_every_way(tracker)
    events = events_of(collector)
    assert len(events) == count
    assert [event.keys() >= IDENTIFYING.keys() for event in events] == [True] * count
    assert events[0] == events[0] | IDENTIFYING | OTHERS
    assert [request for request in collector.requests if "sp-anonymous" in request.headers] == []


async def test_what_an_event_itself_says_is_the_callers_choice(collector: Collector) -> None:
    entity = SelfDescribingJson("iglu:com.acme/user/jsonschema/1-0-0", {"user_id": "ada"})
    async with Tracker(HttpEmitter(collector.url), encode_base64=False, anonymous=True) as tracker:
        await tracker.track(PageView(page_url="https://shop.example/?user=ada"), context=[entity])
    (event,) = events_of(collector)
    assert "?user=ada" in event["url"]
    assert '"user_id":"ada"' in event["co"]


def steadily(_request: Request) -> Answer:
    return OK


def unsteadily() -> Callable[[Request], Answer]:
    """Return a rule that sends events back in every way: whole requests, halves of them, single ones."""
    chance = random.Random(1)

    def answer(request: Request) -> Answer:
        status = chance.choice([200, 200, 503, 403 if len(request.events) > 1 else 200])
        if len(request.events) > 20:
            status = 413
        return Answer(status, reset=chance.random() < 0.05)

    return answer


@pytest.mark.parametrize("flush_interval", [None, 0.001], ids=["in large requests", "in small ones"])
@pytest.mark.parametrize("how", ["steadily", "unsteadily"])
async def test_anonymous_events_never_share_a_request_with_others(
    collector: Collector, how: str, flush_interval: float | None
) -> None:
    collector.rule = steadily if how == "steadily" else unsteadily()
    chance, expected = random.Random(2), dict[str, bool]()
    retry = Retry(initial_delay=0.001, max_delay=0.01)
    emitter = HttpEmitter(collector.url, retry=retry, flush_interval=flush_interval, max_batch=100)
    async with Tracker(emitter, subject=ada()) as tracker:
        for _ in range(1_000):
            anonymous = chance.random() < 0.5
            expected[await tracker.track(PAGE, anonymous=anonymous)] = anonymous
        result = await tracker.flush(45)
    assert (result.delivered, result.rejected, result.dropped, result.pending) == (1_000, 0, 0, 0)
    assert set(collector.accepted) == set(expected)
    for request in collector.requests:
        anonymous = is_anonymous(request)
        assert [expected[event["eid"]] for event in request.events] == [anonymous] * len(request.events)
        assert ["uid" not in event for event in request.events] == [anonymous] * len(request.events)
    assert {is_anonymous(request) for request in collector.requests} == {True, False}


async def test_an_anonymous_event_that_is_given_back_stays_anonymous(collector: Collector) -> None:
    """It is kept as plain values, as somebody does who writes it to a file."""
    kept: list[tuple[dict[str, str], bool]] = []
    first = HttpEmitter(
        collector.url,
        flush_interval=None,
        hooks=[
            lambda outcome: kept.extend((dict(payload), payload.anonymous) for payload in outcome.payloads)
        ],
    )
    tracker = Tracker(first, subject=ada(), anonymous=True)
    await tracker.track(PAGE)
    await tracker.aclose(0)
    assert collector.requests == []
    second = HttpEmitter(collector.url)
    async with Tracker(second):
        for fields, anonymous in kept:
            await second.input(Payload(fields, anonymous=anonymous))
    assert [is_anonymous(request) for request in collector.requests] == [True]
    assert [event["eid"] for event in events_of(collector)] == [fields["eid"] for fields, _ in kept]


@pytest.mark.parametrize("value", [1, 0, "yes", "", None, [True]], ids=repr)
def test_whether_a_tracker_is_anonymous_must_be_said_as_a_bool(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^anonymous: must be True or False, got "):
        Tracker(MemoryEmitter(), anonymous=value)
