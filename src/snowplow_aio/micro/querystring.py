"""
Query strings as the pipeline reads them.

The collector keeps the raw text. enrich first hands it to ``java.net.URI``,
which refuses some characters, and then to ``URLEncodedUtils``, for which ``;``
separates like ``&`` (docs/explanation/protocol.md, "Query strings").
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

# Characters that java.net.URI accepts in a query only as an escape: controls, blanks
# of any script, a few ASCII signs, and a percent sign without two digits behind it.
_ILLEGAL = re.compile(
    r"[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    r"|[\"<>\\^`{|}]"
    r"|%(?![0-9A-Fa-f]{2})"
)


def parse_query(query: str) -> list[tuple[str, str | None]]:
    """
    Return the parameters of a raw *query* in order. The value of a name without ``=`` is None.

    Raises:
        ValueError: If `java.net.URI` refuses the text.
    """
    illegal = _ILLEGAL.search(query)
    if illegal is not None:
        raise ValueError(f"illegal character {illegal[0]!r} at index {illegal.start()}, it must be escaped")
    parameters: list[tuple[str, str | None]] = []
    for piece in re.split("[&;]", query.partition("#")[0]):
        name, equals, value = piece.partition("=")
        if name:
            parameters.append((_decode(name), _decode(value) if equals else None))
    return parameters


def _decode(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")
