"""Errors of services made with Litestar, aiohttp and Quart, wherever an exception is raised or answered."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator
from typing import Any, NoReturn

import litestar
import pytest
import quart
from aiohttp import ClientError, web
from aiohttp.test_utils import TestClient, TestServer
from litestar.exceptions import HTTPException, InternalServerException, NotAuthorizedException
from litestar.response import Stream
from litestar.testing import AsyncTestClient

from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import SnowplowMiddleware
from snowplow_aio.integrations.litestar import SnowplowPlugin
from tests.integrations.failing import CardError, NetworkError, errors_of, visit
from tests.integrations.made import Trackers, request, started

pytestmark = pytest.mark.anyio

HEADERS = {"Host": "shop.example", "User-Agent": "Mozilla/5.0"}


def names_of(trackers: Trackers) -> list[str]:
    # Litestar before 2.13 and Quart have no templates of routes without parameters, or none.
    return [name for name, _ in errors_of(trackers)]


# --- Litestar


@litestar.get("/cards/{number:int}")
async def card() -> None:
    raise CardError


@litestar.get("/sync/{number:int}", sync_to_thread=True)
def card_in_thread() -> None:
    raise CardError


@litestar.get("/network")
async def network() -> None:
    raise NetworkError


@litestar.get("/unauthorized")
async def unauthorized() -> None:
    raise NotAuthorizedException


@litestar.get("/internal")
async def internal() -> None:
    raise InternalServerException


@litestar.get("/quiet")
async def quiet() -> None:
    pass


@litestar.get("/body")
async def body() -> Stream:
    async def parts() -> AsyncGenerator[str]:
        yield "x"
        raise CardError

    return Stream(parts())


@litestar.websocket("/ws")
async def socket(socket: litestar.WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    raise CardError


def failing_middleware(app: Any) -> Any:
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/quiet":
            raise (NetworkError if b"quiet" in scope["query_string"] else CardError)
        await app(scope, receive, send)

    return middleware


def answer(status: int) -> Any:
    def handler(_request: Any, _error: Exception) -> litestar.Response[str]:
        return litestar.Response("", status_code=status)

    return handler


async def ask_litestar(trackers: Trackers, *paths: str, **options: Any) -> list[int]:
    handlers = [card, card_in_thread, network, unauthorized, internal, quiet, body]
    router = litestar.Router("/v1", route_handlers=handlers)
    app = litestar.Litestar(
        [router, quiet, socket],
        plugins=[SnowplowPlugin(trackers, errors=True)],
        logging_config=None,
        **options,
    )
    async with AsyncTestClient(app, base_url="http://shop.example", raise_server_exceptions=False) as client:
        return [(await client.get(path, headers=HEADERS)).status_code for path in paths]


@pytest.mark.parametrize(
    "handlers", [{}, {CardError: answer(500)}, {500: answer(503)}, {Exception: answer(500)}]
)
async def test_litestar_answers_an_exception_with_500(trackers: Trackers, handlers: Any) -> None:
    statuses = await ask_litestar(trackers, "/v1/cards/42", "/v1/sync/42", exception_handlers=handlers)
    assert set(statuses) <= {500, 503}
    assert errors_of(trackers) == [
        ("CardError", "/v1/cards/{number}"),
        ("CardError", "/v1/sync/{number}"),
    ]
    assert trackers.events[0]["url"] == "http://shop.example/v1/cards/42"
    assert trackers.events[0]["ua"] == "Mozilla/5.0"


async def test_litestar_may_answer_it_otherwise(trackers: Trackers) -> None:
    handlers: Any = {NetworkError: answer(404), CardError: answer(402)}
    paths = ("/v1/network", "/v1/cards/1", "/v1/cards/x", "/v1/unauthorized", "/nowhere")
    statuses = await ask_litestar(trackers, *paths, exception_handlers=handlers)
    assert statuses == [404, 402, 404, 401, 404]
    assert trackers.events == []


async def test_litestar_raises_errors_of_its_own(trackers: Trackers) -> None:
    assert await ask_litestar(trackers, "/v1/internal") == [500]
    assert names_of(trackers) == ["InternalServerException"]
    assert issubclass(InternalServerException, HTTPException)


async def test_the_answer_for_a_middleware_of_litestar_decides_too(trackers: Trackers) -> None:
    options: Any = {"middleware": [failing_middleware], "exception_handlers": {NetworkError: answer(404)}}
    assert await ask_litestar(trackers, "/quiet", "/quiet?quiet", **options) == [500, 404]
    assert names_of(trackers) == ["CardError"]


async def test_a_handler_of_litestar_may_fail_itself(trackers: Trackers) -> None:
    def handler(_request: Any, _error: Exception) -> NoReturn:
        raise LookupError("no page for it")

    await ask_litestar(trackers, "/v1/cards/42", exception_handlers={CardError: handler})
    assert ("LookupError", "/v1/cards/{number}") in errors_of(trackers)


async def test_bodies_and_websockets_of_litestar(trackers: Trackers) -> None:
    await ask_litestar(trackers, "/v1/body")
    app = litestar.Litestar([socket], plugins=[SnowplowPlugin(trackers, errors=True)], logging_config=None)
    handler = app.asgi_handler
    for _ in range(2):
        async with started(app):
            scope = visit("/ws", type="websocket", scheme="ws", subprotocols=[])
            # A WebSocket has no method, and Litestar looks for one.
            del scope["method"]
            sent = await request(app, scope)
            assert sent[-1]["type"] == "websocket.close"
        assert app.asgi_handler is handler
    assert names_of(trackers) == ["CardError"] * 3


async def test_litestar_keeps_no_exception_longer_than_its_request(trackers: Trackers) -> None:
    class Big:
        pass

    kept: list[weakref.ref[Big]] = []
    goes_on = asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []

    def failing(app: Any) -> Any:
        async def middleware(_scope: Any, _receive: Any, _send: Any) -> NoReturn:
            big = Big()
            kept.append(weakref.ref(big))
            # It keeps the scope of the request.
            tasks.append(asyncio.create_task(goes_on.wait()))
            raise CardError

        return middleware

    plugins = [SnowplowPlugin(trackers, errors=True)]
    app = litestar.Litestar([quiet], plugins=plugins, middleware=[failing], logging_config=None)
    async with started(app):
        await request(app, visit("/quiet"))
    assert names_of(trackers) == ["CardError"]
    gc.collect()
    assert [ref() for ref in kept] == [None]
    goes_on.set()
    await asyncio.gather(*tasks)


# --- aiohttp


async def fail(_request: web.Request) -> NoReturn:
    raise CardError("no money")


class FailingView(web.View):
    async def get(self) -> NoReturn:
        raise CardError("no money")


@web.middleware
async def answering(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except CardError:
        status = int(request.query.get("status", 500))
        if "raise" in request.query:
            raise web.HTTPBadGateway from None
        return web.Response(status=status)
    return response


async def ask_aiohttp(trackers: Trackers, app: web.Application, *paths: str, **options: Any) -> list[int]:
    given: Any = {"errors": True} | options
    for_aiohttp.setup(app, trackers, **given)
    statuses = []
    async with TestClient(TestServer(app)) as client:
        for path in paths:
            try:
                response = await client.get(path, headers=HEADERS)
                await response.read()
                statuses.append(response.status)
            except ClientError:
                statuses.append(0)
    return statuses


@pytest.mark.parametrize("handler", [fail, FailingView])
async def test_what_nobody_handles_in_aiohttp(trackers: Trackers, handler: Any) -> None:
    app = web.Application()
    app.router.add_route("*", "/cards/{number}", handler)
    assert await ask_aiohttp(trackers, app, "/cards/42") == [500]
    assert errors_of(trackers) == [("CardError", "/cards/{number}")]
    assert trackers.events[0]["url"] == "http://shop.example/cards/42"
    assert trackers.events[0]["ua"] == "Mozilla/5.0"


@pytest.mark.parametrize("handler", [fail, FailingView])
async def test_what_a_middleware_of_aiohttp_answers(trackers: Trackers, handler: Any) -> None:
    app, inner = web.Application(middlewares=[answering]), web.Application(middlewares=[answering])
    app.router.add_route("*", "/cards/{number}", handler)
    inner.router.add_route("*", "/{number}", handler)
    app.add_subapp("/inner", inner)
    paths = ["/cards/42", "/cards/42?status=404", "/inner/42", "/inner/42?status=404", "/inner/42?raise=1"]
    assert await ask_aiohttp(trackers, app, *paths) == [500, 404, 500, 404, 502]
    assert errors_of(trackers) == [
        ("CardError", "/cards/{number}"),
        ("CardError", "/inner/{number}"),
        ("CardError", "/inner/{number}"),
    ]


async def test_a_middleware_of_aiohttp_that_is_added_later(trackers: Trackers) -> None:
    app = web.Application()
    app.router.add_get("/cards/{number}", fail)
    for_aiohttp.setup(app, trackers, errors=True)
    app.middlewares.append(answering)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/cards/42")).status == 500
        assert (await client.get("/cards/42?status=402")).status == 402
    assert errors_of(trackers) == [("CardError", "/cards/{number}")]


async def test_middlewares_of_aiohttp_get_the_handler_as_it_is(trackers: Trackers) -> None:
    seen: list[Any] = []

    @web.middleware
    async def looking(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(
            (handler.__name__, getattr(handler, "is_public", False), request.match_info.handler is page)
        )
        response: web.StreamResponse = await handler(request)
        return response

    async def page(_request: web.Request) -> web.Response:
        return web.Response()

    page.is_public = True  # type: ignore[attr-defined] # as decorators of applications do
    app = web.Application(middlewares=[looking, looking])
    app.router.add_get("/", page)
    assert await ask_aiohttp(trackers, app, "/") == [200]
    assert seen == [("page", True, True)] * 2


async def test_answers_of_aiohttp_are_no_errors(trackers: Trackers) -> None:
    async def gone(_request: web.Request) -> NoReturn:
        raise web.HTTPGone

    async def down(_request: web.Request) -> NoReturn:
        raise web.HTTPServiceUnavailable

    app = web.Application()
    app.router.add_get("/gone", gone)
    app.router.add_get("/down", down)
    assert await ask_aiohttp(trackers, app, "/gone", "/down", "/nowhere") == [410, 503, 404]
    assert trackers.events == []


async def test_bodies_and_websockets_of_aiohttp(trackers: Trackers) -> None:
    async def body(_request: web.Request) -> web.Response:
        async def parts() -> AsyncGenerator[bytes]:
            yield b"x"
            raise CardError

        return web.Response(body=parts())

    async def stream(request: web.Request) -> NoReturn:
        response = web.StreamResponse()
        await response.prepare(request)
        raise CardError

    async def socket(request: web.Request) -> NoReturn:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        raise CardError

    app = web.Application()
    for path, handler in {"body": body, "stream": stream, "ws": socket}.items():
        app.router.add_get(f"/{path}", handler)
    for_aiohttp.setup(app, trackers, errors=True)
    async with TestClient(TestServer(app)) as client:
        for path in ("/body", "/stream"):
            with pytest.raises(ClientError):
                await (await client.get(path)).read()
        async with client.ws_connect("/ws") as websocket:
            await websocket.receive()
    assert errors_of(trackers) == [("CardError", "/body"), ("CardError", "/stream"), ("CardError", "/ws")]


async def test_a_client_of_aiohttp_that_leaves_is_no_error(trackers: Trackers) -> None:
    ended = asyncio.Event()

    async def stream(request: web.Request) -> NoReturn:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(65536))
        finally:
            ended.set()

    async def fails(_request: web.Request) -> NoReturn:
        raise ConnectionResetError("no database")

    app = web.Application()
    app.router.add_get("/stream", stream)
    app.router.add_get("/fails", fails)
    for_aiohttp.setup(app, trackers, errors=True)
    async with TestClient(TestServer(app)) as client:
        (await client.get("/stream")).close()
        await ended.wait()
        assert (await client.get("/fails")).status == 500
    assert errors_of(trackers) == [("ConnectionResetError", "/fails")]


async def test_unless_asked_for_aiohttp_tracks_no_errors(trackers: Trackers) -> None:
    app = web.Application()
    app.router.add_get("/", fail)
    assert await ask_aiohttp(trackers, app, "/", errors=False) == [500]
    assert trackers.events == []


# --- Quart


async def ask_quart(trackers: Trackers, app: quart.Quart, *paths: str) -> list[int]:
    app.asgi_app = SnowplowMiddleware(app.asgi_app, trackers, errors=True)  # type: ignore[method-assign]
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/cards/<number>")
    async def card(number: str) -> str:
        raise CardError(number)

    @app.get("/sync/<number>")
    def card_in_thread(number: str) -> str:
        raise CardError(number)

    @app.get("/gone")
    async def gone() -> str:
        quart.abort(410)

    async with app.test_app() as running:
        client = running.test_client()
        return [(await client.get(path, headers=HEADERS)).status_code for path in paths]


@pytest.mark.parametrize("handled", [None, CardError, Exception, 500])
async def test_quart_answers_an_exception_with_500(trackers: Trackers, handled: Any) -> None:
    app = quart.Quart("shop")
    if handled is not None:

        @app.errorhandler(handled)
        async def handler(_error: Exception) -> tuple[str, int]:
            return "", 500

    assert await ask_quart(trackers, app, "/cards/42", "/sync/42") == [500, 500]
    assert names_of(trackers) == ["CardError"] * 2
    assert trackers.events[0]["url"] == "http://shop.example/cards/42"
    assert trackers.events[0]["ua"] == "Mozilla/5.0"


async def test_quart_may_answer_it_otherwise(trackers: Trackers) -> None:
    app = quart.Quart("shop")

    @app.errorhandler(CardError)
    async def handler(_error: Exception) -> tuple[str, int]:
        return "", 402

    assert await ask_quart(trackers, app, "/cards/42", "/gone", "/nowhere") == [402, 410, 404]
    assert trackers.events == []
