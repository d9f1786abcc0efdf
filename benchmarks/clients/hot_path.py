"""
This library's hot path alone: `track` builds a page view, and a store in memory takes it.

For ``compare.py``. Whichever version of the library PYTHONPATH shows is
measured, so only names are used here that every version has. Parameters:
``chunks``, ``events`` (per chunk), ``is_calibrated`` and ``core``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import statistics
import time
from typing import Any

from common import PAGE_TITLE, PRODUCT_SCHEMA, REFERRER, VISITOR_SCHEMA, dress, page_url, product, visitor
from common import parameters as parameters_of_this

from snowplow_aio import HttpEmitter, MemoryStore, PageView, Retry, SelfDescribingJson, Subject, Tracker

# About one and a half milliseconds: some of a chunk, so that both meet the same speed of the core.
CALIBRATION_STEPS = 20_000


def calibrate() -> float:
    """
    Return the CPU seconds of the process for a fixed piece of work.
    """
    start, value = cpu_seconds(), 1
    for _ in range(CALIBRATION_STEPS):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    return cpu_seconds() - start


def cpu_seconds() -> float:
    """
    Return the CPU time of this thread, all of it user time but for some memory that is asked for.
    """
    return time.thread_time()


async def chunk(tracker: Tracker, first: int, events: int) -> None:
    for number in range(first, first + events):
        event = PageView(page_url=page_url(number), page_title=PAGE_TITLE, referrer=REFERRER)
        entities: list[Any] = [
            SelfDescribingJson(PRODUCT_SCHEMA, product(number)),
            SelfDescribingJson(VISITOR_SCHEMA, visitor(number)),
        ]
        await tracker.track(event, context=entities)


async def run(given: dict[str, Any]) -> list[float]:
    """
    Return the CPU time of an event in each chunk, in units of the calibration around it.
    """
    # Its first request finds nobody, and it leaves the collector alone for longer than this takes.
    emitter = HttpEmitter(
        "http://127.0.0.1:9",
        store=MemoryStore(capacity=10_000_000, capacity_bytes=2**40),
        retry=Retry(initial_delay=1e6, max_delay=1e6),
        drain_timeout=0,
    )
    tracker = Tracker(emitter, namespace="bench", app_id="bench", subject=dress(Subject()))
    events, found = given["events"], []
    await chunk(tracker, 0, events)
    # The refusal is waited for: what it costs is no part of a chunk.
    while not emitter.stats().retries:  # noqa: ASYNC110 - a hook would be part of what is measured
        await asyncio.sleep(0.01)
    # What imports left is not to be gone through again and again; the hot path's own garbage is.
    gc.collect()
    gc.freeze()
    for number in range(given["chunks"]):
        before = calibrate() if given["is_calibrated"] else 1.0
        start = cpu_seconds()
        await chunk(tracker, number * events, events)
        took = cpu_seconds() - start
        after = calibrate() if given["is_calibrated"] else 1.0
        found.append(took / events / (before + after) * 2)
    return found


def main() -> None:
    given = parameters_of_this()
    logging.disable(logging.CRITICAL)
    found = asyncio.Runner().run(run(given))
    print(json.dumps(statistics.median(found)), flush=True)
    # No farewell to events that were never meant to be sent.
    os._exit(0)


if __name__ == "__main__":
    main()
