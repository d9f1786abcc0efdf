"""
The rules that the pipeline applies after the collector has said 200.

Nothing is truncated there: a value that is too long, or that cannot be read,
loses the whole event. So each rule is checked here, before an event is
accepted. The numbers are those of PROTOCOL.md §1.2 and §1.3, which cites
enrich's ``reference.conf`` (``atomicFieldsLimits``) and ``ConversionUtils.scala``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar, Token
from decimal import Decimal
from types import MappingProxyType
from urllib.parse import unquote_plus


class _Switch:
    """What the two functions return: leaving it as a context manager restores what was before."""

    def __init__(self, *, enabled: bool) -> None:
        global _process_is_validating  # noqa: PLW0603 - the switch of the process
        self._enabled = enabled
        self._before = _process_is_validating
        self._token: Token[bool | None] | None = None
        _process_is_validating = enabled

    def __enter__(self) -> None:
        global _process_is_validating  # noqa: PLW0603
        # Used with `with` it is meant for this task alone.
        _process_is_validating = self._before
        self._token = _task_is_validating.set(self._enabled)

    def __exit__(self, *_error: object) -> None:
        if self._token is not None:
            _task_is_validating.reset(self._token)


_process_is_validating = True
_task_is_validating: ContextVar[bool | None] = ContextVar("snowplow_aio.validation", default=None)


def disable_validation() -> _Switch:
    """
    Skip this library's checks of values from now on; what pydantic checks of types stays.

    A plain call is for the whole process. ``with disable_validation():`` is for
    this task and the tasks that it starts, whatever is called plainly meanwhile.
    What the pipeline refuses is then lost there, after the collector has said
    200: that event and no other.
    """
    return _Switch(enabled=False)


def enable_validation() -> _Switch:
    """Check values again from now on: the counterpart of `disable_validation`, used in the same ways."""
    return _Switch(enabled=True)


def is_validating() -> bool:
    """Return whether values are to be checked, in this task."""
    own = _task_is_validating.get()
    return _process_is_validating if own is None else own


PLATFORMS = frozenset({"web", "iot", "app", "mob", "pc", "cnsl", "tv", "srv", "headset"})

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

# All that a float can hold is smaller.
_TOO_LARGE = 10**309

# Milliseconds since the epoch of the years 0000 to 9999, all that enrich reads.
TIMESTAMP_MIN, TIMESTAMP_MAX = -62_167_219_200_000, 253_402_300_799_999

# The nesting that enrich's JSON parser takes (``maxJsonDepth``); the core apps
# allow 50, Micro 40: what must pass everywhere passes at 40.
MAX_JSON_DEPTH = 40

# What one record of the common sinks holds (Kinesis, Kafka, NSQ). Beyond it
# the collector answers 200 and makes a size violation of the event.
MAX_RECORD_BYTES = 1_000_000

# The rest of the record: the wrapper of the body, the headers of the request
# and what the collector adds (about 350 bytes of Thrift).
RECORD_OVERHEAD_BYTES = 8_192

# The largest event, as JSON, that can reach the pipeline whole.
MAX_EVENT_BYTES = MAX_RECORD_BYTES - RECORD_OVERHEAD_BYTES

# By protocol key. Keys that have another form (numbers, UUIDs, dimensions,
# timestamps, codes) need no length.
TEXT_LIMITS: Mapping[str, int] = MappingProxyType(
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

URL_PART_LIMITS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "url": {"scheme": 16, "host": 255, "path": 3000, "query": 6000, "fragment": 3000},
        "refr": {"scheme": 16, "host": 255, "path": 6000, "query": 6000, "fragment": 3000},
    }
)

UUID_FORM = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)

_WEB = ("https://", "http://")

# Compiled when one is first needed, which for the usual event is never.
_CONTROL = "[\x00-\x08\x0a-\x1f\x7f]"
_URL = (
    r"(?s)(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
_HOST = r"(?:[^@]*@)?(?P<host>\[[^\]]*\]|[^:]*)(?::[0-9]*)?"
_TIMESTAMP = r"(?a)[+-]?[0-9]{1,19}"


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
    # Four units per character is the most there can be (a tab): the common
    # short text is settled by one comparison.
    return len(text) * 4 > limit and stored_length(text) > limit


def is_unicode(text: str) -> bool:
    """Return whether *text* can be UTF-8: whether it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def url_parts(url: str) -> dict[str, str]:
    """Return the parts of *url* that the pipeline stores: scheme, host, path, query, fragment."""
    match = re.fullmatch(_URL, url.replace(" ", "%20"))
    if match is None:  # pragma: no cover - every text matches
        return {}
    parts = {name: part for name, part in match.groupdict().items() if part}
    authority = parts.pop("authority", None)
    if "scheme" in parts and authority is None and not parts.get("path", "").startswith("/"):
        # "mailto:" and its kin are opaque to java.net.URI: no path, no query.
        return {name: part for name, part in parts.items() if name in ("scheme", "fragment")}
    host = authority and re.fullmatch(_HOST, authority)
    if host:
        parts["host"] = host["host"]
    return parts


def is_usual_url(url: str) -> bool:
    """Return whether *url* is a web address that is too short and plain to have a fault."""
    # The smallest limit that a part of it can break is 255.
    return len(url) < 200 and url.startswith(_WEB) and "%" not in url and "_sp=" not in url


def url_fault(key: str, url: str) -> str | None:
    """
    Return why the pipeline would lose an event for this *url*, or None.

    Args:
        key: ``url`` or ``refr``; their parts have different limits.
    """
    parts = url_parts(url)
    for name, limit in URL_PART_LIMITS[key].items():
        part = parts.get(name, "")
        if exceeds(part, limit):
            return f"must have a {name} of at most {limit} characters, it has {stored_length(part)}"
    if key == "url" and not _cross_domain_is_readable(parts.get("query", "")):
        return "must have a millisecond timestamp in its _sp parameter (<domain user id>.<milliseconds>)"
    return None


def _cross_domain_is_readable(query: str) -> bool:
    """Return whether the ``_sp=<duid>.<ms>...`` parameter, where there is one, has a readable timestamp."""
    for pair in re.split("[&;]", query):
        name, _, value = pair.partition("=")
        fields = unquote_plus(value).split(".")
        if unquote_plus(name) == "_sp" and 1 < len(fields) <= 7 and fields[1] and not is_timestamp(fields[1]):
            return False
    return True


def is_timestamp(text: str) -> bool:
    """Return whether *text* is milliseconds since the epoch within the years 0 to 9999."""
    return re.fullmatch(_TIMESTAMP, text) is not None and TIMESTAMP_MIN <= int(text) <= TIMESTAMP_MAX


def decimal_text(value: float | Decimal) -> str:
    """
    Return *value* as the pipeline's ``BigDecimal`` reads it.

    Raises ValueError for NaN, an infinity, or a magnitude that no float has.
    """
    # The digits of the number itself: enums and NumPy's scalars print as something else.
    if isinstance(value, int):
        if abs(value) >= _TOO_LARGE:
            raise ValueError("must be below 1e309 in magnitude")
        return int.__repr__(value)
    text = Decimal.__str__(value) if isinstance(value, Decimal) else float.__repr__(value)
    exact = Decimal(text)
    if not exact.is_finite():
        raise ValueError("must be finite: the pipeline has no NaN and no infinity")
    # A few characters of exponent make the pipeline expand as many digits.
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
