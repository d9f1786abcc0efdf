"""Plain ASGI, without a framework."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

from snowplow_aio.integrations.asgi import Receive, Scope, Send, SnowplowMiddleware, tracker_of
from tests.integrations.made import Trackers, http_scope, request, started
from tests.integrations.places import at, track

PLACES = frozenset(
    {
        "application",
        "task",
        "task that goes on",
        "to_thread",
        "executor",
        "own thread",
        "after the response",
        "websocket",
        "middleware inside, before",
        "middleware inside, after",
        "middleware outside, after",
        "middleware outside, after an error",
        "middleware outside, with the tracker it knows",
    }
)


def in_thread(scope: Scope, place: str) -> None:
    tracker_of(scope).track_nowait(at(place))


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    goes_on = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def later(scope: Scope) -> None:
        await goes_on.wait()
        await track(tracker_of(scope), "task that goes on")

    async def places(scope: Scope, _receive: Receive, send: Send) -> None:
        tracker = tracker_of(scope)
        await track(tracker, "application")
        await asyncio.create_task(track(tracker, "task"))
        tasks.append(asyncio.create_task(later(scope)))
        await asyncio.to_thread(tracker.track_nowait, at("to_thread"))
        await asyncio.get_running_loop().run_in_executor(None, in_thread, scope, "executor")
        thread = threading.Thread(target=in_thread, args=(scope, "own thread"))
        thread.start()
        await asyncio.to_thread(thread.join)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})
        await track(tracker, "after the response")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await track(tracker_of(scope), "websocket")
        elif scope["path"] == "/fails":
            raise RuntimeError("no database")
        elif scope["path"] == "/":
            await places(scope, receive, send)

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        seen = scope["path"] == "/inside"
        if seen:
            await track(tracker_of(scope), "middleware inside, before")
        await application(scope, receive, send)
        if seen:
            await track(tracker_of(scope), "middleware inside, after")

    middleware = SnowplowMiddleware(inside, trackers, **options)

    async def outside(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await middleware(scope, receive, send)
        except RuntimeError:
            await track(trackers.made[0], "middleware outside, with the tracker it knows")
            await track(tracker_of(scope), "middleware outside, after an error")
        else:
            if scope.get("path") == "/outside":
                await track(tracker_of(scope), "middleware outside, after")

    async with started(outside):
        for path in ("/", "/fails", "/inside", "/outside"):
            await asyncio.create_task(request(outside, http_scope(path, headers=headers)))
        scope = http_scope("/ws", type="websocket", scheme="ws", headers=headers)
        with suppress(RuntimeError):
            await asyncio.create_task(request(outside, scope))
        goes_on.set()
        await asyncio.gather(*tasks)
