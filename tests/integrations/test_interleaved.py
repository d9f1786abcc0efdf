"""Many requests at once, of visitors who object and others: no event has a field of another's."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import flask
import litestar
import pytest
import quart
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import FastAPI
from litestar.background_tasks import BackgroundTask as LitestarTask
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from snowplow_aio import StructuredEvent
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations import flask as for_flask
from snowplow_aio.integrations import wsgi as for_wsgi
from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan, tracker_of
from snowplow_aio.integrations.fastapi import CurrentTracker
from snowplow_aio.integrations.litestar import CurrentTracker as LitestarTracker
from snowplow_aio.integrations.litestar import SnowplowPlugin
from tests.integrations.made import Trackers, http_scope, request, started
from tests.integrations.wsgi_made import ask, close, environ_of
from tests.scale import scale

pytestmark = pytest.mark.anyio

REQUESTS = scale(200, 2_000)
OPTIONS: dict[str, Any] = {
    "user_id": lambda connection: dict(_headers(connection))[b"x-user"].decode(),
    "without_consent": "anonymous",
    "trusted_proxies": ["127.0.0.1"],
}
PATHS = ["/", "/thread", "/fails", "/later"]


def _headers(connection: Any) -> Any:
    """Return the headers of a scope of ASGI, or of a request of aiohttp."""
    if isinstance(connection, web.Request):
        return [(name.lower(), value) for name, value in connection.raw_headers]
    return connection["headers"]


def seen(path: str) -> StructuredEvent:
    return StructuredEvent(category="path", action=path)


async def say(connection: Any, tracker_of: Callable[[Any], Any], path: str) -> None:
    await asyncio.sleep(0)
    await tracker_of(connection).track(seen(path))
    await asyncio.sleep(0)


def starlette_app(trackers: Trackers) -> Any:
    async def home(request: Request) -> StreamingResponse:
        async def body() -> AsyncGenerator[str]:
            await say(request, tracker_of, "/")
            yield ""

        return StreamingResponse(body())

    def thread(request: Request) -> PlainTextResponse:
        tracker_of(request).track_nowait(seen("/thread"))
        return PlainTextResponse("")

    async def fails(_request: Request) -> PlainTextResponse:
        await asyncio.sleep(0)
        raise RuntimeError("no database")

    async def handler(request: Request, _error: Exception) -> PlainTextResponse:
        await say(request, tracker_of, "/fails")
        return PlainTextResponse("", 500)

    async def later(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", background=BackgroundTask(say, request, tracker_of, "/later"))

    inner = Starlette(routes=[Route("/", later)])
    routes = [Route("/", home), Route("/thread", thread), Route("/fails", fails), Mount("/later", inner)]
    app = Starlette(lifespan=lifespan(trackers), routes=routes, exception_handlers={Exception: handler})
    app.add_middleware(SnowplowMiddleware, **OPTIONS)
    return app


def fastapi_app(trackers: Trackers) -> Any:
    app = FastAPI(lifespan=lifespan(trackers))
    app.add_middleware(SnowplowMiddleware, **OPTIONS)

    @app.get("/")
    async def home(tracker: CurrentTracker) -> None:
        await say(None, lambda _: tracker, "/")

    @app.get("/thread")
    def thread(tracker: CurrentTracker) -> None:
        tracker.track_nowait(seen("/thread"))

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("no database")

    @app.exception_handler(Exception)
    async def handler(request: Request, _error: Exception) -> PlainTextResponse:
        await say(request, tracker_of, "/fails")
        return PlainTextResponse("", 500)

    @app.get("/later/")
    async def later(request: Request) -> PlainTextResponse:
        return PlainTextResponse("", background=BackgroundTask(say, request, tracker_of, "/later"))

    return app


def quart_app(trackers: Trackers) -> Any:
    app = quart.Quart("shop")

    @app.get("/")
    async def home() -> str:
        await say(quart.request, tracker_of, "/")
        return ""

    @app.get("/thread")
    def thread() -> str:
        tracker_of(quart.request).track_nowait(seen("/thread"))
        return ""

    @app.get("/fails")
    async def fails() -> str:
        raise RuntimeError("no database")

    @app.errorhandler(RuntimeError)
    async def handler(_error: Exception) -> str:
        await say(quart.request, tracker_of, "/fails")
        return ""

    @app.get("/later/")
    async def later() -> str:
        scope = quart.request.scope
        app.add_background_task(say, scope, tracker_of, "/later")
        return ""

    app.asgi_app = SnowplowMiddleware(app.asgi_app, trackers, **OPTIONS)  # type: ignore[method-assign] # as Quart documents
    return app


def litestar_app(trackers: Trackers) -> Any:
    @litestar.get("/")
    async def home(tracker: LitestarTracker) -> None:
        await say(None, lambda _: tracker, "/")

    @litestar.get("/thread", sync_to_thread=True)
    def thread(tracker: LitestarTracker) -> None:
        tracker.track_nowait(seen("/thread"))

    @litestar.get("/fails")
    async def fails() -> None:
        raise RuntimeError("no database")

    def handler(request: Any, _error: Exception) -> litestar.Response[str]:
        tracker_of(request).track_nowait(seen("/fails"))
        return litestar.Response("", status_code=500)

    @litestar.get("/later/")
    async def later(request: litestar.Request[Any, Any, Any]) -> litestar.Response[None]:
        return litestar.Response(None, background=LitestarTask(say, request, tracker_of, "/later"))

    return litestar.Litestar(
        [home, thread, fails, later],
        plugins=[SnowplowPlugin(trackers, **OPTIONS)],
        exception_handlers={RuntimeError: handler},
        logging_config=None,
    )


def visitor(number: int) -> dict[str, str]:
    """Return the headers of one of the visitors; each fourth one objects."""
    headers = {"User-Agent": f"browser {number}", "X-User": f"u{number}", "Host": f"shop{number}.example"}
    headers |= {"Cookie": f"sp=n{number}", "X-Forwarded-For": f"203.0.{number // 250}.{number % 250}"}
    return headers | ({"DNT": "1"} if number % 16 < 4 else {})


def assert_nobody_has_anothers(trackers: Trackers) -> None:
    payloads = [payload for emitter in trackers.emitters for payload in emitter.payloads]
    numbers = Counter(int(payload["ua"].removeprefix("browser ")) for payload in payloads)
    assert numbers == Counter(range(REQUESTS))
    for payload in payloads:
        number = int(payload["ua"].removeprefix("browser "))
        assert payload["url"].startswith(f"http://shop{number}.example/")
        assert payload["se_ac"] == PATHS[number % 4]
        who = {"uid": f"u{number}", "tnuid": f"n{number}", "ip": f"203.0.{number // 250}.{number % 250}"}
        is_anonymous = "DNT" in visitor(number)
        assert payload.anonymous == is_anonymous
        assert {key: payload[key] for key in who if key in payload} == ({} if is_anonymous else who)


APPS = {"Starlette": starlette_app, "FastAPI": fastapi_app, "Quart": quart_app, "Litestar": litestar_app}


@pytest.mark.parametrize("make", APPS.values(), ids=APPS)
async def test_requests_at_once_never_mix(trackers: Trackers, make: Callable[[Trackers], Any]) -> None:
    app = make(trackers)

    async def ask(number: int) -> None:
        path = PATHS[number % 4]
        scope = http_scope(
            f"{path}/" if path == "/later" else path, headers=visitor(number), client=("127.0.0.1", 1)
        )
        with suppress(RuntimeError):
            await request(app, scope)

    async with started(app):
        await asyncio.gather(*map(ask, range(REQUESTS)))
    assert_nobody_has_anothers(trackers)


async def test_requests_to_aiohttp_at_once_never_mix(trackers: Trackers) -> None:
    later: list[asyncio.Task[None]] = []

    def at(path: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            if path == "/fails":
                raise RuntimeError("no database")
            if path == "/later":
                later.append(asyncio.create_task(say(request, for_aiohttp.tracker_of, path)))
            elif path == "/thread":
                tracker = for_aiohttp.tracker_of(request)
                await asyncio.to_thread(tracker.track_nowait, seen(path))
            else:
                await say(request, for_aiohttp.tracker_of, path)
            return web.Response()

        return handler

    @web.middleware
    async def outside(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
        except RuntimeError:
            await say(request, for_aiohttp.tracker_of, "/fails")
            return web.Response()
        return response

    app = web.Application()
    for path in PATHS:
        app.router.add_get(path, at(path))
    for_aiohttp.setup(app, trackers, **OPTIONS)
    app.middlewares.insert(0, outside)
    async with TestClient(TestServer(app)) as client:

        async def ask(numbers: Any) -> None:
            for number in numbers:
                await client.get(PATHS[number % 4], headers=visitor(number))

        await asyncio.gather(*(ask(range(first, REQUESTS, 50)) for first in range(50)))
        await asyncio.gather(*later)
    assert_nobody_has_anothers(trackers)


def wsgi_app(trackers: Trackers) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Generator[bytes]:
        path = environ["PATH_INFO"]
        if path == "/fails":
            raise RuntimeError("no database")
        start_response("200 OK", [("Content-Type", "text/plain")])
        tracker = for_wsgi.tracker_of(environ)
        yield b"x"
        if path == "/thread":
            thread = threading.Thread(target=lambda: for_wsgi.tracker_of(environ).track(seen(path)))
            thread.start()
            thread.join()
        elif path == "/":
            tracker.track(seen(path))

    options: dict[str, Any] = OPTIONS | {"user_id": lambda environ: environ["HTTP_X_USER"]}
    middleware = for_wsgi.SnowplowMiddleware(application, trackers.blocking, **options)

    def outside(environ: dict[str, Any], start_response: Any) -> Generator[bytes]:
        body = middleware(environ, start_response)
        try:
            yield from body
        except RuntimeError:
            start_response("500 Oh", [("Content-Type", "text/plain")])
            for_wsgi.tracker_of(environ).track(seen("/fails"))
        finally:
            close(body)
        if environ["PATH_INFO"] == "/later":
            for_wsgi.tracker_of(environ).track(seen("/later"))

    return outside


def flask_app(trackers: Trackers) -> Any:
    app = flask.Flask("shop")

    @app.get("/")
    def home() -> flask.Response:
        def body() -> Generator[str]:
            yield "x"
            for_flask.tracker_of().track(seen("/"))

        return flask.Response(flask.stream_with_context(body()))

    @app.get("/thread")
    def thread() -> str:
        @flask.copy_current_request_context
        def track() -> None:
            for_flask.tracker_of().track(seen("/thread"))

        thread = threading.Thread(target=track)
        thread.start()
        thread.join()
        return ""

    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError("no database")

    @app.errorhandler(RuntimeError)
    def handler(_error: Exception) -> tuple[str, int]:
        for_flask.tracker_of().track(seen("/fails"))
        return "", 500

    @app.get("/later")
    def later() -> flask.Response:
        request, response = flask.request._get_current_object(), flask.Response("x")  # type: ignore[attr-defined] # of a proxy
        response.call_on_close(lambda: for_flask.tracker_of(request).track(seen("/later")))
        return response

    options: dict[str, Any] = OPTIONS | {"user_id": lambda request: request.headers["X-User"]}
    for_flask.init_app(app, trackers.blocking, **options)
    return app


@pytest.mark.parametrize("make", [wsgi_app, flask_app])
def test_requests_in_threads_at_once_never_mix(trackers: Trackers, make: Callable[[Trackers], Any]) -> None:
    app = make(trackers)

    def ask_for(number: int) -> None:
        environ = environ_of(PATHS[number % 4], visitor(number), REMOTE_ADDR="127.0.0.1")
        ask(app, environ, is_checked=False)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask_for, range(REQUESTS)))
    assert_nobody_has_anothers(trackers)
