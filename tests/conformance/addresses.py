"""
Query strings and addresses as the oracle reads them.

Known to differ from the pipeline, in favour of the event: an address that
enrich writes anew is measured as it was sent, a tab counts as four characters,
and the query of ``http://?…`` is not looked at.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from tests.conformance.protocol import ForbiddenError

_ILLEGAL = re.compile(
    '[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"<>\\\\^`{|}]|%(?![0-9a-fA-F]{2})'
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*\Z")
_HOST = re.compile(r"(?:[^@]*@)?(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9.\-]+?)(?::[0-9]*)?\Z")

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


def split_address(url: str) -> dict[str, str | None] | None:
    """
    Return the parts of *url* as java.net.URI gives them, or None when Java refuses it.

    enrich then tries a lenient parser, which takes macros such as ``${x}`` and
    the signs ``|``, ``{``, ``}``, ``%``: the oracle accepts these with a warning.
    """
    text = url.replace(" ", "%20")
    body, sharp, fragment = text.partition("#")
    if _ILLEGAL.search(text) or "#" in fragment:
        return None
    parts: dict[str, str | None] = dict.fromkeys(PARTS)
    parts["fragment"] = fragment if sharp else None
    scheme = re.match(r"([^:/?#]*):", body)
    rest = body
    if scheme:
        rest = body[scheme.end() :]
        if not _SCHEME.match(scheme.group(1)) or not rest:
            return None
        parts["scheme"] = scheme.group(1)
        if not rest.startswith("/"):
            # An opaque address has no host, path or query.
            return parts
    path, question, query = rest.partition("?")
    parts["query"] = query if question else None
    found = _split_path(path, is_all=not question and not sharp)
    return None if found is None else parts | found


def _split_path(path: str, *, is_all: bool) -> dict[str, str | None] | None:
    if not path.startswith("//"):
        return None if "[" in path or "]" in path else {"path": path}
    authority, slash, tail = path[2:].partition("/")
    if (not authority and not slash and is_all) or "[" in tail or "]" in tail:
        # "http://" alone, or a bracket outside the authority.
        return None
    host = _HOST.match(authority)
    name = host.group(1) if host and "_" not in host.group(1) else None
    return {"path": slash + tail, "host": name}
