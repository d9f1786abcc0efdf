"""Doubts about an event: things that the pipeline accepts and a tracker should not send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.conformance.protocol import CONTEXTS_KEYS, FIELDS, UNSTRUCT_KEYS

# Milliseconds of the year 1973. A smaller number is usually a time in seconds.
_SMALLEST_LIKELY = 100_000_000_000

_EXPECTED = ("eid", "dtm", "stm", "tv", "p", "aid")
_IDENTIFYING = ("ip", "tnuid", "nuid", "uid", "duid", "sid")


def doubts(
    parameters: Mapping[str, str | None], fields: Mapping[str, Any], *, anonymous: bool
) -> Iterator[str]:
    """
    Give the doubts about one event.

    Args:
        parameters: The event as it was sent.

        fields: The enriched fields.

        anonymous: Whether the request has the header SP-Anonymous.
    """
    yield from (f"{key} is missing" for key in _EXPECTED if not parameters.get(key))
    yield from (f"{key} is an empty string" for key, value in parameters.items() if value == "")
    yield from _about_times(fields)
    yield from _about_type(parameters, fields)
    if anonymous:
        for key in _IDENTIFYING:
            if parameters.get(key):
                yield f"SP-Anonymous request still carries {key}"
    if parameters.get("nuid"):
        yield "nuid: use tnuid to set network_userid from a tracker"


def _about_times(fields: Mapping[str, Any]) -> Iterator[str]:
    created, sent = fields.get("dvce_created_tstamp"), fields.get("dvce_sent_tstamp")
    if created is not None and sent is not None and sent < created:
        yield "stm is before dtm: derived_tstamp falls back to collector_tstamp"
    for key in ("dtm", "stm", "ttm"):
        moment = fields.get(FIELDS[key][0])
        if isinstance(moment, int) and 0 <= moment < _SMALLEST_LIKELY:
            yield f"{key} looks like seconds, not milliseconds"


def _about_type(parameters: Mapping[str, str | None], fields: Mapping[str, Any]) -> Iterator[str]:
    event = fields.get("event")
    has_data = any(parameters.get(key) is not None for key in UNSTRUCT_KEYS)
    if event == "unstruct" and not has_data:
        yield "e=ue without ue_pr/ue_px: accepted, but an event without a name"
    if event not in {None, "unstruct"} and has_data:
        yield "ue_pr/ue_px on an event that is not e=ue"
    for pair in (CONTEXTS_KEYS, UNSTRUCT_KEYS):
        if all(parameters.get(key) for key in pair):
            yield f"{' and '.join(pair)} together: only one is used"
    needed, doubt = _NEEDED.get(event or "", ((), ""))
    if any(fields.get(name) is None for name in needed):
        yield doubt
    if event in {"page_view", "page_ping"} and not parameters.get("url"):
        yield f"{event} without url"


# By the event's type: the fields that it should have, and the doubt when it has not.
_NEEDED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "struct": (("se_category", "se_action"), "struct event without category or action"),
    "transaction": (("tr_orderid", "tr_total"), "transaction without tr_id or tr_tt"),
    "transaction_item": (
        ("ti_orderid", "ti_sku", "ti_price", "ti_quantity"),
        "transaction item without ti_id, ti_sk, ti_pr or ti_qu",
    ),
}
