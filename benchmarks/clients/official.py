"""
The official tracker, snowplow-tracker 1.1.0.

Parameters: ``emitter`` (``Emitter``, ``AsyncEmitter`` or ``null``), ``event``
(``page_view`` or ``structured``), ``method``, ``scheme``, ``events``, ``port``,
``core``, and for its best tuning ``batch_size``, ``session``, ``quiet`` and
``threads``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import requests
from common import (
    PAGE_TITLE,
    PRODUCT_SCHEMA,
    REFERRER,
    VISITOR_SCHEMA,
    Stopwatch,
    dress,
    page_url,
    parameters,
    product,
    versions_of,
    visitor,
)
from snowplow_tracker import (
    AsyncEmitter,
    Emitter,
    PageView,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
)


class NullEmitter:
    """
    Takes every event and forgets it: what is left is the cost of building.
    """

    def __init__(self) -> None:
        self.taken = 0

    def input(self, payload: dict[str, Any]) -> None:
        self.taken += 1

    def sync_flush(self) -> None:
        pass


def make_page_view(number: int) -> PageView:
    return PageView(
        page_url=page_url(number),
        page_title=PAGE_TITLE,
        referrer=REFERRER,
        context=[
            SelfDescribingJson(PRODUCT_SCHEMA, product(number)),
            SelfDescribingJson(VISITOR_SCHEMA, visitor(number)),
        ],
    )


def make_structured(number: int) -> StructuredEvent:
    return StructuredEvent("shop", "add-to-basket", label=f"SKU-{number}", property_="pcs", value=2)


def make_emitter(given: dict[str, Any]) -> Any:
    if given["emitter"] == "null":
        return NullEmitter()
    kind = {"Emitter": Emitter, "AsyncEmitter": AsyncEmitter}[given["emitter"]]
    return kind(
        "127.0.0.1",
        protocol=given["scheme"],
        port=given["port"],
        method=given["method"],
        batch_size=given.get("batch_size"),
        buffer_capacity=given.get("buffer_capacity"),
        session=requests.Session() if given.get("session") else None,
        **({"thread_count": given["threads"]} if "threads" in given else {}),
    )


def make_tracker(emitter: Any) -> Tracker:
    return Tracker("bench", emitter, subject=dress(Subject()), app_id="bench", encode_base64=True)


def versions() -> dict[str, str]:
    return versions_of("snowplow-tracker", "requests", "urllib3")


def track_all(
    track: Callable[[Any], Any], make: Callable[[int], Any], events: int, waits_ns: list[int]
) -> None:
    clock = time.perf_counter_ns
    for number in range(events):
        before = clock()
        track(make(number))
        waits_ns.append(clock() - before)


def main() -> None:
    given = parameters()
    if given.get("quiet"):
        logging.getLogger("snowplow_tracker").setLevel(logging.ERROR)
        logging.getLogger("snowplow_tracker.emitters").setLevel(logging.ERROR)
    emitter = make_emitter(given)
    tracker = make_tracker(emitter)
    make = {"page_view": make_page_view, "structured": make_structured}[given["event"]]
    watch = Stopwatch()
    watch.start()
    track_all(tracker.track, make, given["events"], watch.waits_ns)
    emitter.sync_flush()
    watch.stop()
    watch.report(versions(), taken=getattr(emitter, "taken", None))


if __name__ == "__main__":
    main()
