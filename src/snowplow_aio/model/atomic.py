"""
The rules on atomic fields, which the pipeline applies after the collector has answered 200.

The pipeline truncates nothing: a value that is too long, or that it cannot read,
loses the whole event. So each rule is checked here, before an event is accepted.
The numbers and their sources stand in docs/explanation/protocol.md, "Fields and limits".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from snowplow_aio.model.address import read_address
from snowplow_aio.model.validation import is_validating

PLATFORMS: Final = frozenset({"web", "iot", "app", "mob", "pc", "cnsl", "tv", "srv", "headset"})

INT32_MIN: Final = -(2**31)
INT32_MAX: Final = 2**31 - 1

# Larger than every float.
_TOO_LARGE: Final = 10**309

# Larger than usual numbers, and quick to compare with.
_USUAL_NUMBER: Final = 2**62

# Milliseconds since the epoch of the years 0000 to 9999; enrich reads no others.
TIMESTAMP_MIN: Final = -62_167_219_200_000
TIMESTAMP_MAX: Final = 253_402_300_799_999

# A smaller number is usually a time in seconds; as milliseconds it is before March 1973.
SMALLEST_MILLISECONDS: Final = 100_000_000_000

# The deepest nesting that the JSON parser of enrich takes (``maxJsonDepth``). The
# core apps allow 50 levels and Micro 40; 40 levels pass everywhere.
MAX_JSON_DEPTH: Final = 40

# The size of one record of the common sinks (Kinesis, Kafka, NSQ). For a larger
# one, the collector answers 200 and makes a size violation of the event.
MAX_RECORD_BYTES: Final = 1_000_000

# The rest of the record: the wrapper of the body, the headers of the request
# and about 350 bytes of Thrift that the collector adds.
RECORD_OVERHEAD_BYTES: Final = 8_192

# The largest event, as JSON, that can reach the pipeline whole.
MAX_EVENT_BYTES: Final = MAX_RECORD_BYTES - RECORD_OVERHEAD_BYTES

# By protocol key. Keys whose values have another form (numbers, UUIDs, dimensions,
# timestamps, codes) need no limit.
TEXT_LIMITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "aid": 255, "tna": 128, "tv": 100, "cv": 100, "uid": 255, "duid": 128, "nuid": 128, "tnuid": 128,
        "ip": 128, "ua": 1000, "fp": 128, "lang": 255, "tz": 255, "cd": 12, "cs": 128,
        "url": 10_000, "refr": 10_000, "page": 2000,
        "se_ca": 1000, "se_ac": 1000, "se_la": 4096, "se_pr": 1000,
        "ev_ca": 1000, "ev_ac": 1000, "ev_la": 4096, "ev_pr": 1000,
        "tr_id": 255, "tr_af": 255, "tr_ci": 255, "tr_st": 255, "tr_co": 255, "tr_cu": 3,
        "ti_id": 255, "ti_sk": 255, "ti_nm": 255, "ti_na": 255, "ti_ca": 255, "ti_cu": 3,
    }
)  # fmt: skip

URL_PART_LIMITS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "url": {"scheme": 16, "host": 255, "path": 3000, "query": 6000, "fragment": 3000},
        "refr": {"scheme": 16, "host": 255, "path": 6000, "query": 6000, "fragment": 3000},
    }
)

UUID_FORM: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)

_WEB: Final = ("https://", "http://")

# Compiled when one is first needed; the usual event needs none.
_CONTROL: Final = "[\x00-\x08\x0a-\x1f\x7f]"
# Characters of which `java.net.URI` reads every address: no fragment, escape or bracket is among them.
_PLAIN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?"
# More make the parameter unreadable, which harms nothing.
_CROSS_DOMAIN_FIELDS: Final = 7
_TIMESTAMP: Final = r"(?a)[+-]?[0-9]{1,19}"


def stored_length(text: str) -> int:
    """
    Return the length of *text* as the pipeline measures it, in UTF-16 units.

    A character outside the basic plane counts 2. The pipeline first turns a
    tab into four spaces and removes other control characters.
    """
    length = len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
    return length + 3 * text.count("\t") - len(re.findall(_CONTROL, text))


def exceeds(text: str, limit: int) -> bool:
    """Return whether *text* is longer than *limit* UTF-16 units when it is stored."""
    # A character has at most four units (a tab), so one comparison is enough for
    # the usual short text.
    return len(text) * 4 > limit and stored_length(text) > limit


def is_unicode(text: str) -> bool:
    """Return whether *text* can be UTF-8: whether it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_usual_url(url: str) -> bool:
    """Return whether *url* is a web address that is too short and plain to break a rule."""
    # The smallest limit of a part is 255. "https://" alone is no address.
    return (
        8 < len(url) < 200
        and url.startswith(_WEB)
        and url.isascii()
        and not url.encode().translate(None, _PLAIN)
        and "_sp=" not in url
    )


def url_fault(key: str, url: str) -> str | None:
    """
    Return why the pipeline would lose an event for this *url*, or None.

    The address is measured as enrich writes it, which may be longer.

    Args:
        key: ``url`` or ``refr``; their parts have different limits.
    """
    if not is_unicode(url):
        return "must not contain a lone surrogate"
    address = read_address(url)
    if address is None:
        return "must be an address that the pipeline can read, with a host of plain characters"
    how = " once the pipeline has percent-encoded it" if address.is_rewritten else ""
    for name, limit in URL_PART_LIMITS[key].items():
        part: str = getattr(address, name) or ""
        if exceeds(part, limit):
            return f"must have a {name} of at most {limit} characters, it has {stored_length(part)}{how}"
    if key != "url":
        # A referrer itself is stored as it was sent.
        return None
    if exceeds(address.whole, TEXT_LIMITS[key]):
        return f"must have at most {TEXT_LIMITS[key]} characters, it has {stored_length(address.whole)}{how}"
    return _cross_domain_fault(address.query or "")


def _cross_domain_fault(query: str) -> str | None:
    """Return why the parameter ``_sp=<domain user id>.<ms>...`` loses the event, or None."""
    value = ""
    # Of several with one name, the last counts.
    for pair in re.split("[&;]", query):
        name, _, text = pair.partition("=")
        if _query_text(name) == "_sp":
            value = _query_text(text)
    fields = value.split(".")
    if len(fields) > _CROSS_DOMAIN_FIELDS:
        return None
    if exceeds(fields[0], TEXT_LIMITS["duid"]):
        rule = f"a domain user id of at most {TEXT_LIMITS['duid']} characters"
    elif len(fields) > 1 and fields[1] and not is_timestamp(fields[1]):
        rule = "a millisecond timestamp"
    else:
        return None
    return f"must have {rule} in its _sp parameter (<domain user id>.<milliseconds>)"


def _query_text(text: str) -> str:
    # The pipeline keeps the low byte of each UTF-16 unit, which garbles raw text beyond ASCII.
    units = text.replace("+", " ").encode("utf-16-le", "surrogatepass")[::2]
    return unquote_to_bytes(units).decode("utf-8", "replace")


def is_timestamp(text: str) -> bool:
    """Return whether *text* is milliseconds since the epoch within the years 0 to 9999."""
    return re.fullmatch(_TIMESTAMP, text) is not None and TIMESTAMP_MIN <= int(text) <= TIMESTAMP_MAX


def _is_usual_number(value: Any) -> bool:
    """Return whether *value* is an int that is too small to break a rule."""
    if type(value) is not int:
        return False
    number: int = value
    return -_USUAL_NUMBER < number < _USUAL_NUMBER


def number_text(value: float | Decimal) -> str:
    """Return the text of *value* that is sent; an unchecked value is sent as Python writes it."""
    try:
        return decimal_text(value)
    except ValueError:
        return str(value)


def decimal_text(value: float | Decimal) -> str:
    """
    Return *value* as the ``BigDecimal`` of the pipeline reads it.

    Raises:
        ValueError: If it is NaN or an infinity, or has a magnitude that no float has.
    """
    if _is_usual_number(value):
        return str(value)
    # The digits of the number itself, because enums and NumPy's scalars print as something else.
    if isinstance(value, int):
        if abs(value) >= _TOO_LARGE:
            raise ValueError("must be below 1e309 in magnitude")
        return int.__repr__(value)
    text = Decimal.__str__(value) if isinstance(value, Decimal) else float.__repr__(value)
    exact = Decimal(text)
    if not exact.is_finite():
        raise ValueError("must be finite: the pipeline has no NaN and no infinity")
    # The pipeline would expand a large exponent to as many digits.
    # A float has exponents from -324 to 308.
    if -324 <= exact.adjusted() <= 308:
        return text
    if not exact:
        return "0"
    raise ValueError(
        "must be below 1e309 in magnitude"
        if exact.adjusted() > 0
        else "must be 0 or at least 1e-324 in magnitude"
    )


def refusal(rule: str) -> PydanticCustomError:
    """Return the error of a field that breaks *rule*."""
    return PydanticCustomError("rule", "{rule}", {"rule": rule})


def _length_fault(key: str, text: str) -> str | None:
    """Return why a *text* that travels as *key* is too long, or None."""
    limit = TEXT_LIMITS[key]
    if not exceeds(text, limit):
        return None
    return (
        f"must have at most {limit} characters as the pipeline counts them (UTF-16 units), "
        f"it has {stored_length(text)}"
    )


def _text_fault(key: str, text: str) -> str | None:
    """Return why the pipeline would lose an event for a *text* that travels as *key*, or None."""
    fault = _length_fault(key, text)
    return url_fault(key, text) if fault is None and key in URL_PART_LIMITS and text else fault


class TextCheck:
    """
    Checks all texts of an event at once, because a call for each field costs more than the rest of a model.

    Args:
        keys: The protocol keys of the texts, by the names of their fields.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)
        # A text of a quarter of the limit cannot exceed it, so the usual one needs no further look.
        self._texts = [
            (name, TEXT_LIMITS[key] // 4) for name, key in keys.items() if key not in URL_PART_LIMITS
        ]
        self._urls = [name for name, key in keys.items() if key in URL_PART_LIMITS]

    def __call__(self, model: Any) -> Any:
        """
        Return *model* if its texts keep the rules of the pipeline.

        Raises:
            pydantic.ValidationError: If one does not; the error names the fields.
        """
        values: dict[str, Any] = model.__dict__
        if not self._are_usual(values) and is_validating():
            self._look_closely(type(model).__name__, values)
        return model

    def _are_usual(self, values: dict[str, Any]) -> bool:
        """Return whether all texts are too short and plain to break a rule."""
        for name, usual in self._texts:
            text = values[name]
            if text is not None and len(text) > usual:
                return False
        for name in self._urls:
            url = values[name]
            if url is not None and not is_usual_url(url):
                return False
        return True

    def _look_closely(self, title: str, values: Mapping[str, Any]) -> None:
        faults: list[InitErrorDetails] = []
        for name, key in self._keys.items():
            text = values[name]
            fault = None if text is None else _text_fault(key, text)
            if fault is not None:
                faults.append({"type": refusal(fault), "loc": (name,), "input": text})
        if faults:
            raise ValidationError.from_exception_data(title, faults)


def number(value: Any) -> Any:
    """
    Return *value* if it is a number that the pipeline can read.

    Raises:
        PydanticCustomError: If it is not.
    """
    if _is_usual_number(value):
        return value
    # To Python, a bool is an int.
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise refusal("must be an int, a float or a Decimal")
    try:
        decimal_text(value)
    except ValueError as error:
        if is_validating():
            raise refusal(str(error)) from None
    return value
