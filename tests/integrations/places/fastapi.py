"""FastAPI: its dependencies, routers, background tasks and applications that are mounted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.requests import HTTPConnection

from snowplow_aio.integrations.fastapi import (
    CurrentTracker,
    SnowplowMiddleware,
    lifespan,
    tracker_of,
)
from tests.integrations.made import Trackers, http_scope, request, started
from tests.integrations.places import at, track

PLACES = frozenset(
    {
        "endpoint",
        "sync endpoint",
        "dependency",
        "sync dependency",
        "yield dependency, before",
        "yield dependency, after",
        "sync yield dependency, before",
        "sync yield dependency, after",
        "dependency of a router",
        "endpoint of a router",
        "background",
        "sync background",
        "background with the method of the tracker",
        "stream",
        "end of a stream",
        "websocket",
        "dependency of a websocket",
        "handler of a validation error",
        "handler of any exception",
        "http middleware",
        "mounted application",
        "mounted application with a request",
        "dependency of a mounted application",
        "handler of any exception, around an application that is mounted",
    }
)


async def dependency(tracker: CurrentTracker) -> None:
    await track(tracker, "dependency")


def sync_dependency(tracker: CurrentTracker) -> None:
    tracker.track_nowait(at("sync dependency"))


async def yielding(connection: HTTPConnection) -> AsyncGenerator[None]:
    await track(tracker_of(connection), "yield dependency, before")
    yield
    await track(tracker_of(connection), "yield dependency, after")


def sync_yielding(connection: HTTPConnection) -> Generator[None]:
    tracker_of(connection).track_nowait(at("sync yield dependency, before"))
    yield
    tracker_of(connection).track_nowait(at("sync yield dependency, after"))


def saying(place: str) -> Any:
    async def dependency(tracker: CurrentTracker) -> None:
        await track(tracker, place)

    return dependency


FOUR = [Depends(each) for each in (dependency, sync_dependency, yielding, sync_yielding)]


def application(trackers: Trackers, **options: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan(trackers))
    app.add_middleware(SnowplowMiddleware, **options)

    @app.middleware("http")
    async def middleware(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        if request.url.path == "/middleware":
            await track(tracker_of(request), "http middleware")
        return response

    add_endpoints(app)
    router = APIRouter(prefix="/router", dependencies=[Depends(saying("dependency of a router"))])

    @router.get("/")
    async def of_router(tracker: CurrentTracker) -> None:
        await track(tracker, "endpoint of a router")

    app.include_router(router)
    app.mount("/inner", mounted())

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, _error: Exception) -> PlainTextResponse:
        await track(tracker_of(request), "handler of a validation error")
        return PlainTextResponse("", 422)

    @app.exception_handler(Exception)
    async def any_exception(request: Request, _error: Exception) -> PlainTextResponse:
        place = "handler of any exception"
        if request.url.path.startswith("/inner"):
            place = "handler of any exception, around an application that is mounted"
        await track(tracker_of(request), place)
        return PlainTextResponse("", 500)

    return app


def add_endpoints(app: FastAPI) -> None:
    @app.get("/")
    async def endpoint(tracker: CurrentTracker) -> None:
        await track(tracker, "endpoint")

    @app.get("/sync")
    def sync_endpoint(tracker: CurrentTracker) -> None:
        tracker.track_nowait(at("sync endpoint"))

    @app.get("/dependencies", dependencies=FOUR)
    async def dependencies() -> None: ...

    @app.get("/middleware")
    async def quiet() -> None: ...

    @app.get("/number/{number}")
    async def number(number: int) -> int:
        return number

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("no database")

    @app.get("/background")
    async def background(request: Request, tracker: CurrentTracker, tasks: BackgroundTasks) -> None:
        async def later() -> None:
            await track(tracker_of(request), "background")

        tasks.add_task(later)
        tasks.add_task(lambda: tracker_of(request).track_nowait(at("sync background")))
        tasks.add_task(tracker.track, at("background with the method of the tracker"))

    @app.get("/stream")
    async def stream(tracker: CurrentTracker) -> StreamingResponse:
        async def body() -> AsyncGenerator[str]:
            try:
                await track(tracker, "stream")
                yield "x"
            finally:
                await track(tracker, "end of a stream")

        return StreamingResponse(body())

    @app.websocket("/ws")
    async def socket(
        websocket: WebSocket,
        tracker: CurrentTracker,
        _: Annotated[None, Depends(saying("dependency of a websocket"))],
    ) -> None:
        await websocket.accept()
        await track(tracker, "websocket")
        await websocket.close()


def mounted() -> FastAPI:
    inner = FastAPI(dependencies=[Depends(saying("dependency of a mounted application"))])

    @inner.get("/")
    async def endpoint(tracker: CurrentTracker, request: Request) -> None:
        await track(tracker, "mounted application")
        await track(tracker_of(request), "mounted application with a request")

    fragile = FastAPI()

    @fragile.get("/")
    async def fails() -> None:
        raise RuntimeError("no database")

    inner.mount("/fragile", fragile)
    return inner


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    app = application(trackers, **options)
    paths = ["/", "/sync", "/dependencies", "/middleware", "/number/x", "/fails", "/background"]
    paths += ["/stream", "/router/", "/inner/", "/inner/fragile/"]
    async with started(app):
        for path in paths:
            with suppress(RuntimeError):
                await request(app, http_scope(path, headers=headers))
        scope = http_scope("/ws", type="websocket", scheme="ws", subprotocols=[], headers=headers)
        await request(app, scope)
