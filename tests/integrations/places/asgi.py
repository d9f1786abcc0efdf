"""Plain ASGI, without a framework."""

from __future__ import annotations

import asyncio
import threading
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


class Places:
    """An application, with a middleware inside and one outside of ours."""

    def __init__(self, trackers: Trackers, **options: Any) -> None:
        self.trackers = trackers
        self.goes_on = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.middleware = SnowplowMiddleware(self.inside, trackers, **options)

    async def later(self, scope: Scope) -> None:
        await self.goes_on.wait()
        await track(tracker_of(scope), "task that goes on")

    async def everywhere(self, scope: Scope, send: Send) -> None:
        tracker = tracker_of(scope)
        await track(tracker, "application")
        await asyncio.create_task(track(tracker, "task"))
        self.tasks.append(asyncio.create_task(self.later(scope)))
        await asyncio.to_thread(tracker.track_nowait, at("to_thread"))
        await asyncio.get_running_loop().run_in_executor(None, in_thread, scope, "executor")
        thread = threading.Thread(target=in_thread, args=(scope, "own thread"))
        thread.start()
        await asyncio.to_thread(thread.join)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})
        await track(tracker, "after the response")

    async def application(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await track(tracker_of(scope), "websocket")
        elif scope["path"] == "/fails":
            raise RuntimeError("no database")
        elif scope["path"] == "/":
            await self.everywhere(scope, send)

    async def inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_here = scope["path"] == "/inside"
        if is_here:
            await track(tracker_of(scope), "middleware inside, before")
        await self.application(scope, receive, send)
        if is_here:
            await track(tracker_of(scope), "middleware inside, after")

    async def outside(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.middleware(scope, receive, send)
        except RuntimeError:
            await track(self.trackers.made[0], "middleware outside, with the tracker it knows")
            await track(tracker_of(scope), "middleware outside, after an error")
        else:
            if scope.get("path") == "/outside":
                await track(tracker_of(scope), "middleware outside, after")


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    places = Places(trackers, **options)
    async with started(places.outside):
        for path in ("/", "/fails", "/inside", "/outside"):
            await asyncio.create_task(request(places.outside, http_scope(path, headers=headers)))
        scope = http_scope("/ws", type="websocket", scheme="ws", headers=headers)
        await asyncio.create_task(request(places.outside, scope))
        places.goes_on.set()
        await asyncio.gather(*places.tasks)
