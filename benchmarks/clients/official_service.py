"""
The service with the official tracker, which knows nothing of requests: it is told whom an event is about.

Parameters: those of ``official.py`` and ``service.py``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from common import PAGE_TITLE, page_url, parameters
from fastapi import FastAPI, Request
from official import make_emitter, versions
from service import Service, item
from snowplow_tracker import PageView, Subject, Tracker

given = parameters()
emitter = make_emitter(given)
tracker = Tracker("bench", emitter, app_id="shop")
app = FastAPI()


def subject_of(request: Request) -> Subject:
    subject = Subject().set_platform("srv")
    subject.set_ip_address(request.client.host).set_useragent(request.headers["user-agent"])
    return subject.set_lang(request.headers["accept-language"].partition(",")[0])


@app.get("/items/{number}")
async def show(number: int, request: Request) -> dict[str, Any]:
    event = PageView(
        page_url=page_url(number),
        page_title=PAGE_TITLE,
        referrer=request.headers["referer"],
        event_subject=subject_of(request),
    )
    tracker.track(event)
    return item(number)


def flush(_loop: asyncio.AbstractEventLoop) -> None:
    emitter.sync_flush()


if __name__ == "__main__":
    Service(given, versions(), flush).run(app)
