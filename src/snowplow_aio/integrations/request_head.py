"""What a request says before its body, read when somebody asks; without a framework."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_WEIGHT = re.compile(r"q=([01](?:\.[0-9]{0,3})?)", re.IGNORECASE)

# The headers that are looked at.
_TELLING = frozenset(
    [
        b"accept-language", b"cookie", b"dnt", b"forwarded", b"host", b"referer", b"sec-gpc", b"user-agent",
        b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
    ]
)  # fmt: skip


class RequestHead:
    """
    The head of one request. It refers to parts of the framework's request, never to the request.

    Args:
        headers: Names and values as they came; a name may come again.

        peer: The address of whoever has connected; None where there is none, as with a Unix socket.

        scheme: How the request came: ``http``, ``https``, ``ws`` or ``wss``.

        target: The path of the request, still percent-encoded, with its query.
    """

    __slots__ = ("_fields", "_headers", "peer", "scheme", "target")

    def __init__(
        self, headers: Iterable[tuple[bytes, bytes]], peer: str | None, scheme: str, target: str
    ) -> None:
        self._headers: Iterable[tuple[bytes, bytes]] = headers
        self._fields: dict[bytes, list[str]] | None = None
        self.peer: str | None = peer
        self.scheme: str = scheme
        self.target: str = target

    def values(self, name: bytes) -> list[str]:
        """Return the values of the header *name*, one of those that say something, in their order."""
        fields = self._fields
        if fields is None:
            fields = self._fields = {}
            for key, value in self._headers:
                lower = key.lower()
                if lower in _TELLING:
                    fields.setdefault(lower, []).append(_text(value))
        return fields.get(name, [])

    def value(self, name: bytes) -> str:
        """Return the first value of the header *name*, or an empty string."""
        values = self.values(name)
        return values[0].strip() if values else ""

    def cookies(self) -> dict[str, str]:
        """Return the cookies by name; of several with one name the first, which is the nearest."""
        cookies: dict[str, str] = {}
        for line in self.values(b"cookie"):
            for pair in line.split(";"):
                name, _, value = pair.partition("=")
                cookies.setdefault(name.strip(), value.strip().strip('"'))
        return cookies

    def language(self) -> str | None:
        """Return the language that the visitor prefers, or None."""
        return _preferred(",".join(self.values(b"accept-language")))


@lru_cache(maxsize=256)
def _preferred(header: str) -> str | None:
    preferred, highest = None, 0.0
    for entry in header.split(","):
        tag, *parameters = (part.strip() for part in entry.split(";"))
        weight = _weight(parameters)
        if weight > highest and _LANGUAGE.fullmatch(tag):
            preferred, highest = tag, weight
    return preferred


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _weight(parameters: list[str]) -> float:
    if not parameters:
        return 1.0
    match = _WEIGHT.fullmatch(parameters[0])
    return float(match[1]) if match else 0.0
