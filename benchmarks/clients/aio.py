"""
aio-snowplow-tracker 1.0.2, a coroutine-based fork of the official tracker.

Parameters: ``method``, ``scheme``, ``events``, ``port``, ``core``, and for its
best tuning ``batch_size``, ``session`` and ``quiet``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import aiohttp
from aio_snowplow_tracker import Emitter, SelfDescribingJson, Subject, Tracker
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


async def run(given: dict[str, Any]) -> None:
    session = aiohttp.ClientSession() if given.get("session") else None
    emitter = Emitter(
        "127.0.0.1",
        protocol=given["scheme"],
        port=given["port"],
        method=given["method"],
        buffer_size=given.get("batch_size"),
        client_session=session,
    )
    tracker = Tracker(emitter, subject=dress(Subject()), namespace="bench", app_id="bench")
    watch = Stopwatch()
    clock = time.perf_counter_ns
    watch.start()
    for number in range(given["events"]):
        before = clock()
        entities = [
            SelfDescribingJson(PRODUCT_SCHEMA, product(number)),
            SelfDescribingJson(VISITOR_SCHEMA, visitor(number)),
        ]
        await tracker.track_page_view(page_url(number), PAGE_TITLE, REFERRER, entities)
        watch.waits_ns.append(clock() - before)
    await tracker.flush()
    watch.stop()
    if session is not None:
        await session.close()
    watch.report(versions_of("aio-snowplow-tracker", "aiohttp"), taken=None)


def main() -> None:
    given = parameters()
    if given.get("quiet"):
        logging.getLogger("aio_snowplow_tracker").setLevel(logging.ERROR)
        logging.getLogger("aio_snowplow_tracker.emitters").setLevel(logging.ERROR)
    asyncio.run(run(given))


if __name__ == "__main__":
    main()
