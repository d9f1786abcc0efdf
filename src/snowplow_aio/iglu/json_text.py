"""
JSON and base64 as the pipeline reads them, and the self-describing form of JSON.

See docs/explanation/protocol.md, "JSON, base64 and formats".
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import MAX_JSON_DEPTH
from snowplow_aio.model.schema_key import SchemaKey

JSONValue: TypeAlias = Any
JSONObject: TypeAlias = dict[str, Any]

# A number beyond these limits costs more to compute with than all else in a request.
# int() of the standard library has the first of them too.
MAX_NUMBER_DIGITS = 4300
MAX_NUMBER_EXPONENT = 5000

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def parse_json(text: str) -> JSONValue:
    """
    Return the JSON value in *text*, with exact Decimals for its fractions.

    Raises:
        ValueError: If the pipeline's parser refuses the text: it is not JSON, has
            NaN or an infinity, or is nested more than 40 levels deep. Or if it has
            a number of more than 4,300 digits or with an exponent beyond ±5,000.
    """
    try:
        value = json.loads(
            text, parse_int=_integer, parse_float=exact_decimal, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ValueError("maximum allowed JSON depth exceeded") from None
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise ValueError("maximum allowed JSON depth exceeded")
    return value


def _integer(text: str) -> int:
    _check_digits(text)
    return int(text)


def exact_decimal(text: str) -> Decimal:
    """
    Return the number in *text*, which has the form of a number in JSON.

    Raises:
        ValueError: If it has too many digits or too large an exponent.
    """
    digits, _, exponent = text.lower().partition("e")
    _check_digits(digits)
    magnitude = exponent.lstrip("+-0")
    # The length first: the text may be a megabyte of digits.
    if len(magnitude) > 4 or int(magnitude or 0) > MAX_NUMBER_EXPONENT:
        raise ValueError(f"a number must have an exponent within ±{MAX_NUMBER_EXPONENT}")
    return Decimal(text)


def _check_digits(text: str) -> None:
    # Beside the digits there may be a sign and a point.
    if len(text.lstrip("-").replace(".", "")) > MAX_NUMBER_DIGITS:
        raise ValueError(f"a number must have at most {MAX_NUMBER_DIGITS} digits")


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
            return plain_number(value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case _:
            return value


def plain_number(number: Decimal) -> float | str:
    """Return *number* as a float, or as text if it is beyond the floats."""
    return float(number) if math.isfinite(float(number)) else str(number)


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
