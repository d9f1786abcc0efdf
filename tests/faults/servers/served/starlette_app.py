"""
A Starlette application whose answers are event ids.

Its events are tracked in a coroutine, in a thread of the pool, and after the answer.
"""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan, tracker_of
from tests.faults.servers.served.shop import CLOSE_SECONDS, COLLECTOR, PAGE, WORK_SECONDS, make_tracker


async def awaited(request: Request) -> Response:
    await asyncio.sleep(WORK_SECONDS)
    return PlainTextResponse(str(uuid4()) if COLLECTOR is None else await tracker_of(request).track(PAGE))


def threaded(request: Request) -> Response:
    time.sleep(WORK_SECONDS)
    return PlainTextResponse(str(uuid4()) if COLLECTOR is None else tracker_of(request).track_nowait(PAGE))


async def afterwards(request: Request) -> Response:
    event_id = str(uuid4())
    return PlainTextResponse(event_id, background=BackgroundTask(track_late, request, event_id))


async def track_late(request: Request, event_id: str) -> None:
    await asyncio.sleep(WORK_SECONDS)
    if COLLECTOR is not None:
        await tracker_of(request).track(PAGE, event_id=event_id)


routes = [Route("/awaited", awaited), Route("/threaded", threaded), Route("/afterwards", afterwards)]
app = Starlette(
    routes=routes,
    lifespan=None if COLLECTOR is None else lifespan(make_tracker, timeout=CLOSE_SECONDS),
)
if COLLECTOR is not None:
    app.add_middleware(SnowplowMiddleware)
