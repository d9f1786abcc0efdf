"""An ASGI application without a framework. Its answers are event ids; the middleware closes its tracker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

from snowplow_aio.integrations.asgi import SnowplowMiddleware, tracker_of
from tests.faults.servers.served.shop import CLOSE_SECONDS, COLLECTOR, PAGE, WORK_SECONDS, make_tracker

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        # This is how an application says that it has no lifespan.
        raise NotImplementedError
    status, event_id = 200, ""
    if scope["path"] == "/threaded":
        event_id = await asyncio.to_thread(track_in_thread, scope)
    elif scope["path"] == "/awaited":
        await asyncio.sleep(WORK_SECONDS)
        event_id = str(uuid4()) if COLLECTOR is None else await tracker_of(scope).track(PAGE)
    else:
        status = 404
    body = event_id.encode()
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def track_in_thread(scope: Scope) -> str:
    time.sleep(WORK_SECONDS)
    return str(uuid4()) if COLLECTOR is None else tracker_of(scope).track_nowait(PAGE)


app = answer if COLLECTOR is None else SnowplowMiddleware(answer, make_tracker, timeout=CLOSE_SECONDS)
