"""
aio-snowplow-tracker 1.0.2, a coroutine-based fork of the official tracker.

It sends single events by GET unless it is told otherwise; here it sends by
POST, as the others do. Parameters: those of ``official.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import aiohttp
import common
from aio_snowplow_tracker import Emitter, SelfDescribingJson, Subject, Tracker
from common import PAGE_TITLE, REFERRER, page_url
from works import Given, Side, main


def make(given: Given) -> Side:
    if given.get("quiet"):
        common.silence("aio_snowplow_tracker", "aio_snowplow_tracker.emitters")
    session = aiohttp.ClientSession() if given.get("session") else None
    emitter = Emitter(
        "127.0.0.1",
        protocol=given["scheme"],
        port=given["port"],
        method=given["method"],
        buffer_size=given.get("batch_size"),
        client_session=session,
    )
    # In a trial with a fault the tracker has its defaults alone.
    subject = None if given["event"] == "fault" else common.dress(Subject())
    tracker = Tracker(emitter, subject=subject, namespace="bench", app_id="bench")

    def page_view(number: int) -> Awaitable[Any]:
        context = common.entities(SelfDescribingJson, number)
        return tracker.track_page_view(page_url(number), PAGE_TITLE, REFERRER, context)

    def fault(number: int) -> Awaitable[Any]:
        label, context = common.fault_event(SelfDescribingJson, number, given)
        return tracker.track_struct_event("shop", "add-to-basket", label=label, value=2, context=context)

    async def close() -> None:
        await tracker.flush()
        if session is not None:
            await session.close()

    return Side(
        track={"page_view": page_view, "fault": fault}[given["event"]],
        versions=common.versions_of("aio-snowplow-tracker", "aiohttp"),
        is_async=True,
        flush=tracker.flush,
        close=close,
    )


if __name__ == "__main__":
    main(make)
