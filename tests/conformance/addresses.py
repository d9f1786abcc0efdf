"""
Query strings and addresses as the oracle reads them.

enrich gives an address to java.net.URI, and one that this refuses to a lenient
parser (scala-uri), which writes it anew. Both are followed here step by step.

Known to differ from the pipeline: of an address that java.net.URI refuses, the
lenient parser's own forms for ``data:`` and ``urn:`` are not known, an IP address
keeps its spelling, and ``%+1`` and ``%-1`` are no escapes.
"""

from __future__ import annotations

import ipaddress
import re
import string
from collections.abc import Container
from urllib.parse import unquote_to_bytes

from tests.conformance.protocol import ForbiddenError

_ILLEGAL = re.compile(
    '[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"<>\\\\^`{|}]|%(?![0-9a-fA-F]{2})'
)

PARTS = ("scheme", "host", "path", "query", "fragment")


def parse_query(query: str) -> list[tuple[str, str | None]]:
    """
    Return the parameters of *query* as java.net.URI and httpclient's URLEncodedUtils read them.

    ``&`` and ``;`` separate, and ``+`` is a blank.
    """
    if _ILLEGAL.search(query):
        raise ForbiddenError("illegal character or % escape in the query string (java.net.URI)")
    pairs: list[tuple[str, str | None]] = []
    for piece in re.split("[&;]", query.partition("#")[0]):
        name, equals, value = piece.partition("=")
        if name:
            pairs.append((_decode(name), _decode(value) if equals else None))
    return pairs


def parse_query_if_legal(query: str) -> list[tuple[str, str | None]]:
    """Return the parameters of *query*; none when Java refuses it."""
    try:
        return parse_query(query)
    except ForbiddenError:
        return []


def _decode(text: str) -> str:
    # httpclient keeps the low byte of each UTF-16 unit, which garbles raw text beyond ASCII.
    units = text.replace("+", " ").encode("utf-16-le", "surrogatepass")[::2]
    return unquote_to_bytes(units).decode("utf-8", "replace")


class RefusedError(Exception):
    """A parser refuses an address."""


def _refuse_unless(allowed: bool) -> None:
    if not allowed:
        raise RefusedError


def _until(text: str, ends: Container[str], start: int = 0) -> int:
    """Return the index of the first character of *text* that is one of *ends*, or its length."""
    return next((i for i in range(start, len(text)) if text[i] in ends), len(text))


def split_address(url: str) -> dict[str, str | None] | None:
    """
    Return the parts of *url* as enrich stores them, or None when neither parser reads it.

    Besides `PARTS` there is ``whole``: the address itself, which is another one
    when the lenient parser has written it anew.
    """
    try:
        return _java_uri(url.replace(" ", "%20"))
    except RefusedError:
        pass
    try:
        return _java_uri(_lenient(url))
    except RefusedError:
        return None


# --- java.net.URI


def _java_uri(text: str) -> dict[str, str | None]:
    parts: dict[str, str | None] = {**dict.fromkeys(PARTS), "whole": text}
    rest = text
    colon = _until(text, ":/?#")
    if text[colon : colon + 1] == ":":
        scheme, rest = text[:colon], text[colon + 1 :]
        _refuse_unless(_is_scheme(scheme) and rest != "")
        parts["scheme"] = scheme
    body, sharp, fragment = rest.partition("#")
    _refuse_unless("#" not in fragment and not _ILLEGAL.search(fragment))
    parts["fragment"] = fragment if sharp else None
    if parts["scheme"] is not None and not rest.startswith("/"):
        # An opaque address has no host, path or query.
        _refuse_unless(body != "" and not _ILLEGAL.search(body))
        return parts
    before, question, query = body.partition("?")
    _refuse_unless(not _ILLEGAL.search(query))
    parts["query"] = query if question else None
    path = before
    if before.startswith("//"):
        end = _until(before, "/", 2)
        authority, path = before[2:end], before[end:]
        _refuse_unless(authority != "" or path != "" or question + sharp != "")
        parts["host"] = _java_host(authority)
    _refuse_unless("[" not in path and "]" not in path and not _ILLEGAL.search(path))
    return parts | {"path": path}


def _is_scheme(text: str) -> bool:
    letters, others = string.ascii_letters, string.ascii_letters + string.digits + "+-."
    return text[:1] in letters and text != "" and all(sign in others for sign in text)


def _java_host(authority: str) -> str | None:
    """Return the host in *authority*; None for one that Java takes without knowing a host in it."""
    user, at, server = authority.partition("@")
    if not at:
        user, server = "", authority
    if "[" in authority or "]" in authority:
        _refuse_unless("[" not in user and "]" not in user and not _ILLEGAL.search(user))
        _refuse_unless(server.startswith("[") and "]" in server)
        literal, _, port = server[1:].partition("]")
        address, percent, zone = literal.partition("%")
        _refuse_unless(_is_ipv6(address) and bool(zone) == bool(percent))
        _refuse_unless(all(sign in string.ascii_letters + string.digits + "_.~-" for sign in zone))
        _refuse_unless(port in {"", ":"} or (port[0] == ":" and _is_port(port[1:])))
        return f"[{literal}]"
    _refuse_unless(not _ILLEGAL.search(authority))
    name, colon, port = server.partition(":")
    if (colon and port and not _is_port(port)) or not (_is_ipv4(name) or _is_hostname(name)):
        return None
    return name


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 2**31


def _is_ipv4(text: str) -> bool:
    numbers = text.split(".")
    digits = all(number.isascii() and number.isdigit() and len(number) <= 3 for number in numbers)
    return len(numbers) == 4 and digits and all(int(number) < 256 for number in numbers)


def _is_ipv6(text: str) -> bool:
    try:
        return "%" not in text and bool(ipaddress.IPv6Address(text).packed)
    except ValueError:
        return False


def _is_hostname(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    signs = string.ascii_letters + string.digits
    has_form = all(
        label and label[0] in signs and label[-1] in signs and all(sign in signs + "-" for sign in label)
        for label in labels
    )
    return has_form and (len(labels) == 1 or labels[-1][0] in string.ascii_letters)


# --- the lenient parser

_UNESCAPED = frozenset(string.ascii_letters + string.digits + "-._~+")


def _lenient(text: str) -> str:
    """Return *text* as scala-uri writes it with enrich's settings."""
    scheme, rest = "", text
    colon = _until(text, ":/?#")
    if text[colon : colon + 1] == ":" and _is_scheme(text[:colon]):
        scheme, rest = text[: colon + 1], text[colon + 1 :]
    authority = ""
    if rest.startswith("//"):
        end, authority = _lenient_authority(rest)
        rest = rest[end:]
        _refuse_unless(rest[:1] in {"", "/", "?", "#"})
    end = _until(rest, "?#")
    path, rest = rest[:end].split("/"), rest[end:]
    if not scheme and not authority:
        _refuse_unless(":" not in _unescaped(path[0]))
    end = _until(rest, "#")
    query, rest = rest[1:end], rest[end:]
    pairs = [pair.partition("=") for pair in query.split("&")]
    _refuse_unless(not any(equals and not name for name, equals, _ in pairs))
    written = "&".join(_escaped(name) + equals + _escaped(value) for name, equals, value in pairs)
    question = "?" if written else ""
    fragment = f"#{_escaped(rest[1:])}" if rest else ""
    return f"{scheme}{authority}{'/'.join(map(_escaped, path))}{question}{written}{fragment}"


def _lenient_authority(text: str) -> tuple[int, str]:
    """Return the end of the authority at the start of *text*, and how it is written."""
    start, user = 2, ""
    end = _until(text, ":/?[]@ ", start)
    after = _until(text, "/@", end) if text[end : end + 1] == ":" else end
    if text[after : after + 1] == "@":
        password = text[end + 1 : after]
        user = _escaped(text[start:end]) + (f":{_escaped(password)}" if after > end else "") + "@"
        start = after + 1
    if text[start : start + 1] == "[":
        end = text.find("]", start) + 1
        _refuse_unless(end > 0 and _is_ipv6(text[start + 1 : end - 1]))
    else:
        end = _until(text, ":/\\?# ", start)
    host, port = text[start:end], ""
    if text[end : end + 1] == ":":
        after = next((i for i in range(end + 1, len(text)) if text[i] not in string.digits), len(text))
        port = text[end:after]
        _refuse_unless(2 <= len(port) <= 11 and _is_port(port[1:]))
        end = after
    return end, f"//{user}{host}{port}"


def _unescaped(text: str) -> str:
    # It decodes each UTF-16 unit by itself, so that a pair becomes two question marks.
    single = "".join("??" if ord(sign) > 0xFFFF else sign for sign in text)
    return unquote_to_bytes(single).decode("utf-8", "replace")


def _escaped(text: str) -> str:
    return "".join(
        chr(byte) if chr(byte) in _UNESCAPED else f"%{byte:02X}" for byte in _unescaped(text).encode()
    )
