"""The FastAPI twin of the Starlette application: its answers are event ids."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import PlainTextResponse

from snowplow_aio import Tracker
from snowplow_aio.integrations.fastapi import SnowplowMiddleware, lifespan, tracker_of
from tests.faults.servers.served.shop import CLOSE_SECONDS, COLLECTOR, PAGE, WORK_SECONDS, make_tracker

app = FastAPI(
    lifespan=None if COLLECTOR is None else lifespan(make_tracker, timeout=CLOSE_SECONDS),
    default_response_class=PlainTextResponse,
)
if COLLECTOR is not None:
    app.add_middleware(SnowplowMiddleware)


@app.get("/awaited")
async def awaited(request: Request) -> str:
    await asyncio.sleep(WORK_SECONDS)
    return str(uuid4()) if COLLECTOR is None else await tracker_of(request).track(PAGE)


@app.get("/threaded")
def threaded(request: Request) -> str:
    time.sleep(WORK_SECONDS)
    return str(uuid4()) if COLLECTOR is None else tracker_of(request).track_nowait(PAGE)


@app.get("/afterwards")
async def afterwards(request: Request, tasks: BackgroundTasks) -> str:
    event_id = str(uuid4())
    if COLLECTOR is not None:
        tasks.add_task(track_late, tracker_of(request), event_id)
    return event_id


async def track_late(tracker: Tracker, event_id: str) -> None:
    await asyncio.sleep(WORK_SECONDS)
    await tracker.track(PAGE, event_id=event_id)
