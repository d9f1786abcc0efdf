"""
JSON and base64 as the pipeline reads them, and the self-describing form of JSON.

See docs/explanation/protocol.md, "JSON, base64 and formats".
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import MAX_JSON_DEPTH
from snowplow_aio.model.schema_key import SchemaKey

JSONValue: TypeAlias = Any
JSONObject: TypeAlias = dict[str, Any]

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def parse_json(text: str) -> JSONValue:
    """
    Return the JSON value in *text*, with exact Decimals for its fractions.

    Raises:
        ValueError: If the pipeline's parser refuses the text: it is not JSON, has
            NaN or an infinity, or is nested more than 40 levels deep.
    """
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("maximum allowed JSON depth exceeded") from None
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise ValueError("maximum allowed JSON depth exceeded")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _is_deeper(value: JSONValue, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: JSONValue) -> list[JSONValue]:
    match value:
        case list():
            return list(value)
        case dict():
            return list(value.values())
        case _:
            return []


def plain(value: JSONValue) -> JSONValue:
    """
    Return *value* with floats in place of Decimals.

    Every JSON writer takes the result, and a test can compare it by `==`. A
    number beyond the floats becomes text.
    """
    match value:
        case Decimal():
            return float(value) if abs(float(value)) != float("inf") else str(value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case _:
            return value


def decode_base64(text: str) -> str:
    """
    Decode *text* as leniently as the pipeline does.

    Both base64 alphabets are read, padding is optional, and foreign characters
    are skipped. It never fails: bytes that are not UTF-8 become U+FFFD.
    """
    kept = _NOT_BASE64.sub("", text.partition("=")[0].translate(_STANDARD_ALPHABET))
    if len(kept) % 4 == 1:
        # One character holds six bits, too few for a byte.
        kept = kept[:-1]
    return binascii.a2b_base64(kept + "=" * (-len(kept) % 4)).decode("utf-8", "replace")


class NotIgluError(ValueError):
    """A JSON value is not self-describing. The message is the pipeline's code for the reason."""


def self_describing(value: JSONValue) -> tuple[SchemaKey, JSONValue]:
    """
    Return the schema key and the data of a self-describing JSON *value*.

    Raises:
        NotIgluError: If it has no ``schema`` or no ``data``, or the schema is not an Iglu URI.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("schema"), str) or "data" not in value:
        raise NotIgluError("INVALID_DATA_PAYLOAD")
    try:
        return SchemaKey.parse(value["schema"]), value["data"]
    except InvalidEventError as error:
        raise NotIgluError("INVALID_IGLUURI") from error
