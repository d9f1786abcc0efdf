"""
What goes out of one event: its protocol fields, as JSON bytes made once.

Every emitter, store and transport shares these bytes. Nothing encodes them
again, so byte limits are exact and a repeated request differs in ``stm`` only.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Self

import orjson

from snowplow_aio.encoding import JSONDefault, model_data, to_json
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

    @classmethod
    def ready(cls, json: bytes, *, anonymous: bool) -> Self:
        """Return the payload of JSON that is known to be right."""
        payload = cls.__new__(cls)
        payload.json = json
        payload.anonymous = anonymous
        return payload

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Payload:
        """Return *fields*, a payload or any mapping of protocol fields, as a payload."""
        return fields if isinstance(fields, Payload) else cls(fields)

    def _fields(self) -> dict[str, str]:
        # Not kept: a queue of many events would hold everything twice.
        fields: dict[str, str] = orjson.loads(self.json)
        return fields

    def __getitem__(self, key: str) -> str:
        return self._fields()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())

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


def encode(
    event: Event,
    constant: bytes,
    own: dict[str, str],
    context: Iterable[Entity] | None = None,
    *,
    base64: bool = True,
    default: JSONDefault | None = None,
    anonymous: bool = False,
) -> Payload:
    """
    Return the payload of *event*.

    Args:
        event: What happened.

        constant: Members of a JSON object, without its braces: what the tracker
            and the subject add.

        own: Protocol fields of this event: its id and timestamps.

        context: The entities that go with it.

        base64: Whether self-describing data is sent as URL-safe base64.

        default: Turns values that JSON does not know into some that it does.

        anonymous: Whether it travels with ``SP-Anonymous``.

    Raises InvalidEventError when something in it is not JSON or all of it is too large.
    """
    if isinstance(event, PrimitiveEvent):
        parts = [_primitive(event, own)]
    else:
        inner = _self_describing(event, "event", default)
        parts = [
            orjson.dumps({"e": "ue", **own})[:-1],
            _member("ue", _envelope(_UNSTRUCT_EVENT, inner), base64=base64),
        ]
    if constant:
        parts += (b",", constant)
    if context:
        entities = [_self_describing(entity, f"context[{i}]", default) for i, entity in enumerate(context)]
        parts.append(_member("c", _envelope(_CONTEXTS, b"[%b]" % b",".join(entities)), base64=base64))
    parts.append(b"}")
    return Payload.ready(within_limit(b"".join(parts)), anonymous=anonymous)


def _primitive(event: PrimitiveEvent, own: dict[str, str]) -> bytes:
    """Return the fields of *event* and its *own* as a JSON object that is still open."""
    try:
        return orjson.dumps(event.protocol_fields() | own)[:-1]
    except TypeError:
        for name, value in event:
            if isinstance(value, str) and not is_unicode(value):
                raise InvalidEventError.about(name, value, "must not contain a lone surrogate") from None
        raise


_MEMBERS = {
    ("ue", True): b',"ue_px":"',
    ("ue", False): b',"ue_pr":',
    ("c", True): b',"cx":"',
    ("c", False): b',"co":',
}


def _member(kind: str, json: bytes, *, base64: bool) -> bytes:
    """Return a member of the payload with self-describing *json*, as base64 or as text."""
    name = _MEMBERS[kind, base64]
    if base64:
        # Three calls in C; `base64.urlsafe_b64encode` takes twice as long.
        encoded = b2a_base64(json, newline=False).replace(b"+", b"-").replace(b"/", b"_")
        return b'%b%b"' % (name, encoded)
    return name + orjson.dumps(json.decode())


def _envelope(schema: str, data: bytes) -> bytes:
    return b"%b%b}" % (_envelope_head(schema), data)


@lru_cache(maxsize=4096)
def _envelope_head(schema: str) -> bytes:
    return b'{"schema":"%b","data":' % schema.encode()


def _self_describing(value: Any, argument: str, default: JSONDefault | None) -> bytes:
    """Return *value*, an event or an entity, as self-describing JSON."""
    if isinstance(value, SelfDescribing):
        uri = getattr(value, "schema_uri", None)
        if uri is None:
            rule = "must be of a class with a schema: class X(SelfDescribing, schema='iglu:...')"
            raise InvalidEventError.about(argument, type(value).__name__, rule)
        return _envelope(uri, to_json(model_data(value), argument, default))
    if isinstance(value, SelfDescribingJson):
        return _envelope(value.schema, to_json(value.data, f"{argument}.data", default))
    rule = "must be a SelfDescribingJson or an instance of a SelfDescribing model"
    if argument == "event":
        rule = "must be an event: an instance of PageView or another model, or a SelfDescribingJson"
    raise InvalidEventError.about(argument, value, rule)
