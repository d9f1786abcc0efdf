"""Quart, which handles its exceptions itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from quart import Blueprint, Quart, Response, copy_current_request_context, request, websocket

from snowplow_aio.integrations.asgi import SnowplowMiddleware, tracker_of
from tests.integrations.made import Trackers
from tests.integrations.places import at, track

PLACES = frozenset(
    {
        "view",
        "sync view",
        "before_request",
        "after_request",
        "teardown_request",
        "handler of any exception",
        "handler of not found",
        "blueprint",
        "background",
        "sync background",
        "task that goes on",
        "stream",
        "end of a stream",
        "websocket",
        "middleware outside",
    }
)


def add_hooks(app: Quart) -> None:
    @app.before_request
    async def before() -> None:
        if request.path == "/hooks":
            await track(tracker_of(request), "before_request")

    @app.after_request
    async def after(response: Response) -> Response:
        if request.path == "/hooks":
            await track(tracker_of(request), "after_request")
        return response

    @app.teardown_request
    async def teardown(_error: BaseException | None) -> None:
        if request.path == "/hooks":
            await track(tracker_of(request), "teardown_request")

    @app.errorhandler(RuntimeError)
    async def any_exception(_error: Exception) -> tuple[str, int]:
        await track(tracker_of(request), "handler of any exception")
        return "", 500

    @app.errorhandler(404)
    async def not_found(_error: Exception) -> tuple[str, int]:
        await track(tracker_of(request), "handler of not found")
        return "", 404


def add_views(app: Quart) -> None:
    @app.get("/")
    async def view() -> str:
        await track(tracker_of(request), "view")
        return ""

    @app.get("/sync")
    def sync_view() -> str:
        tracker_of(request).track_nowait(at("sync view"))
        return ""

    @app.get("/hooks")
    @app.get("/outside")
    async def quiet() -> str:
        return ""

    @app.get("/fails")
    async def fails() -> str:
        raise RuntimeError("no database")

    @app.get("/background")
    async def background() -> str:
        async def later() -> None:
            await track(tracker_of(scope), "background")

        scope = request.scope
        app.add_background_task(later)
        app.add_background_task(lambda: tracker_of(scope).track_nowait(at("sync background")))
        return ""

    @app.get("/stream")
    async def stream() -> Response:
        scope = request.scope

        async def body() -> AsyncGenerator[str]:
            try:
                await track(tracker_of(scope), "stream")
                yield "x"
            finally:
                await track(tracker_of(scope), "end of a stream")

        return Response(body())

    @app.websocket("/ws")
    async def socket() -> None:
        await track(tracker_of(websocket), "websocket")
        await websocket.send("x")


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    goes_on = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    app = Quart("shop")
    add_hooks(app)
    add_views(app)
    blueprint = Blueprint("blueprint", "shop")

    @blueprint.get("/blueprint")
    async def of_blueprint() -> str:
        await track(tracker_of(request), "blueprint")
        return ""

    @app.get("/later")
    async def later() -> str:
        @copy_current_request_context
        async def wait() -> None:
            await goes_on.wait()
            await track(tracker_of(request), "task that goes on")

        tasks.append(asyncio.create_task(wait()))
        return ""

    app.register_blueprint(blueprint)
    middleware = SnowplowMiddleware(app.asgi_app, trackers, **options)

    async def outside(scope: Any, receive: Any, send: Any) -> None:
        await middleware(scope, receive, send)
        if scope.get("path") == "/outside":
            await track(tracker_of(scope), "middleware outside")

    app.asgi_app = outside  # type: ignore[method-assign] # as Quart documents
    paths = ["/", "/sync", "/hooks", "/outside", "/fails", "/nowhere", "/background", "/blueprint"]
    async with app.test_app() as running:
        client = running.test_client()
        for path in [*paths, "/stream", "/later"]:
            await client.get(path, headers=headers)
        async with client.websocket("/ws", headers=headers) as spoken:
            await spoken.receive()
        goes_on.set()
        await asyncio.gather(*tasks)
