"""
What goes out of one event: its protocol fields, as JSON bytes made once.

Every emitter, store and transport shares these bytes. Nothing encodes them
again, so byte limits are exact and a repeated request differs in ``stm`` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import MAX_EVENT_BYTES, is_unicode
from snowplow_aio.model.payload_bytes import PayloadBytes
from snowplow_aio.model.primitive_event import PrimitiveEvent
from snowplow_aio.model.self_describing import SelfDescribing, SelfDescribingJson
from snowplow_aio.model.validation import is_validating

PAYLOAD_DATA = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"

PROTOCOL_KEYS: Final = frozenset(
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
"""
Every key of the schema ``payload_data`` 1-0-4.

One unknown key makes the pipeline refuse the whole request, with all events in
it (docs/explanation/protocol.md, "Envelopes and schemas").
"""

REQUIRED_KEYS: Final = ("e", "p", "tv")
"""The keys that the same schema requires."""

# The same as sets, which are quick to compare.
_WRITTEN = PROTOCOL_KEYS - {"stm"}
_REQUIRED = frozenset(REQUIRED_KEYS)
_TEXT = {str}

Event = PrimitiveEvent | SelfDescribing | SelfDescribingJson
Entity = SelfDescribing | SelfDescribingJson


class Payload(PayloadBytes, Mapping[str, str]):
    """
    One event, ready to be sent: a read-only mapping of protocol key to text.

    The time of sending (``stm``) is not in it: it belongs to each attempt.

    Args:
        fields: Protocol fields, all of them strings, with ``e``, ``p`` and ``tv``
            among them; empty ones and ``stm`` are left out.

        anonymous: Whether it travels with ``SP-Anonymous``.

    Raises InvalidEventError when a key is not one of the protocol's, a value no
    string, a required key is missing, or the event is too large to arrive.
    """

    __slots__ = ()

    tail: bytes
    anonymous: bool

    def __init__(self, fields: Mapping[str, str], *, anonymous: bool = False) -> None:
        if not isinstance(fields, Mapping):
            raise InvalidEventError.about("payload", fields, "must be a mapping of protocol key to string")
        kept = {key: _checked(key, value) for key, value in fields.items() if key != "stm" and value != ""}
        for key in REQUIRED_KEYS:
            if key not in kept:
                raise InvalidEventError.about("payload", dict(kept), f"must have the protocol field {key!r}")
        self.tail = orjson.dumps(kept)[1:]
        self.anonymous = anonymous
        check_size(self.tail)

    @staticmethod
    def stored(json: bytes, fields: Mapping[str, Any], *, anonymous: bool) -> Payload | None:
        """
        Return the payload of *json*, in which *fields* were found, if it is as payloads are.

        It is not written again then, which is a third of what a worker does for an event.
        """
        is_ours = (
            fields.keys() <= _WRITTEN
            and fields.keys() >= _REQUIRED
            and set(map(type, fields.values())) == _TEXT
            and "" not in fields.values()
            and orjson.dumps(fields) == json
        )
        if not is_ours:
            return None
        check_size(json[1:])
        return _restored(json[1:], anonymous)

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Payload:
        """Return *fields*, a payload or any mapping of protocol fields, as a payload."""
        return fields if isinstance(fields, Payload) else cls(fields)

    @property
    def json(self) -> bytes:
        """The fields as a compact JSON object in UTF-8; put together at each call."""
        return b"{" + self.tail

    @property
    def size(self) -> int:
        """The bytes of its JSON."""
        return len(self.tail) + 1

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
        return f"<Payload of {self.size} bytes>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.tail, self.anonymous)


def _restored(tail: bytes, anonymous: bool) -> Payload:  # noqa: FBT001 - as pickle calls it
    payload = Payload.__new__(Payload)
    payload.tail = tail
    payload.anonymous = anonymous
    return payload


def _checked(key: str, value: object) -> str:
    if key not in PROTOCOL_KEYS:
        raise InvalidEventError.about("payload", key, "must have keys of the tracker protocol only")
    if not isinstance(value, str):
        raise InvalidEventError.about(key, value, "must be a string, as every protocol field is")
    if not is_unicode(value):
        raise InvalidEventError.about(key, value, "must not contain a lone surrogate")
    return value


def check_size(tail: bytes) -> None:
    """
    Check that *tail*, the JSON of an event without its first brace, is of a size that can reach the pipeline.

    Raises InvalidEventError when it is larger than MAX_EVENT_BYTES: the
    collector would answer 200 and lose it.
    """
    if len(tail) >= MAX_EVENT_BYTES and is_validating():
        rule = f"must be at most {MAX_EVENT_BYTES} bytes as JSON, contexts included"
        raise InvalidEventError(f"event: {rule}, it has {len(tail) + 1}")
