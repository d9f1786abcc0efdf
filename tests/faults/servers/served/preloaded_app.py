"""The Starlette application with a tracker that is made and used before the server forks its workers."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette

from snowplow_aio import PageView
from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan
from tests.faults.servers.served.shop import make_tracker
from tests.faults.servers.served.starlette_app import routes

PARENT = PageView(page_url="https://shop.example/parent")

tracker = make_tracker()


async def begin() -> None:
    await tracker.track(PARENT)
    await tracker.flush()


asyncio.run(begin())
# This event waits while the workers are forked. The parent delivers it when it ends.
tracker.track_nowait(PARENT)

app = Starlette(routes=routes, lifespan=lifespan(tracker))
app.add_middleware(SnowplowMiddleware)
