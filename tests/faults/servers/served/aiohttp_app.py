"""
An aiohttp application whose answers are event ids, tracked in a coroutine and in a thread.

    python -m tests.faults.servers.served.aiohttp_app PORT
"""

from __future__ import annotations

import asyncio
import sys
import time
from uuid import uuid4

from aiohttp import web

from snowplow_aio import Tracker
from snowplow_aio.integrations.aiohttp import setup, tracker_of
from tests.faults.servers.served.shop import CLOSE_SECONDS, COLLECTOR, PAGE, WORK_SECONDS, make_tracker


async def awaited(request: web.Request) -> web.Response:
    await asyncio.sleep(WORK_SECONDS)
    return web.Response(text=str(uuid4()) if COLLECTOR is None else await tracker_of(request).track(PAGE))


async def threaded(request: web.Request) -> web.Response:
    tracker = None if COLLECTOR is None else tracker_of(request)
    return web.Response(text=await asyncio.to_thread(track_in_thread, tracker))


def track_in_thread(tracker: Tracker | None) -> str:
    time.sleep(WORK_SECONDS)
    return str(uuid4()) if tracker is None else tracker.track_nowait(PAGE)


def main() -> None:
    app = web.Application()
    app.add_routes([web.get("/awaited", awaited), web.get("/threaded", threaded)])
    if COLLECTOR is not None:
        setup(app, make_tracker, timeout=CLOSE_SECONDS)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
