"""
The formats of text that the pipeline's validator asserts for the keyword `format`.

See docs/explanation/protocol.md, "JSON, base64 and formats".
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from snowplow_aio.model.atomic import UUID_FORM

_URI_SIGNS = r"A-Za-z0-9._~\-!$&'()*+,;=:%"
# Possessive (`*+`): the parts share their characters, and a long text that is no address would be divided
# among them in every way.
_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.\-]*+:"
    rf"(?://(?:[{_URI_SIGNS}]*+@)?[{_URI_SIGNS}\[\]]*+)?+"
    rf"[{_URI_SIGNS}@/]*+(?:\?[{_URI_SIGNS}@/?]*+)?(?:\#[{_URI_SIGNS}@/?]*+)?"
)
_EMAIL = re.compile(r"[^\s@<>]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_TIME = re.compile(
    r"(?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2})(?:\.\d{0,9})?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>\d{2}):(?P<minutes>\d{2}))",
    re.ASCII,
)

# The largest offset that java.time.ZoneOffset knows.
_MAX_OFFSET_MINUTES = 18 * 60


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = map(int, match.groups())
    try:
        # Python has no year 0, which is a leap year like 2000.
        dt.date(year or 2000, month, day)
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    date, separator, time = text[:10], text[10:11], text[11:]
    match = _TIME.fullmatch(time)
    if match is None or separator not in {"T", "t", " "} or not _is_date(date):
        return False
    if match["second"] == "60":
        # A leap second happens only at the end of June or December.
        in_range = time.startswith("23:59:60") and date[5:] in {"06-30", "12-31"}
    else:
        in_range = int(match["hour"]) < 24 and int(match["minute"]) < 60 and int(match["second"]) < 60
    return in_range and (match["sign"] is None or _is_offset(match))


def _is_offset(match: re.Match[str]) -> bool:
    hours, minutes = int(match["hours"]), int(match["minutes"])
    is_nowhere = match["sign"] == "-" and hours == minutes == 0
    return minutes < 60 and hours * 60 + minutes <= _MAX_OFFSET_MINUTES and not is_nowhere


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        # Python also accepts a scope such as "%eth0", which the format does not have.
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


FORMATS: Mapping[str, Callable[[str], bool]] = MappingProxyType(
    {
        "date": _is_date,
        "date-time": _is_date_time,
        "email": _matches(_EMAIL),
        "hostname": _matches(_HOSTNAME),
        "ipv4": _is_ipv4,
        "ipv6": _is_ipv6,
        "uri": _matches(_URI),
        "uuid": _matches(UUID_FORM),
    }
)
