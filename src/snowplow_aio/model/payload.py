"""
The payload: the protocol fields of one event, as JSON bytes that are made once.

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
    One event that is ready to be sent: a read-only mapping of protocol keys to texts.

    The time of sending (``stm``) is not in it, because it differs for each attempt.

    Args:
        fields: Protocol fields, all of them strings, with ``e``, ``p`` and ``tv``
            among them. Empty ones and ``stm`` are left out.

        anonymous: Whether the event travels with the header ``SP-Anonymous``.

    Raises:
        InvalidEventError: If a key is not one of the protocol's, a value is no string, a
            required key is missing, or the event is too large for the collector.

    Example:
        Hand an event to an emitter, without a tracker::

            await emitter.input(Payload({"e": "pv", "p": "web", "tv": "own-1", "url": "https://shop.example/"}))
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
        Return the payload whose JSON is *json*, or None if this library would write it in another way.

        The JSON of a payload is not written again, which saves a third of the work
        of a worker.

        Args:
            json: The JSON of an event.

            fields: The fields that were read from it.

            anonymous: Whether the event travels with the header ``SP-Anonymous``.
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
        """
        Return *fields*, a payload or any mapping of protocol fields, as a payload.

        Raises:
            InvalidEventError: If a mapping is no event; see `Payload`.
        """
        return fields if isinstance(fields, Payload) else cls(fields)

    @property
    def json(self) -> bytes:
        """The fields as a compact JSON object in UTF-8; a new object at each call."""
        return b"{" + self.tail

    @property
    def size(self) -> int:
        """The length of the JSON, in bytes."""
        return len(self.tail) + 1

    def fields(self) -> dict[str, str]:
        """Return all fields, read from the JSON at this call."""
        # They are not kept: a queue of many events would hold everything twice.
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
    Check that an event is small enough to reach the pipeline.

    Args:
        tail: The JSON of the event without its first brace.

    Raises:
        InvalidEventError: If the JSON is larger than `MAX_EVENT_BYTES`: the collector
            would answer 200 and lose the event.
    """
    if len(tail) >= MAX_EVENT_BYTES and is_validating():
        rule = f"must be at most {MAX_EVENT_BYTES} bytes as JSON, contexts included"
        raise InvalidEventError(f"event: {rule}, it has {len(tail) + 1}")
