"""Trackers as an application makes them, their events, and the ASGI side of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from snowplow_aio import MemoryEmitter, StructuredEvent, Tracker, sync
from snowplow_aio.integrations.asgi import ASGIApp, Message, SnowplowMiddleware, tracker_of
from snowplow_aio.model.payload import Event


class Trackers:
    """Makes trackers that keep their events, and remembers them."""

    def __init__(self) -> None:
        self.made: list[Tracker] = []
        self.made_blocking: list[sync.Tracker] = []
        self.emitters: list[Emitter] = []

    def __call__(self, **options: Any) -> Tracker:
        tracker = Tracker(self._emitter(), namespace=f"n{len(self.made)}", app_id="shop", **options)
        self.made.append(tracker)
        return tracker

    def blocking(self, **options: Any) -> sync.Tracker:
        """Return a tracker for an application without a loop."""
        namespace = f"n{len(self.made_blocking)}"
        tracker = sync.Tracker(self._emitter(), namespace=namespace, app_id="shop", **options)
        self.made_blocking.append(tracker)
        return tracker

    def _emitter(self) -> Emitter:
        self.emitters.append(Emitter())
        return self.emitters[-1]

    @property
    def events(self) -> list[dict[str, str]]:
        """All events that arrived, in order."""
        return [payload.fields() for emitter in self.emitters for payload in emitter.payloads]


class Emitter(MemoryEmitter):
    """Keeps events until it is closed, as an emitter that sends does."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[float | None] = []
        self.late = 0

    def accept(self, payloads: Any) -> None:
        if self.closed:
            self.late += len(payloads)
        else:
            super().accept(payloads)

    async def aclose(self, timeout: float | None = None) -> Any:
        self.closed.append(timeout)
        return await super().aclose(timeout)


@asynccontextmanager
async def started(app: ASGIApp) -> AsyncGenerator[list[Message]]:
    """Start *app* as an ASGI server does, yield the messages it sends, and stop it."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    sent: list[Message] = []
    answered = asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(message)
        answered.set()

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, to_app.get, send))
    for message in ("lifespan.startup", "lifespan.shutdown"):
        answered.clear()
        await to_app.put({"type": message})
        answer = asyncio.create_task(answered.wait())
        await asyncio.wait({answer, task}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        answer.cancel()
        if message == "lifespan.startup":
            yield sent
    await asyncio.wait_for(task, 10)


def http_scope(path: str = "/", /, **fields: Any) -> dict[str, Any]:
    """Return the scope of a GET request with other *fields*; headers may be a mapping of strings."""
    headers = fields.pop("headers", {})
    items = headers.items() if isinstance(headers, dict) else headers
    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in items],
        "client": ("203.0.113.50", 40000),
        "server": ("127.0.0.1", 8000),
    }
    return scope | fields


async def request(app: ASGIApp, scope: dict[str, Any]) -> list[Message]:
    """Send *app* one request with an empty body, or a WebSocket; return the messages it sent."""
    sent: list[Message] = []
    is_http = scope["type"] == "http"
    bodies = iter([{"type": "http.request" if is_http else "websocket.connect"}])
    is_answered = asyncio.Event()

    async def receive() -> Message:
        if (body := next(bodies, None)) is not None:
            return body
        await is_answered.wait()
        return {"type": "http.disconnect" if is_http else "websocket.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            is_answered.set()

    await app(scope, receive, send)
    return sent


LOOK = StructuredEvent(category="shop", action="look")


async def tracked(
    scope: dict[str, Any], *events: Event, trackers: Trackers | None = None, **options: Any
) -> list[dict[str, str]]:
    """Return the events of an application that tracks *events* while it answers one request."""
    trackers = trackers or Trackers()

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        for event in events or (LOOK,):
            await tracker_of(scope).track(event)

    await request(SnowplowMiddleware(app, trackers, **options), scope)
    return trackers.events
