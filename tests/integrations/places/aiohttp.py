"""aiohttp, with middlewares on both sides of ours, signals and sub-applications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from snowplow_aio.integrations.aiohttp import setup, tracker_of
from tests.integrations.made import Trackers
from tests.integrations.places import at, track
from tests.waiting import until

PLACES = frozenset(
    {
        "handler",
        "task",
        "task that goes on",
        "to_thread",
        "executor",
        "class of a handler",
        "middleware inside, before",
        "middleware inside, after",
        "middleware inside, after an error",
        "middleware outside, before",
        "middleware outside, after",
        "middleware outside, after an error",
        "middleware outside, after an HTTP exception",
        "middleware outside that answers",
        "signal",
        "stream",
        "end of a stream",
        "body",
        "end of a body",
        "websocket",
        "sub-application",
        "middleware of a sub-application",
        "no route",
    }
)


def middleware_of(side: str) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/nowhere" and side == "outside":
            await track(tracker_of(request), "no route")
        if request.path == f"/{side}":
            await track(tracker_of(request), f"middleware {side}, before")
        if request.path == "/answers" and side == "outside":
            await track(tracker_of(request), "middleware outside that answers")
            return web.Response()
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPGone:
            if side == "outside":
                await track(tracker_of(request), "middleware outside, after an HTTP exception")
            raise
        except RuntimeError:
            await track(tracker_of(request), f"middleware {side}, after an error")
            if side == "inside":
                raise
            return web.Response()
        if request.path == f"/{side}":
            await track(tracker_of(request), f"middleware {side}, after")
        return response

    return middleware


async def quiet(_request: web.Request) -> web.Response:
    return web.Response()


async def fails(_request: web.Request) -> web.Response:
    raise RuntimeError("no database")


async def gone(_request: web.Request) -> web.Response:
    raise web.HTTPGone


class Class(web.View):
    async def get(self) -> web.Response:
        await track(tracker_of(self.request), "class of a handler")
        return web.Response()


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        await track(tracker_of(request), "stream")
        await response.write(b"x")
    finally:
        await track(tracker_of(request), "end of a stream")
    return response


async def body(request: web.Request) -> web.Response:
    async def parts() -> AsyncGenerator[bytes]:
        try:
            await track(tracker_of(request), "body")
            yield b"x"
        finally:
            await track(tracker_of(request), "end of a body")

    return web.Response(body=parts())


async def socket(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for _ in websocket:
        await track(tracker_of(request), "websocket")
    return websocket


async def signal(request: web.Request, _response: web.StreamResponse) -> None:
    if request.path == "/signal":
        await track(tracker_of(request), "signal")


def inner() -> web.Application:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        await track(tracker_of(request), "middleware of a sub-application")
        response: web.StreamResponse = await handler(request)
        return response

    async def handler(request: web.Request) -> web.Response:
        await track(tracker_of(request), "sub-application")
        return web.Response()

    app = web.Application(middlewares=[middleware])
    app.router.add_get("/", handler)
    return app


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    goes_on = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def handler(request: web.Request) -> web.Response:
        tracker = tracker_of(request)

        async def later() -> None:
            await goes_on.wait()
            await track(tracker_of(request), "task that goes on")

        await track(tracker, "handler")
        await asyncio.create_task(track(tracker, "task"))
        tasks.append(asyncio.create_task(later()))
        await asyncio.to_thread(tracker.track_nowait, at("to_thread"))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: tracker_of(request).track_nowait(at("executor")))
        return web.Response()

    app = web.Application(middlewares=[middleware_of("inside")])
    app.router.add_get("/", handler)
    app.router.add_view("/class", Class)
    for path in ("/inside", "/outside", "/signal"):
        app.router.add_get(path, quiet)
    for path, answer in {"fails": fails, "gone": gone, "stream": stream, "body": body, "ws": socket}.items():
        app.router.add_get(f"/{path}", answer)
    app.add_subapp("/inner", inner())
    app.on_response_prepare.append(signal)
    setup(app, trackers, **options)
    app.middlewares.insert(0, middleware_of("outside"))
    paths = ["/", "/class", "/inside", "/outside", "/answers", "/fails", "/gone", "/signal"]
    paths += ["/stream", "/body", "/inner/", "/nowhere"]
    async with TestClient(TestServer(app)) as client:
        for path in paths:
            await (await client.get(path, headers=headers)).read()
        async with client.ws_connect("/ws", headers=headers) as websocket:
            await websocket.send_str("x")
        goes_on.set()
        await until(lambda: len(tasks) == 1)
        await asyncio.gather(*tasks)
