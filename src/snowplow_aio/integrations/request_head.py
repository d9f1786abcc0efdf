"""The head of a request, whatever the framework. Headers are read when they are first needed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from snowplow_aio.model.cookies import MOST_COOKIES, read_cookies

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_WEIGHT = re.compile(r"q=([01](?:\.[0-9]{0,3})?)", re.IGNORECASE)

# A browser sends the few languages of its settings. More is not read.
_MAX_LANGUAGES = 500

# What is longer is not read: servers take some 8 to 64 KiB of headers in all.
_MAX_COOKIES = 65_536

# Headers that are lists may come in several lines. These are joined by the separator of the list.
_SEPARATORS = {
    b"accept-language": b",",
    b"cookie": b";",
    b"forwarded": b",",
    b"x-forwarded-for": b",",
    b"x-forwarded-host": b",",
    b"x-forwarded-proto": b",",
}


class RequestHead:
    """
    The head of one request. It refers to parts of the framework's request, never to the request.

    Args:
        headers: Names in lower case, and values as they were sent. A name may occur several times.

        peer: The address of the machine that has connected; None if there is none, as with a Unix socket.

        scheme: The scheme of the request: ``http``, ``https``, ``ws`` or ``wss``.

        target: The path of the request, percent-encoded, with its query.
    """

    __slots__ = ("_fields", "_headers", "peer", "scheme", "target")

    def __init__(
        self, headers: Iterable[tuple[bytes, bytes]], peer: str | None, scheme: str, target: str
    ) -> None:
        self._headers: Iterable[tuple[bytes, bytes]] = headers
        self._fields: Mapping[bytes, bytes] | None = None
        self.peer: str | None = peer
        self.scheme: str = scheme
        self.target: str = target

    def value(self, name: bytes) -> str:
        """
        Return the value of the header *name*, or an empty string.

        If it occurs several times, a header that is a list is joined; of others the first counts.
        """
        fields = self._fields
        if fields is None:
            fields = self._fields = _fields(self._headers)
        value = fields.get(name)
        return "" if value is None else _text(value)

    def cookies(self) -> dict[str, str]:
        """Return the cookies by name. Of several with one name the first counts: its path is the longest."""
        line = self.value(b"cookie")
        return read_cookies(line[:_MAX_COOKIES]) if line else {}

    def may_have_cookie(self, name: str) -> bool:
        """Return whether the cookie *name* was sent, or could be among what is not read."""
        line = self.value(b"cookie")
        is_read = len(line) <= _MAX_COOKIES and line.count(";") < MOST_COOKIES
        if not is_read or name in self.cookies():
            return True
        # WSGI servers join headers that come twice by a comma.
        return "," in line and any(part.strip().startswith(f"{name}=") for part in line.split(","))

    def languages(self) -> str:
        """Return the entries of ``Accept-Language`` that are read."""
        line = self.value(b"accept-language")
        return line if len(line) <= _MAX_LANGUAGES else line[:_MAX_LANGUAGES].rpartition(",")[0]


def _fields(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    # ASGI promises only that headers can be iterated.
    pairs = list(headers)
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    fields = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif name in _SEPARATORS:
            fields[name] += _SEPARATORS[name] + value
    return fields


def preferred_language(header: str) -> str | None:
    """Return the language that a visitor with this ``Accept-Language`` prefers, or None."""
    preferred, highest = None, 0.0
    for entry in header.split(","):
        tag, *parameters = (part.strip() for part in entry.split(";"))
        weight = _weight(parameters)
        if weight > highest and _LANGUAGE.fullmatch(tag):
            preferred, highest = tag, weight
    return preferred


def _text(value: bytes) -> str:
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def _weight(parameters: list[str]) -> float:
    if not parameters:
        return 1.0
    match = _WEIGHT.fullmatch(parameters[0])
    return float(match[1]) if match else 0.0
