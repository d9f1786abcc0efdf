"""
The service with this library: the three lines of the documentation, and one event for each request.

Parameters: those of ``service.py``, ``port``, and ``found``: how the endpoint finds the tracker, as a
``dependency`` of FastAPI's or by the ``request``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from common import PAGE_TITLE, page_url, parameters
from fastapi import FastAPI, Request
from ours import versions
from service import FLUSH_SECONDS, Service, item

from snowplow_aio import HttpEmitter, PageView, Tracker
from snowplow_aio.integrations.fastapi import CurrentTracker, SnowplowMiddleware, lifespan, tracker_of

given = parameters()


def make_tracker() -> Tracker:
    return Tracker(HttpEmitter(f"http://127.0.0.1:{given['port']}"), app_id="shop")


app = FastAPI(lifespan=lifespan(make_tracker))
app.add_middleware(SnowplowMiddleware)


async def show(number: int, tracker: CurrentTracker) -> dict[str, Any]:
    await tracker.track(PageView(page_url=page_url(number), page_title=PAGE_TITLE))
    return item(number)


async def show_by_request(number: int, request: Request) -> dict[str, Any]:
    await tracker_of(request).track(PageView(page_url=page_url(number), page_title=PAGE_TITLE))
    return item(number)


app.get("/items/{number}")(show if given["found"] == "dependency" else show_by_request)


def flush(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(tracker_of(app).flush(FLUSH_SECONDS), loop).result()


if __name__ == "__main__":
    Service(given, versions(), flush).run(app)
