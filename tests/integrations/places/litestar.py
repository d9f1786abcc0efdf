"""Litestar, whose middleware stands at each route, and not around them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import Annotated, Any

import litestar
from litestar import di
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.exceptions import NotFoundException
from litestar.middleware import DefineMiddleware
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from snowplow_aio.integrations.litestar import CurrentTracker, SnowplowPlugin, tracker_of
from tests.integrations.made import Trackers, http_scope, request, started
from tests.integrations.places import at, track

PLACES = frozenset(
    {
        "handler",
        "sync handler",
        "dependency",
        "sync dependency",
        "yield dependency, before",
        "yield dependency, after",
        "sync yield dependency, before",
        "sync yield dependency, after",
        "guard",
        "before_request",
        "after_request",
        "after_response",
        "before_send",
        "middleware inside, before",
        "middleware inside, after",
        "handler of any exception",
        "handler of not found",
        "after_exception",
        "background",
        "background thread",
        "background with the method of the tracker",
        "stream",
        "end of a stream",
        "controller",
        "websocket",
        "mounted application",
        "asgi handler",
        "middleware outside",
    }
)

Request = litestar.Request[Any, Any, Any]
# Litestar 3 needs a dependency marked, and 2.23 warns; before that, every parameter of its name is one.
Number = Annotated[int, getattr(di, "Dependency", object)()]


async def async_dependency(tracker: CurrentTracker) -> int:
    await track(tracker, "dependency")
    return 1


def sync_dependency(request: Request) -> int:
    tracker_of(request).track_nowait(at("sync dependency"))
    return 1


async def yielding(request: Request) -> AsyncGenerator[int]:
    await track(tracker_of(request), "yield dependency, before")
    yield 1
    await track(tracker_of(request), "yield dependency, after")


def sync_yielding(request: Request) -> Generator[int]:
    tracker_of(request).track_nowait(at("sync yield dependency, before"))
    yield 1
    tracker_of(request).track_nowait(at("sync yield dependency, after"))


async def guard(connection: Any, _handler: Any) -> None:
    await track(tracker_of(connection), "guard")


@litestar.get("/")
async def handler(tracker: CurrentTracker) -> None:
    await track(tracker, "handler")


@litestar.get("/sync", sync_to_thread=True)
def sync_handler(tracker: CurrentTracker) -> None:
    tracker.track_nowait(at("sync handler"))


@litestar.get(
    "/dependencies",
    guards=[guard],
    dependencies={
        "one": di.Provide(async_dependency),
        "two": di.Provide(sync_dependency, sync_to_thread=True),
        "three": di.Provide(yielding),
        "four": di.Provide(sync_yielding),
    },
)
async def dependencies(one: Number, two: Number, three: Number, four: Number) -> int:
    return one + two + three + four


async def before(request: Request) -> None:
    await track(tracker_of(request), "before_request")


async def after_response(request: Request) -> None:
    await track(tracker_of(request), "after_response")


@litestar.get("/hooks", before_request=before, after_response=after_response)
async def hooks() -> None: ...


class After:
    """The hook `after_request` gets no request, so it tracks with the tracker that is bound."""

    def __init__(self, trackers: Trackers) -> None:
        self.trackers = trackers

    async def __call__(self, response: Any) -> Any:
        await track(self.trackers.made[0], "after_request")
        return response


@litestar.get("/fails")
async def fails() -> None:
    raise RuntimeError("no database")


@litestar.get("/background")
async def background(request: Request, tracker: CurrentTracker) -> litestar.Response[None]:
    async def later() -> None:
        await track(tracker_of(request), "background")

    def in_thread() -> None:
        tracker_of(request).track_nowait(at("background thread"))

    method = BackgroundTask(tracker.track, at("background with the method of the tracker"))
    tasks = [BackgroundTask(later), BackgroundTask(in_thread), method]
    return litestar.Response(None, background=BackgroundTasks(tasks))


@litestar.get("/stream")
async def stream(request: Request) -> Stream:
    async def body() -> AsyncGenerator[str]:
        try:
            await track(tracker_of(request), "stream")
            yield "x"
        finally:
            await track(tracker_of(request), "end of a stream")

    return Stream(body())


class Controller(litestar.Controller):
    path = "/controller"

    @litestar.get()
    async def get(self, tracker: CurrentTracker) -> None:
        await track(tracker, "controller")


@litestar.websocket("/ws")
async def socket(socket: litestar.WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await track(tracker_of(socket), "websocket")
    await socket.close()


@litestar.asgi("/asgi", copy_scope=False)
async def asgi_handler(scope: Any, receive: Any, send: Any) -> None:
    await track(tracker_of(scope), "asgi handler")
    await PlainTextResponse("")(scope, receive, send)


async def mounted_endpoint(request: StarletteRequest) -> PlainTextResponse:
    await track(tracker_of(request), "mounted application")
    return PlainTextResponse("")


mounted = litestar.asgi("/mounted", is_mount=True, copy_scope=True)(
    Starlette(routes=[Route("/", mounted_endpoint)])
)


class Inside:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await track(tracker_of(scope), "middleware inside, before")
        await self.app(scope, receive, send)
        await track(tracker_of(scope), "middleware inside, after")


@litestar.get("/inside", middleware=[DefineMiddleware(Inside)])
async def inside() -> None: ...


@litestar.get("/outside")
async def quiet() -> None: ...


async def before_send(message: Any, scope: Any) -> None:
    if message["type"] == "http.response.start" and scope["path"] == "/hooks":
        await track(tracker_of(scope), "before_send")


async def after_exception(error: Exception, scope: Any) -> None:
    if isinstance(error, RuntimeError):
        await track(tracker_of(scope), "after_exception")


def any_exception(request: Request, _error: Exception) -> litestar.Response[str]:
    tracker_of(request).track_nowait(at("handler of any exception"))
    return litestar.Response("", status_code=500)


def not_found(request: Request, _error: Exception) -> litestar.Response[str]:
    tracker_of(request).track_nowait(at("handler of not found"))
    return litestar.Response("", status_code=404)


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    after = litestar.get("/after", after_request=After(trackers))(quiet.fn)
    handlers: list[Any] = [handler, sync_handler, dependencies, hooks, fails, background, stream, Controller]
    app = litestar.Litestar(
        [*handlers, socket, asgi_handler, mounted, inside, quiet, after],
        plugins=[SnowplowPlugin(trackers, **options)],
        exception_handlers={RuntimeError: any_exception, NotFoundException: not_found},
        before_send=[before_send],
        after_exception=[after_exception],
        logging_config=None,
    )

    async def outside(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        if scope.get("path") == "/outside":
            await track(tracker_of(scope), "middleware outside")

    paths = ["/", "/sync", "/dependencies", "/hooks", "/after", "/fails", "/nowhere", "/background"]
    paths += ["/stream", "/controller", "/asgi", "/mounted/", "/inside", "/outside"]
    async with started(outside):
        for path in paths:
            with suppress(RuntimeError):
                await request(outside, http_scope(path, headers=headers))
        scope = http_scope("/ws", type="websocket", scheme="ws", subprotocols=[], headers=headers)
        # A WebSocket has no method, and Litestar looks for one.
        del scope["method"]
        await request(outside, scope)
