"""
What goes out of one event: its protocol fields, as JSON bytes made once.

Every emitter, store and transport shares these bytes. Nothing encodes them
again, so byte limits are exact and a repeated request differs in ``stm`` only.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeGuard

import orjson

from snowplow_aio.encoding import JSONDefault, json_in_one_pass, model_data, to_json
from snowplow_aio.events.primitive import PrimitiveEvent
from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.self_describing import SelfDescribing, SelfDescribingJson
from snowplow_aio.validation import MAX_EVENT_BYTES, is_unicode, is_validating

PAYLOAD_DATA = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
_CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1"
_UNSTRUCT_EVENT = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"

# Every key of payload_data 1-0-4 (PROTOCOL.md §1.2, §3.1): one unknown key
# makes the pipeline refuse the whole request, with all events in it.
_KEYS = frozenset(
    [
        "e", "ip", "aid", "p", "tid", "uid", "duid", "nuid", "tnuid", "ua", "fp", "vid", "sid", "dtm",
        "ttm", "stm", "tna", "tv", "lang", "f_pdf", "f_fla", "f_java", "f_dir", "f_qt", "f_realp", "f_wma",
        "f_gears", "f_ag", "cookie", "res", "cd", "tz", "refr", "url", "page", "cs", "ds", "vp", "eid",
        "se_ca", "se_ac", "se_la", "se_pr", "se_va", "tr_id", "tr_af", "tr_tt", "tr_tx", "tr_sh", "tr_ci",
        "tr_st", "tr_co", "tr_cu", "ti_id", "ti_sk", "ti_na", "ti_nm", "ti_ca", "ti_pr", "ti_qu", "ti_cu",
        "pp_mix", "pp_max", "pp_miy", "pp_may", "co", "cx", "ue_pr", "ue_px", "ad_ad", "ad_ba", "ad_ca",
        "ad_uid", "ctype", "mac", "sa", "sn", "sp", "st", "ue_na",
    ]
)  # fmt: skip
_REQUIRED = ("e", "p", "tv")

Event = PrimitiveEvent | SelfDescribing | SelfDescribingJson
Entity = SelfDescribing | SelfDescribingJson


class Payload(Mapping[str, str]):
    """
    One event, ready to be sent: a read-only mapping of protocol key to text.

    The time of sending (``stm``) is not in it: it belongs to each attempt.

    Args:
        fields: Protocol fields, all of them strings, with ``e``, ``p`` and ``tv``
            among them; empty ones and ``stm`` are left out.

        anonymous: Whether it travels with ``SP-Anonymous``.

    Attributes:
        json: The fields as a compact JSON object in UTF-8.

        anonymous: Whether it travels with ``SP-Anonymous``.

    Raises InvalidEventError when a key is not one of the protocol's, a value no
    string, a required key is missing, or the event is too large to arrive.
    """

    __slots__ = ("anonymous", "json")

    json: bytes
    anonymous: bool

    def __init__(self, fields: Mapping[str, str], *, anonymous: bool = False) -> None:
        if not isinstance(fields, Mapping):
            raise InvalidEventError.about("payload", fields, "must be a mapping of protocol key to string")
        kept = {key: _checked(key, value) for key, value in fields.items() if key != "stm" and value != ""}
        for key in _REQUIRED:
            if key not in kept:
                raise InvalidEventError.about("payload", dict(kept), f"must have the protocol field {key!r}")
        self.json = within_limit(orjson.dumps(kept))
        self.anonymous = anonymous

    @staticmethod
    def ready(json: bytes, anonymous: bool) -> Payload:  # noqa: FBT001 - called for each event
        """Return the payload of JSON that is known to be right."""
        payload = Payload.__new__(Payload)
        payload.json = json
        payload.anonymous = anonymous
        return payload

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Payload:
        """Return *fields*, a payload or any mapping of protocol fields, as a payload."""
        return fields if isinstance(fields, Payload) else cls(fields)

    def fields(self) -> dict[str, str]:
        """Return all fields, read from the JSON once."""
        # Not kept: a queue of many events would hold everything twice.
        fields: dict[str, str] = orjson.loads(self.json)
        return fields

    def __getitem__(self, key: str) -> str:
        return self.fields()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields())

    def __len__(self) -> int:
        return len(self.fields())

    def __hash__(self) -> int:
        # Not of the bytes: payloads with the same fields in another order are equal.
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"<Payload of {len(self.json)} bytes>"


def _checked(key: str, value: object) -> str:
    if key not in _KEYS:
        raise InvalidEventError.about("payload", key, "must have keys of the tracker protocol only")
    if not isinstance(value, str):
        raise InvalidEventError.about(key, value, "must be a string, as every protocol field is")
    if not is_unicode(value):
        raise InvalidEventError.about(key, value, "must not contain a lone surrogate")
    return value


def within_limit(json: bytes) -> bytes:
    """
    Return *json* when an event of its size can reach the pipeline.

    Raises InvalidEventError when it is larger than MAX_EVENT_BYTES: the
    collector would answer 200 and lose it.
    """
    if len(json) > MAX_EVENT_BYTES and is_validating():
        raise InvalidEventError(
            f"event: must be at most {MAX_EVENT_BYTES} bytes as JSON, contexts included, it has {len(json)}"
        )
    return json


def encode(  # noqa: PLR0917 - positional arguments are the faster ones
    event: Event,
    constant: bytes,
    own: Mapping[str, str],
    context: Sequence[Entity] | None = None,
    base64: bool = True,  # noqa: FBT001, FBT002 - positional, which is faster
    default: JSONDefault | None = None,
    anonymous: bool = False,  # noqa: FBT001, FBT002
) -> Payload:
    """
    Return the payload of *event*.

    Args:
        event: What happened.

        constant: Members of a JSON object, without its braces: what the tracker
            and the subject add; at least one.

        own: Protocol fields of this event: its id and timestamps.

        context: The entities that go with it.

        base64: Whether self-describing data is sent as URL-safe base64.

        default: Turns values that JSON does not know into some that it does.

        anonymous: Whether it travels with ``SP-Anonymous``.

    Raises InvalidEventError when something in it is not JSON or all of it is too large.
    """
    # Joined once: each copy of an event costs as much as its JSON does.
    if is_primitive(event):
        parts = [_protocol_fields(event, own), b",", constant]
    else:
        parts = [orjson.dumps({"e": "ue", **own})[:-1], b",", constant]
        parts += _member(_UNSTRUCT_EVENT_KEYS[base64], _unstruct_event(event, default), base64=base64)
    if context:
        parts += _member(_CONTEXTS_KEYS[base64], _contexts(context, default), base64=base64)
    parts.append(b"}")
    json = b"".join(parts)
    if len(json) > MAX_EVENT_BYTES:
        within_limit(json)
    return Payload.ready(json, anonymous)


# Asked once for each class: pydantic makes `isinstance` take half a microsecond.
_is_a: Callable[[Any, Any], bool] = cache(issubclass)


def is_primitive(event: object) -> TypeGuard[PrimitiveEvent]:
    """Return whether the tracker protocol has fields of its own for *event*."""
    return _is_a(type(event), PrimitiveEvent)


def _protocol_fields(event: PrimitiveEvent, own: Mapping[str, str]) -> bytes:
    """Return the fields of *event* and its *own* as a JSON object that is still open."""
    fields = event.protocol_fields()
    fields |= own
    try:
        return orjson.dumps(fields)[:-1]
    except TypeError:
        for name, value in event:
            if isinstance(value, str) and not is_unicode(value):
                raise InvalidEventError.about(name, value, "must not contain a lone surrogate") from None
        raise


_UNSTRUCT_EVENT_KEYS = {True: b',"ue_px":', False: b',"ue_pr":'}
_CONTEXTS_KEYS = {True: b',"cx":', False: b',"co":'}


def _member(key: bytes, json: bytes, *, base64: bool) -> tuple[bytes, ...]:
    """Return the parts of a member with self-describing *json*, as base64 or as text."""
    if base64:
        # Three calls in C; `base64.urlsafe_b64encode` takes twice as long.
        return key, b'"', b2a_base64(json, newline=False).replace(b"+", b"-").replace(b"/", b"_"), b'"'
    return key, orjson.dumps(json.decode())


def _unstruct_event(event: Any, default: JSONDefault | None) -> bytes:
    described = _described(event, "event")
    json = json_in_one_pass({"schema": _UNSTRUCT_EVENT, "data": described}, default)
    return json or _envelope(_UNSTRUCT_EVENT, _checked_json(event, described, "event", default))


def _contexts(context: Sequence[Entity], default: JSONDefault | None) -> bytes:
    described = [
        # The usual case without a call.
        {"schema": entity.schema, "data": entity.data}
        if type(entity) is SelfDescribingJson
        else _described(entity, i)
        for i, entity in enumerate(context)
    ]
    json = json_in_one_pass({"schema": _CONTEXTS, "data": described}, default)
    if json is not None:
        return json
    parts = zip(context, described, strict=True)
    entities = [
        _checked_json(entity, parts, f"context[{i}]", default) for i, (entity, parts) in enumerate(parts)
    ]
    return _envelope(_CONTEXTS, b"[%b]" % b",".join(entities))


def _checked_json(
    value: Entity, described: Mapping[str, Any], argument: str, default: JSONDefault | None
) -> bytes:
    """Return one self-describing JSON of several, so that an error can name the place."""
    place = f"{argument}.data" if isinstance(value, SelfDescribingJson) else argument
    return _envelope(described["schema"], to_json(described["data"], place, default))


def _envelope(schema: str, data: bytes) -> bytes:
    return b'{"schema":"%b","data":%b}' % (schema.encode(), data)


def _described(value: Any, place: str | int) -> dict[str, Any]:
    """Return the two parts of *value*, the event or the entity at *place*."""
    if isinstance(value, SelfDescribingJson):
        return {"schema": value.schema, "data": value.data}
    argument = "event" if place == "event" else f"context[{place}]"
    if _is_a(type(value), SelfDescribing):
        uri = getattr(value, "schema_uri", None)
        if uri is None:
            rule = "must be of a class with a schema: class X(SelfDescribing, schema='iglu:...')"
            raise InvalidEventError.about(argument, type(value).__name__, rule)
        return {"schema": uri, "data": model_data(value)}
    rule = "must be a SelfDescribingJson or an instance of a SelfDescribing model"
    if place == "event":
        rule = "must be an event: an instance of PageView or another model, or a SelfDescribingJson"
    raise InvalidEventError.about(argument, value, rule)
