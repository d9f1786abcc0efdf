"""Starlette, with applications and routers mounted in it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.websockets import WebSocket

from snowplow_aio.integrations.asgi import Message, SnowplowMiddleware, lifespan, tracker_of
from tests.integrations.made import Trackers, http_scope, request, started
from tests.integrations.places import at, track
from tests.waiting import until

PLACES = frozenset(
    {
        "endpoint",
        "sync endpoint",
        "class of an endpoint",
        "handler of an HTTP exception",
        "sync handler of any exception",
        "handler of any exception",
        "handler of not found",
        "handler of any exception, in an application that is mounted",
        "handler of any exception, around an application that is mounted",
        "background",
        "background thread",
        "stream",
        "end of a stream",
        "sync stream",
        "end of a sync stream",
        "end of a stream that nobody reads",
        "websocket",
        "error of a websocket",
        "middleware outside, before",
        "middleware outside, after",
        "middleware outside that answers",
        "handler of an exception outside",
        "BaseHTTPMiddleware outside, before",
        "BaseHTTPMiddleware outside, after",
        "BaseHTTPMiddleware inside, before",
        "BaseHTTPMiddleware inside, after",
        "mounted application",
        "application mounted in a mounted one",
        "mounted router",
        "task that goes on",
    }
)


async def endpoint(request: Request) -> Response:
    await track(tracker_of(request), "endpoint")
    return PlainTextResponse("")


def sync_endpoint(request: Request) -> Response:
    tracker_of(request).track_nowait(at("sync endpoint"))
    return PlainTextResponse("")


class OfClass(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        await track(tracker_of(request), "class of an endpoint")
        return PlainTextResponse("")


async def failing(_request: Request) -> Response:
    raise RuntimeError("no database")


async def gone(_request: Request) -> Response:
    raise HTTPException(410)


async def quiet(_request: Request) -> Response:
    return PlainTextResponse("")


async def background(request: Request) -> Response:
    async def later() -> None:
        await track(tracker_of(request), "background")

    return PlainTextResponse("", background=BackgroundTask(later))


async def background_thread(request: Request) -> Response:
    def later() -> None:
        tracker_of(request).track_nowait(at("background thread"))

    return PlainTextResponse("", background=BackgroundTask(later))


async def stream(request: Request) -> Response:
    async def body() -> AsyncGenerator[str]:
        try:
            await track(tracker_of(request), "stream")
            yield "x"
        finally:
            await track(tracker_of(request), "end of a stream")

    return StreamingResponse(body())


async def sync_stream(request: Request) -> Response:
    def body() -> Generator[str]:
        try:
            tracker_of(request).track_nowait(at("sync stream"))
            yield "x"
        finally:
            tracker_of(request).track_nowait(at("end of a sync stream"))

    return StreamingResponse(body())


def unread(is_ended: asyncio.Event) -> Callable[[Request], Awaitable[Response]]:
    async def unread(request: Request) -> Response:
        async def body() -> AsyncGenerator[str]:
            try:
                while True:
                    yield "x"
            finally:
                await track(tracker_of(request), "end of a stream that nobody reads")
                is_ended.set()

        return StreamingResponse(body())

    return unread


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await track(tracker_of(websocket), "websocket")
    await websocket.close()


async def failing_socket(websocket: WebSocket) -> None:
    await websocket.accept()
    raise ValueError("no table")


def saying(place: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        await track(tracker_of(request), place)
        return PlainTextResponse("")

    return endpoint


def handling(place: str) -> Callable[[Any, Exception], Awaitable[Any]]:
    async def handler(connection: Any, _error: Exception) -> Any:
        await track(tracker_of(connection), place)
        return PlainTextResponse("", 500) if isinstance(connection, Request) else None

    return handler


def sync_handler(request: Any, _error: Exception) -> Response:
    tracker_of(request).track_nowait(at("sync handler of any exception"))
    return PlainTextResponse("", 500)


def base(path: str, place: str) -> Any:
    async def dispatch(request: Request, call_next: Any) -> Response:
        if request.url.path != path:
            return await call_next(request)  # type: ignore[no-any-return]
        await track(tracker_of(request), f"{place}, before")
        response: Response = await call_next(request)
        await track(tracker_of(request), f"{place}, after")
        return response

    return dispatch


class Outside:
    """A middleware outside of ours, which may also answer or fail without it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path")
        if path == "/outside":
            await track(tracker_of(scope), "middleware outside, before")
        if path == "/outside/answers":
            await track(tracker_of(scope), "middleware outside that answers")
            await PlainTextResponse("")(scope, receive, send)
            return
        if path == "/outside/fails":
            raise RuntimeError("no session")
        # A scope may be copied on its way to the application.
        await self.app(dict(scope) if path == "/copied" else scope, receive, send)
        if path == "/outside":
            await track(tracker_of(scope), "middleware outside, after")


def application(trackers: Trackers, later: Any, is_ended: asyncio.Event, **options: Any) -> Starlette:
    deep = Starlette(routes=[Route("/", saying("application mounted in a mounted one"))])
    inner = Starlette(
        routes=[
            Route("/", saying("mounted application")),
            Route("/fails", failing),
            Mount("/deep", deep),
        ],
        exception_handlers={
            Exception: handling("handler of any exception, in an application that is mounted")
        },
    )
    return Starlette(
        lifespan=lifespan(trackers),
        middleware=[
            Middleware(Outside),
            Middleware(BaseHTTPMiddleware, dispatch=base("/base/outside", "BaseHTTPMiddleware outside")),
            Middleware(SnowplowMiddleware, **options),
            Middleware(BaseHTTPMiddleware, dispatch=base("/base/inside", "BaseHTTPMiddleware inside")),
        ],
        routes=[
            Route("/", endpoint),
            Route("/sync", sync_endpoint),
            Route("/class", OfClass),
            Route("/gone", gone),
            Route("/fails", failing),
            Route("/copied", failing),
            Route("/background", background),
            Route("/background/thread", background_thread),
            Route("/stream", stream),
            Route("/stream/sync", sync_stream),
            Route("/stream/unread", unread(is_ended)),
            Route("/outside", quiet),
            Route("/base/outside", quiet),
            Route("/base/inside", quiet),
            Route("/later", later),
            WebSocketRoute("/ws", socket),
            WebSocketRoute("/ws/fails", failing_socket),
            Mount("/inner", inner),
            Mount("/router", Router([Route("/", saying("mounted router"))])),
        ],
        exception_handlers={
            410: handling("handler of an HTTP exception"),
            404: handling("handler of not found"),
            ValueError: handling("error of a websocket"),
            Exception: by_path,
        },
    )


async def by_path(request: Request, error: Exception) -> Response:
    """Handle any exception, outside of all middleware."""
    path = request.url.path
    if path == "/fails":
        await asyncio.to_thread(sync_handler, request, error)
        await track(tracker_of(request), "handler of any exception")
    elif path.startswith("/inner"):
        await track(tracker_of(request), "handler of any exception, around an application that is mounted")
    elif path == "/outside/fails":
        await track(tracker_of(request), "handler of an exception outside")
    return PlainTextResponse("", 500)


async def read_nothing(app: Any, scope: dict[str, Any]) -> None:
    """Send a request whose client is gone after the first part of the body."""

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client is gone")

    with suppress(Exception):
        await app(scope, receive, send)


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    goes_on, is_ended = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def later(request: Request) -> Response:
        async def wait() -> None:
            await goes_on.wait()
            await track(tracker_of(request), "task that goes on")

        tasks.append(asyncio.create_task(wait()))
        return PlainTextResponse("")

    app = application(trackers, later, is_ended, **options)

    async def ask(path: str, **fields: Any) -> None:
        with suppress(RuntimeError):
            await request(app, http_scope(path, headers=headers, **fields))

    paths = ["/", "/sync", "/class", "/gone", "/fails", "/copied", "/nowhere", "/background"]
    paths += ["/background/thread", "/stream", "/stream/sync", "/outside", "/outside/answers"]
    paths += ["/outside/fails", "/base/outside", "/base/inside", "/later"]
    paths += ["/inner/", "/inner/fails", "/inner/deep/", "/router/"]
    async with started(app):
        for path in paths:
            await asyncio.create_task(ask(path))
        for path in ("/ws", "/ws/fails"):
            await asyncio.create_task(ask(path, type="websocket", scheme="ws", subprotocols=[]))
        await asyncio.create_task(read_nothing(app, http_scope("/stream/unread", headers=headers)))
        # The body is in a cycle with its error. It is young, and a whole collection is slow.
        gc.collect(1)
        await until(is_ended.is_set, seconds=10)
        goes_on.set()
        await asyncio.gather(*tasks)
