"""The finished event."""

from __future__ import annotations

import base64
import copy
import pickle
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_aio import (
    InvalidEventError,
    MemoryEmitter,
    PagePing,
    PageView,
    Payload,
    ScreenView,
    SelfDescribing,
    SelfDescribingJson,
    Tracker,
)
from snowplow_aio.model.atomic import MAX_EVENT_BYTES
from tests.model.sent import read, read_base64, sent

FIELDS = {"e": "pv", "p": "pc", "tv": "test-1", "url": "https://example.com/"}
VIEW = PageView(page_url="https://example.com/")
ENTITY = SelfDescribingJson("iglu:com.acme/user/jsonschema/1-0-0", {"id": 1})
CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1"
UNSTRUCT_EVENT = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"


def test_a_payload_is_a_mapping_of_its_fields() -> None:
    payload = Payload(FIELDS)

    assert isinstance(payload, Mapping)
    assert dict(payload) == FIELDS
    assert payload == FIELDS
    assert len(payload) == 4
    assert list(payload) == list(FIELDS)
    assert (payload["e"], payload.get("eid"), "url" in payload) == ("pv", None, True)
    with pytest.raises(KeyError):
        payload["eid"]


def test_a_payload_is_read_only() -> None:
    payload: Any = Payload(FIELDS)

    with pytest.raises(TypeError):
        payload["e"] = "se"
    with pytest.raises(TypeError):
        del payload["e"]


def test_equal_payloads_are_the_same_in_a_set() -> None:
    backwards = dict(reversed(FIELDS.items()))

    assert Payload(FIELDS) == Payload(backwards)
    assert len({Payload(FIELDS), Payload(backwards)}) == 1
    assert Payload(FIELDS) != Payload({**FIELDS, "eid": "x"})


def test_a_payload_can_be_copied_and_pickled() -> None:
    payload = Payload(FIELDS, anonymous=True)

    for other in (copy.copy(payload), copy.deepcopy(payload), pickle.loads(pickle.dumps(payload))):
        assert (other, other.json, other.anonymous) == (payload, payload.json, True)


def test_its_json_is_compact_utf_8() -> None:
    payload = Payload({**FIELDS, "page": "ünï 😀"})

    assert payload.json == (
        '{"e":"pv","p":"pc","tv":"test-1","url":"https://example.com/","page":"ünï 😀"}'.encode()
    )
    assert repr(payload) == f"<Payload of {len(payload.json)} bytes>"


def test_empty_fields_and_the_time_of_sending_are_left_out() -> None:
    assert Payload({**FIELDS, "page": "", "stm": "1700000000000"}) == FIELDS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**FIELDS, "nope": "x"}, "payload: must have keys of the tracker protocol only, got 'nope'"),
        ({5: "x", "e": "pv"}, "payload: must have keys of the tracker protocol only, got 5"),
        ({**FIELDS, "vid": 3}, "vid: must be a string, as every protocol field is, got 3"),
        ({**FIELDS, "page": None}, "page: must be a string, as every protocol field is, got None"),
        ({**FIELDS, "page": "\ud800"}, "page: must not contain a lone surrogate, got '\\ud800'"),
        ({"e": "pv", "p": "pc"}, "payload: must have the protocol field 'tv', got {'e': 'pv', 'p': 'pc'}"),
        ({**FIELDS, "p": ""}, "payload: must have the protocol field 'p', got"),
        ({}, "payload: must have the protocol field 'e', got {}"),
        ("text", "payload: must be a mapping of protocol key to string, got 'text'"),
        (None, "payload: must be a mapping of protocol key to string, got None"),
        ({**FIELDS, "co": "x" * MAX_EVENT_BYTES}, "event: must be at most 991808 bytes as JSON"),
    ],
)
def test_what_is_no_payload_is_refused(fields: Any, message: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        Payload(fields)

    assert str(caught.value).startswith(message)


@pytest.mark.anyio
async def test_an_emitter_takes_a_plain_mapping_and_refuses_what_is_no_event() -> None:
    emitter = MemoryEmitter()

    await emitter.input(FIELDS)
    emitter.input_nowait(FIELDS)
    with pytest.raises(InvalidEventError, match=r"^payload: must have the protocol field"):
        await emitter.input({"e": "pv"})

    assert emitter.payloads == [FIELDS, FIELDS]


# --- what a tracker makes


def test_an_event_is_complete() -> None:
    fields = sent(VIEW, tracker={"namespace": "cf", "app_id": "shop", "platform": "srv"})

    assert fields.keys() == {"e", "url", "eid", "dtm", "tv", "tna", "aid", "p"}
    assert (fields["tna"], fields["aid"], fields["p"]) == ("cf", "shop", "srv")
    assert fields["tv"].startswith("pyaio-")
    assert len(fields["tv"]) <= 100


def test_empty_names_are_left_out() -> None:
    assert sent(VIEW, tracker={"namespace": "", "app_id": ""}).keys().isdisjoint({"tna", "aid"})


def test_an_event_with_a_schema_is_wrapped_once() -> None:
    event = ScreenView(name="a")
    inner = {
        "schema": "iglu:com.snowplowanalytics.snowplow/screen_view/jsonschema/1-0-0",
        "data": {"name": "a"},
    }

    assert read_base64(sent(event)["ue_px"]) == {"schema": UNSTRUCT_EVENT, "data": inner}


def test_entities_are_wrapped_once_and_keep_their_order() -> None:
    class Cart(SelfDescribing, schema="iglu:com.acme/cart/jsonschema/1-0-0"):
        total: int

    fields = sent(VIEW, context=(ENTITY, Cart(total=5), ENTITY))

    assert read_base64(fields["cx"]) == {
        "schema": CONTEXTS,
        "data": [
            {"schema": ENTITY.schema, "data": {"id": 1}},
            {"schema": "iglu:com.acme/cart/jsonschema/1-0-0", "data": {"total": 5}},
            {"schema": ENTITY.schema, "data": {"id": 1}},
        ],
    }


@pytest.mark.parametrize("context", [None, [], ()], ids=repr)
def test_no_entities_are_no_field(context: Any) -> None:
    assert sent(VIEW, context=context).keys().isdisjoint({"co", "cx"})


def test_without_base64_the_same_json_is_text() -> None:
    event = SelfDescribingJson("iglu:com.acme/x/jsonschema/1-0-0", {"a": 'quote " \\ ünï 😀'})
    plain = sent(event, context=[ENTITY], tracker={"encode_base64": False})
    encoded = sent(event, context=[ENTITY])

    assert plain.keys().isdisjoint({"ue_px", "cx"})
    assert encoded.keys().isdisjoint({"ue_pr", "co"})
    assert read(plain["ue_pr"]) == read_base64(encoded["ue_px"])
    assert read(plain["co"]) == read_base64(encoded["cx"])


@given(text=st.text(st.characters(codec="utf-8")))
def test_base64_is_url_safe_and_padded(text: str) -> None:
    field = sent(SelfDescribingJson("iglu:com.acme/x/jsonschema/1-0-0", text))["ue_px"]

    assert "+" not in field
    assert "/" not in field
    assert len(field) % 4 == 0
    assert base64.urlsafe_b64decode(field).decode() == base64.b64decode(field, b"-_", validate=True).decode()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (ENTITY, "context: must be a list of entities, or None, got SelfDescribingJson"),
        ({"schema": ENTITY.schema, "data": {}}, "context: must be a list of entities"),
        ("text", "context: must be a list of entities"),
        ({ENTITY.schema}, "context: must be a list of entities"),
        ([ENTITY, {"schema": ENTITY.schema, "data": {}}], "context[1]: must be a SelfDescribingJson or an"),
        ([VIEW], "context[0]: must be a SelfDescribingJson or an instance of a SelfDescribing model, got"),
        ([ScreenView], "context[0]: must be a SelfDescribingJson or an instance"),
        ([None], "context[0]: must be a SelfDescribingJson or an instance"),
        ([[ENTITY]], "context[0]: must be a SelfDescribingJson or an instance"),
    ],
)
def test_what_is_no_list_of_entities_is_refused(context: Any, message: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        sent(VIEW, context=context)

    assert str(caught.value).startswith(message)


def test_an_event_is_as_large_as_the_pipeline_takes_and_no_larger() -> None:
    without = len(_payload("").json)
    room = MAX_EVENT_BYTES - without

    assert len(_payload("x" * room).json) == MAX_EVENT_BYTES
    with pytest.raises(
        InvalidEventError, match=rf"^event: must be at most .*, it has {MAX_EVENT_BYTES + 1}$"
    ):
        _payload("x" * (room + 1))


def _payload(text: str) -> Payload:
    emitter = MemoryEmitter()
    tracker = Tracker(emitter, encode_base64=False)
    tracker.track_nowait(
        SelfDescribingJson("iglu:com.acme/x/jsonschema/1-0-0", text), tstamp=1_700_000_000_000
    )
    return emitter.payloads[0]


def test_an_event_can_be_tracked_twice() -> None:
    ping = PagePing(page_url="https://example.com/", min_x=0)

    first, second = sent(ping), sent(ping)

    assert first.pop("eid") != second.pop("eid")
    assert first == second


@pytest.mark.parametrize(
    ("json", "is_ours"),
    [
        (b'{"e":"pv","p":"web","tv":"x","url":"\xc3\xb6"}', True),
        (b'{"e": "pv", "p": "web", "tv": "x"}', False),
        (b'{"e":"pv","p":"web","tv":"x","e":"pv"}', False),
        (b'{"e":"pv","p":"web","tv":"x","stm":"1"}', False),
        (b'{"e":"pv","p":"web","tv":"x","uid":""}', False),
        (b'{"e":"pv","p":"web","tv":"x","tr_tt":1}', False),
        (b'{"e":"pv","p":"web","tv":"x","walrus":"1"}', False),
        (b'{"e":"pv","p":"web"}', False),
        (b"{}", False),
    ],
)
def test_only_what_is_written_as_payloads_are_is_taken_as_it_is(json: bytes, *, is_ours: bool) -> None:
    payload = Payload.stored(json, orjson.loads(json), anonymous=True)
    assert (payload is not None) is is_ours
    if payload is not None:
        assert (payload.json, payload.anonymous) == (json, True)
        assert payload == Payload(orjson.loads(json))
