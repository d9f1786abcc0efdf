"""
The official tracker, snowplow-tracker 1.1.0.

Parameters beside those of ``works.py``: ``emitter`` (``Emitter``,
``AsyncEmitter`` or ``null``), ``event`` (``page_view``, ``structured`` or
``fault``), ``method``, ``scheme``, ``port``, ``buffer_capacity``, and for its
best tuning ``batch_size``, ``session``, ``quiet`` and ``threads``.
"""

from __future__ import annotations

from typing import Any

import common
import requests
import snowplow_tracker
from common import PAGE_TITLE, REFERRER, page_url
from snowplow_tracker import PageView, SelfDescribingJson, StructuredEvent, Subject, Tracker
from works import Given, Side, main

VERSIONS = common.versions_of("snowplow-tracker", "requests", "urllib3")


def make_emitter(given: Given) -> Any:
    if given["emitter"] == "null":
        return common.NullEmitter()
    return getattr(snowplow_tracker, given["emitter"])(
        "127.0.0.1",
        protocol=given["scheme"],
        port=given["port"],
        method=given["method"],
        batch_size=given.get("batch_size"),
        buffer_capacity=given.get("buffer_capacity"),
        session=requests.Session() if given.get("session") else None,
        **({"thread_count": given["threads"]} if "threads" in given else {}),
    )


def make(given: Given) -> Side:
    if given.get("quiet"):
        common.silence("snowplow_tracker", "snowplow_tracker.emitters")
    emitter = make_emitter(given)
    # In a trial with a fault the tracker has its defaults alone.
    subject = None if given["event"] == "fault" else common.dress(Subject())
    tracker = Tracker("bench", emitter, subject=subject, app_id="bench", encode_base64=True)

    def page_view(number: int) -> None:
        context = common.entities(SelfDescribingJson, number)
        url = page_url(number)
        tracker.track(PageView(page_url=url, page_title=PAGE_TITLE, referrer=REFERRER, context=context))

    def structured(number: int) -> None:
        label = f"SKU-{number}"
        tracker.track(StructuredEvent("shop", "add-to-basket", label=label, property_="pcs", value=2))

    def fault(number: int) -> None:
        label, context = common.fault_event(SelfDescribingJson, number, given)
        tracker.track(StructuredEvent("shop", "add-to-basket", label=label, value=2, context=context))

    def flush() -> None:
        tracker.flush()

    track = {"page_view": page_view, "structured": structured, "fault": fault}[given["event"]]
    return Side(track=track, versions=VERSIONS, flush=flush, close=flush, emitter=emitter)


if __name__ == "__main__":
    main(make)
