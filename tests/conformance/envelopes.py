"""
The schemas of the protocol's envelopes, for an oracle without the public schema files.

They have the rules of the public ones in words of our own: `test_envelopes.py`
compares the two where those files are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.protocol import CONTEXTS_KEYS, FIELDS, UNSTRUCT_KEYS

_SNOWPLOW = "iglu:com.snowplowanalytics.snowplow"
_IGLU_URI = r"^iglu:[a-zA-Z0-9-_.]+/[a-zA-Z0-9-_]+/[a-zA-Z0-9-_]+/[0-9]+-[0-9]+-[0-9]+$"

# Keys that enrich reads in a query string, and payload_data does not have.
_ONLY_IN_QUERIES = {"cv", "ev_ca", "ev_ac", "ev_la", "ev_pr", "ev_va"}
# Keys that payload_data has, and enrich does not read.
_UNREAD = {"ad_ad", "ad_ba", "ad_ca", "ad_uid", "ctype", "mac", "sa", "sn", "sp", "st", "ue_na"}
# Keys by the addition of payload_data that brought them.
_ADDED = {1: {"ua"}, 2: {"tnuid"}, 3: {"sid", "stm"}, 4: {"ttm"}}


def _payload_data(addition: int) -> dict[str, Any]:
    later = {key for version, keys in _ADDED.items() if version > addition for key in keys}
    keys = (FIELDS.keys() | {*CONTEXTS_KEYS, *UNSTRUCT_KEYS} | _UNREAD) - _ONLY_IN_QUERIES - later
    event = {
        "type": "object",
        "properties": {key: {"type": "string"} for key in sorted(keys)},
        "required": ["tv", "p", "e"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": event, "minItems": 1}


_SELF_DESCRIBING = {
    "type": "object",
    "properties": {"schema": {"type": "string", "pattern": _IGLU_URI}, "data": {}},
    "required": ["schema", "data"],
    "additionalProperties": False,
}

ENVELOPES: Mapping[str, Mapping[str, Any]] = {
    **{f"{_SNOWPLOW}/payload_data/jsonschema/1-0-{n}": _payload_data(n) for n in range(5)},
    f"{_SNOWPLOW}/contexts/jsonschema/1-0-0": {"type": "array", "items": _SELF_DESCRIBING, "minItems": 1},
    f"{_SNOWPLOW}/contexts/jsonschema/1-0-1": {"type": "array", "items": _SELF_DESCRIBING},
    f"{_SNOWPLOW}/unstruct_event/jsonschema/1-0-0": _SELF_DESCRIBING,
}
