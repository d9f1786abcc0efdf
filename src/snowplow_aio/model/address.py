r"""
Addresses as the pipeline reads and stores them.

enrich first hands an address to ``java.net.URI``. If that refuses it (``{``,
``|``, a lone ``%``, a second ``#`` ...), a lenient parser takes it apart, decodes
each part and percent-encodes it again. What is stored and measured is this new
text, which may be six times as long. An address that neither can read loses the
event (docs/explanation/protocol.md, "Addresses").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import quote, unquote_to_bytes

# --- the strict reader: java.net.URI

# What it takes nowhere: controls, blanks of any script, and these signs.
_NEVER = r"\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000" + r'"<>\\^`{|}'
_ESCAPE = "%[0-9A-Fa-f]{2}"


def _run_of(delimiters: str) -> str:
    """Return the pattern of a text whose only delimiters are these."""
    others = "".join(sign for sign in "/?#[]" if sign not in delimiters)
    return rf"(?:[^{_NEVER}%{re.escape(others)}]++|{_ESCAPE})"


_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_FIRST_COLON: Final = re.compile("([^:/?#]*):")
_LITERAL: Final = re.compile(
    rf"(?:(?:[^@\[\]%]++|{_ESCAPE})*+@)?\[([0-9A-Fa-f:.]*)(?:%[A-Za-z0-9_.~\-]+)?\](?::0*([0-9]{{0,10}}))?"
)
_OPAQUE: Final = re.compile(rf"{_run_of('/?[]')}++(?:#(?P<fragment>{_run_of('/?[]')}*+))?")
_HIERARCHICAL: Final = re.compile(
    rf"(?://(?P<authority>(?:{_run_of('')}|[\[\]%])++|(?=[/?#]))|(?!//))"
    rf"(?P<path>{_run_of('/')}*+)"
    rf"(?:\?(?P<query>{_run_of('/?[]')}*+))?"
    rf"(?:#(?P<fragment>{_run_of('/?[]')}*+))?"
)
# A host is only stored if it is a name or an address; a name ends in a label that begins with a letter.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
_SERVER: Final = re.compile(
    r"(?:[^@\[\]]*@)?(?P<host>\[[^\]]*\]"
    r"|(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
    rf"|(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9\-]*[A-Za-z0-9])?\.?|{_LABEL}\.?)"
    r"(?::(?P<port>[0-9]*))?"
)
_LARGEST_PORT: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """
    An address as it is stored. A part that is None or empty is not stored.

    Attributes:
        whole: All of it.

        is_rewritten: Whether the lenient parser has written it anew.

        port: The port, if one is written.
    """

    whole: str
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    query: str | None = None
    fragment: str | None = None
    is_rewritten: bool = False


def read_address(text: str) -> Address | None:
    """Return the address that *text* is for the pipeline, or None if it cannot read it."""
    # A text is first made fit for a tab-separated file.
    text = re.sub("[\x00-\x1f\x7f]", "", text.replace("\t", "    "))
    address = _strict(text.replace(" ", "%20"), is_rewritten=False)
    if address is not None:
        return address
    rewritten = _rewritten(text)
    return None if rewritten is None else _strict(rewritten, is_rewritten=True)


def _strict(text: str, *, is_rewritten: bool) -> Address | None:
    scheme, rest = None, text
    colon = _FIRST_COLON.match(text)
    if colon is not None:
        scheme, rest = colon[1], text[colon.end() :]
        if _SCHEME.fullmatch(scheme) is None:
            return None
        if not rest.startswith("/"):
            # An address like "mailto:..." is opaque: it has no path and no query.
            opaque = _OPAQUE.fullmatch(rest)
            if opaque is None:
                return None
            return Address(whole=text, scheme=scheme, fragment=opaque["fragment"], is_rewritten=is_rewritten)
    match = _HIERARCHICAL.fullmatch(rest)
    if match is None or not _is_authority(match["authority"] or ""):
        return None
    server = _SERVER.fullmatch(match["authority"] or "")
    port = int(server["port"][:11] or -1) if server is not None and server["port"] else None
    if server is None or (port or 0) > _LARGEST_PORT or not _is_host(server["host"]):
        server, port = None, None
    return Address(
        whole=text,
        scheme=scheme,
        host=server and server["host"],
        port=port,
        path=match["path"],
        query=match["query"],
        fragment=match["fragment"],
        is_rewritten=is_rewritten,
    )


def _is_authority(text: str) -> bool:
    """Return whether *text*, of which all characters are allowed, can stand before the path."""
    if "[" not in text and "]" not in text:
        return "%" not in text or re.fullmatch(rf"(?:[^%]++|{_ESCAPE})*+", text) is not None
    literal = _LITERAL.fullmatch(text)
    return literal is not None and _is_ipv6(literal[1]) and int(literal[2] or 0) <= _LARGEST_PORT


def _is_host(host: str) -> bool:
    if not host[:1].isdigit() or host.count(".") != 3 or not host.replace(".", "").isdigit():
        return True
    return all(int(part) <= 255 for part in host.split("."))


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


# --- the lenient parser

_HOST_END = r":/\\?# "
_LENIENT: Final = re.compile(
    r"(?s)(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?"
    rf"(?://(?>(?P<user>[^:/?\[\]@ ]*)(?P<password>:[^/@]*)?@)?+"
    rf"(?P<host>(?>\[[0-9A-Fa-f:.]+\]|(?!\[)[^{_HOST_END}]*))(?P<port>:[0-9]{{1,10}})?(?=[/?#]|\Z)|(?!//))"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
# It knows no parameter that begins with a `=`.
_NAMELESS: Final = re.compile("(?:^|&)=")
# It decodes the two halves of such a character one by one.
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")


def _rewritten(text: str) -> str | None:
    """Return *text* as the lenient parser writes it, or None if it cannot read it."""
    match = _LENIENT.fullmatch(text)
    if (
        match is None
        or _NAMELESS.search(match["query"] or "")
        or int((match["port"] or ":0")[1:]) > _LARGEST_PORT
    ):
        return None
    segments = match["path"].split("/")
    has_authority = match["host"] is not None
    if not has_authority and match["scheme"] is None and ":" in _decoded(segments[0]):
        return None
    scheme = f"{match['scheme']}:" if match["scheme"] is not None else ""
    authority = f"//{_user(match)}{match['host']}{match['port'] or ''}" if has_authority else ""
    query = "&".join(
        "=".join(_encoded(side) for side in pair.split("=", 1)) for pair in (match["query"] or "").split("&")
    )
    fragment = match["fragment"]
    return (
        f"{scheme}{authority}{'/'.join(_encoded(segment) for segment in segments)}"
        f"{'?' if query else ''}{query}{'' if fragment is None else f'#{_encoded(fragment)}'}"
    )


def _user(match: re.Match[str]) -> str:
    if match["user"] is None:
        return ""
    password = match["password"]
    return f"{_encoded(match['user'])}{'' if password is None else f':{_encoded(password[1:])}'}@"


def _decoded(text: str) -> str:
    return unquote_to_bytes(_ASTRAL.sub("??", text)).decode("utf-8", "replace")


def _encoded(text: str) -> str:
    return quote(_decoded(text), safe="+")
