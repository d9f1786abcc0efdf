"""The events of a request, read from its bytes; nothing in it is ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.collector import Request

ENCODED = {"ue_px", "cx"}
PLAIN = {"ue_pr", "co"}

Event = Mapping[str, Any]
"""An event as it arrived: strings by protocol key, self-describing data read, and ``(request)``."""


def events_of(request: Request) -> Iterator[Event]:
    """Read the events in *request*. Raises AssertionError or ValueError for what no collector could read."""
    address = urlsplit(request.target)
    if request.method == "GET":
        pairs = parse_qsl(address.query, keep_blank_values=True, strict_parsing=True, errors="strict")
        yield _read(_without_repetition(pairs), f"GET {address.path}", len(request.target))
        return
    assert address.query == ""
    whole = exact(request.body.decode())
    assert whole.keys() == {"schema", "data"}
    content_type = request.headers.get("content-type")
    for fields in whole["data"]:
        yield _read(fields, f"POST {address.path} {content_type} {whole['schema']}", 0)


def _read(fields: dict[str, Any], way: str, length: int) -> Event:
    assert all(isinstance(value, str) and value for value in fields.values()), fields
    read = {key: _self_describing(key, value) for key, value in fields.items()}
    return {**read, "(request)": way, "(length)": length}


def _self_describing(key: str, text: str) -> Any:
    if key in ENCODED:
        return exact(base64.b64decode(text, altchars=b"-_", validate=True).decode())
    return exact(text) if key in PLAIN else text


def exact(text: str) -> Any:
    """Read *text* exactly: 1 is not 1.0 and not True, and 0.1 is a tenth."""
    return json.loads(text, parse_float=_fraction, object_pairs_hook=_without_repetition)


def _fraction(text: str) -> Decimal:
    return Decimal(text).normalize()


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    assert len(fields) == len(pairs), f"a key comes twice: {pairs}"
    # In one order, so that the texts of equal data are equal.
    return {key: fields[key] for key in sorted(fields)}
