"""Every tracker case, and the pipeline's verdict on everything that is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import pytest

from snowplow_aio import (
    AddToCart,
    EcommerceTransaction,
    EcommerceTransactionItem,
    FormChange,
    FormSubmit,
    HttpEmitter,
    LinkClick,
    MemoryEmitter,
    MobileScreenView,
    PagePing,
    PageView,
    RemoveFromCart,
    ScreenView,
    SelfDescribingJson,
    SiteSearch,
    StructuredEvent,
    Subject,
    Tracker,
)
from snowplow_aio.micro import Micro
from tests.conformance.check_cases import disagreements, load
from tests.conformance.oracle import Oracle

KINDS: Mapping[str, Any] = {
    "page_view": PageView,
    "page_ping": PagePing,
    "struct": StructuredEvent,
    "self_describing": SelfDescribingJson,
    "screen_view": ScreenView,
    "mobile_screen_view": MobileScreenView,
    "link_click": LinkClick,
    "add_to_cart": AddToCart,
    "remove_from_cart": RemoveFromCart,
    "form_change": FormChange,
    "form_submit": FormSubmit,
    "site_search": SiteSearch,
    "transaction": EcommerceTransaction,
    "transaction_item": EcommerceTransactionItem,
}
Method = Literal["get", "post"]
OUR_NAMES = {"property": "property_", "type": "type_", "id": "id_"}

# Cases that cannot be expressed yet, with the reason. None.
LEFT_OUT: Mapping[str, str] = {}

# What the cases themselves have that deserves a second look.
EXPECTED_DOUBTS = {
    "tracker fields on every event": "url has no scheme",
    "no app id means no aid": "aid is missing",
    "GET: one event per request on /i": "url: refused by java.net.URI",
}

ALL_CASES: list[dict[str, Any]] = load()["cases"]
CASES = [case for case in ALL_CASES if case["name"] not in LEFT_OUT]
ACCEPTED = [case for case in CASES if "tracker_rejects" not in case["expected"]]
REFUSED = [case for case in CASES if "tracker_rejects" in case["expected"]]


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


def _value(value: Any) -> Any:
    """Return what stands for *value* in Python."""
    if isinstance(value, dict):
        if "$decimal" in value:
            return Decimal(value["$decimal"])
        return float(value["$float"]) if "$float" in value else {k: _value(v) for k, v in value.items()}
    return [_value(item) for item in value] if isinstance(value, list) else value


def _events(kind: str, arguments: dict[str, Any]) -> Iterator[Any]:
    """Make the events of a call, one after another."""
    if kind == "batch":
        for call in arguments["events"]:
            yield from _events(call["kind"], call["arguments"])
    else:
        yield KINDS[kind](**{OUR_NAMES.get(name, name): value for name, value in arguments.items()})


def _entity(entity: dict[str, Any]) -> Any:
    return SelfDescribingJson(**entity) if entity.keys() == {"schema", "data"} else entity


def _track(call: dict[str, Any], emitter: Any) -> list[str]:
    """Do what *call* says, and return the ids of the events, also of those that one call makes of several."""
    options: dict[str, Any] = {"app_id": "shop", **call.get("tracker", {})}
    if "namespace" in options and "app_id" not in call["tracker"]:
        del options["app_id"]
    subject: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in call.get("subject", {}).items()
    }
    made = MemoryEmitter()
    tracker = Tracker([emitter, made], subject=Subject(**subject), **options)
    metadata: dict[str, Any] = {
        "context": [_entity(entity) for entity in _value(call.get("entities", []))],
        "tstamp": call.get("device_timestamp"),
        "true_timestamp": call.get("true_timestamp"),
    }
    for event in _events(call["kind"], _value(call["arguments"])):
        tracker.track_nowait(event, **metadata)
    return [payload["eid"] for payload in made.payloads]


def _without_stm(expected: dict[str, Any]) -> dict[str, Any]:
    """Return *expected* of an event that is not on its way yet."""
    payload = expected.get("payload")
    if payload is None:
        return expected
    return {**expected, "payload": {key: value for key, value in payload.items() if key != "stm"}}


def _undoubted(name: str, problems: list[str]) -> list[str]:
    doubt = EXPECTED_DOUBTS.get(name)
    return [problem for problem in problems if doubt is None or not problem.startswith(doubt)]


@pytest.mark.parametrize("case", ACCEPTED, ids=named)
def test_a_call_makes_the_expected_payload_which_the_pipeline_takes(
    case: dict[str, Any], oracle: Oracle
) -> None:
    emitter = MemoryEmitter()

    _track(case["call"], emitter)

    assert oracle.compare(_without_stm(case["expected"]), emitter.payloads) == []
    assert _undoubted(case["name"], oracle.complaints(*emitter.payloads)) == []


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_a_wrong_call_is_refused_and_nothing_is_tracked(case: dict[str, Any]) -> None:
    emitter = MemoryEmitter()

    with pytest.raises(ValueError, match=r".+"):
        _track(case["call"], emitter)

    assert emitter.payloads == []


def test_every_case_is_tried_or_has_a_reason_not_to_be() -> None:
    names = {case["name"] for case in ALL_CASES}

    assert {case["name"] for case in ACCEPTED + REFUSED} | LEFT_OUT.keys() == names
    assert EXPECTED_DOUBTS.keys() <= names


def test_the_cases_agree_with_the_oracle(conformance: Path, oracle: Oracle) -> None:
    assert disagreements(oracle.registry) == []


def _events_in(request: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the events that a recorded request carries."""
    if request["method"] == "GET":
        return [dict(parse_qsl(str(request["query"]), strict_parsing=True))]
    events: list[dict[str, str]] = json.loads(request["body"])["data"]
    return events


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["post", "get"])
async def test_a_call_arrives_at_the_collector_as_expected(method: Method, oracle: Oracle) -> None:
    requests: list[dict[str, Any]] = []
    ids: dict[str, list[str]] = {}
    async with Micro(record=requests.append) as micro:
        emitter = HttpEmitter(micro.url, method=method)
        for case in ACCEPTED:
            ids[case["name"]] = _track(case["call"], emitter)
        await emitter.aclose(50)

    arrived = {event["eid"]: event for request in requests for event in _events_in(request)}
    problems = {
        case["name"]: oracle.compare(case["expected"], [arrived[eid] for eid in ids[case["name"]]])
        for case in ACCEPTED
    }
    assert {name: found for name, found in problems.items() if found} == {}


@pytest.mark.anyio
@pytest.mark.parametrize("encode_base64", [True, False], ids=["base64", "plain"])
@pytest.mark.parametrize("method", ["post", "get"])
async def test_everything_sent_over_http_is_taken_by_the_pipeline(
    method: Method, encode_base64: bool, oracle: Oracle
) -> None:
    requests: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    async with Micro(record=requests.append) as micro:
        emitter = HttpEmitter(micro.url, method=method)
        for case in ACCEPTED:
            call = case["call"] | {
                "tracker": {**case["call"].get("tracker", {}), "encode_base64": encode_base64}
            }
            names.update((eid, case["name"]) for eid in _track(call, emitter))
        await emitter.aclose(50)

    verdicts = [verdict for request in requests for verdict in oracle.judge(request)]
    assert {eid for eid, _ in verdicts} == names.keys()
    problems = [(names[eid], _undoubted(names[eid], found)) for eid, found in verdicts]
    assert [(name, found) for name, found in problems if found] == []


@pytest.mark.anyio
async def test_an_anonymous_event_carries_nothing_that_identifies(oracle: Oracle) -> None:
    requests: list[dict[str, Any]] = []
    subject = Subject(
        user_id="u",
        domain_user_id="d",
        network_user_id="n",
        ip_address="10.0.0.1",
        domain_session_id="5cea9899-10df-4ccf-bf66-8c36f4a4bba2",
        domain_session_index=3,
        lang="en",
    )
    async with Micro(record=requests.append) as micro:
        emitter = HttpEmitter(micro.url)
        tracker = Tracker(emitter, app_id="shop", subject=subject)
        tracker.track_nowait(PageView(page_url="https://example.com/"), anonymous=True)
        await emitter.aclose(50)

    (request,) = requests
    (event,) = _events_in(request)
    assert event["lang"] == "en"
    assert event.keys().isdisjoint({"uid", "duid", "tnuid", "nuid", "ip", "sid", "vid"})
    assert "sp-anonymous" in {name.lower() for name, _ in request["headers"]}
    assert [found for _, found in oracle.judge(request)] == [[]]
