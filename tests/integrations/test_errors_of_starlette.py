"""Errors of services made with Starlette and FastAPI, wherever an exception is raised or answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Mount, Route, Router

from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan
from tests.integrations.failing import CardError, NetworkError, errors_of, visit
from tests.integrations.made import Trackers, request, started

pytestmark = pytest.mark.anyio


async def declined() -> None:
    raise CardError("no money")


def declined_in_thread() -> None:
    raise CardError("no money")


async def after_it() -> AsyncGenerator[None]:
    yield
    raise NetworkError("the session cannot be closed")


async def passing(request: Request, call_next: Any) -> Any:
    return await call_next(request)


async def swallowing(request: Request, call_next: Any) -> Any:
    try:
        return await call_next(request)
    except NetworkError:
        return PlainTextResponse("", 404)
    except CardError:
        return PlainTextResponse("", 500)


def answer_with(status: int, *, is_async: bool) -> Callable[..., Any]:
    def handler(_request: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status)

    async def async_handler(request: Any, error: Exception) -> JSONResponse:
        await asyncio.sleep(0)
        return handler(request, error)

    return async_handler if is_async else handler


def service(trackers: Trackers, dispatch: Any = None, *, is_outermost: bool = True) -> FastAPI:
    """Return an application with our middleware, and another one of Starlette's inside or outside of it."""
    app = FastAPI(lifespan=lifespan(trackers))
    if dispatch is not None and is_outermost:
        app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    app.add_middleware(SnowplowMiddleware, errors=True)
    if dispatch is not None and not is_outermost:
        app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    return app


async def ask(app: Any, *paths: str, **fields: Any) -> list[int]:
    """Return the statuses of *paths*; whatever *app* raises, a server would log."""
    statuses: list[int] = []
    for path in paths:
        sent: list[Any] = []
        with suppress(Exception):
            sent = await request(app, visit(path, **fields))
        statuses.extend(message["status"] for message in sent if message["type"] == "http.response.start")
    return statuses


others = pytest.mark.parametrize(
    ("dispatch", "is_outermost"),
    [(None, True), (passing, True), (passing, False)],
    ids=["no other middleware", "another one inside", "another one outside"],
)


@others
@pytest.mark.parametrize("endpoint", [declined, declined_in_thread])
async def test_what_nobody_handles_is_tracked_with_the_template_of_its_route(
    trackers: Trackers, endpoint: Any, dispatch: Any, *, is_outermost: bool
) -> None:
    app = service(trackers, dispatch, is_outermost=is_outermost)
    app.get("/cards/{number}")(endpoint)
    async with started(app):
        await ask(app, "/cards/42")
    assert errors_of(trackers) == [("CardError", "/cards/{number}")]
    assert trackers.events[0]["url"] == "http://shop.example/cards/42"
    assert trackers.events[0]["ua"] == "Mozilla/5.0"


@others
@pytest.mark.parametrize("handled", [CardError, Exception])
@pytest.mark.parametrize("is_async", [True, False])
async def test_so_is_what_a_handler_answers_with_500(
    trackers: Trackers, handled: Any, dispatch: Any, *, is_outermost: bool, is_async: bool
) -> None:
    app = service(trackers, dispatch, is_outermost=is_outermost)
    app.get("/cards/{number}")(declined)
    app.exception_handler(handled)(answer_with(500, is_async=is_async))
    async with started(app):
        statuses = await ask(app, "/cards/42", "/cards/43")
    assert errors_of(trackers) == [("CardError", "/cards/{number}")] * 2
    assert handled is Exception or statuses == [500, 500]


@others
async def test_what_a_handler_answers_with_a_lower_status_is_an_answer(
    trackers: Trackers, dispatch: Any, *, is_outermost: bool
) -> None:
    app = service(trackers, dispatch, is_outermost=is_outermost)
    app.get("/cards/{number:int}")(declined)
    app.exception_handler(CardError)(answer_with(402, is_async=True))

    @app.get("/gone")
    async def gone() -> None:
        raise HTTPException(410)

    @app.get("/down")
    async def down() -> None:
        raise HTTPException(503)

    @app.get("/numbers/{number}")
    async def number(number: int) -> int:
        return number

    async with started(app):
        assert await ask(app, "/cards/42", "/gone", "/down", "/numbers/x", "/nowhere") == [
            402,
            410,
            503,
            422,
            404,
        ]
    assert trackers.events == []


@others
async def test_the_exception_of_a_handler_is_an_error_too(
    trackers: Trackers, dispatch: Any, *, is_outermost: bool
) -> None:
    app = service(trackers, dispatch, is_outermost=is_outermost)
    app.get("/cards/{number}")(declined)

    @app.exception_handler(CardError)
    async def handler(_request: Any, _error: Exception) -> None:
        raise LookupError("no page for it")

    async with started(app):
        await ask(app, "/cards/42")
    assert errors_of(trackers) == [("LookupError", "/cards/{number}")]


async def test_a_middleware_inside_that_answers_an_exception_hides_it_from_nobody(trackers: Trackers) -> None:
    app = service(trackers, swallowing)
    app.get("/cards/{number}")(declined)

    @app.get("/far")
    async def far() -> None:
        raise NetworkError

    async with started(app):
        assert await ask(app, "/cards/42", "/far") == [500, 404]
    assert errors_of(trackers) == [("CardError", "/cards/{number}")]


async def test_a_middleware_inside_may_fail_itself(trackers: Trackers) -> None:
    async def dispatch(_request: Request, _call_next: Any) -> None:
        raise CardError

    app = service(trackers, dispatch)
    async with started(app):
        await ask(app, "/cards/42")
    assert errors_of(trackers) == [("CardError", None)]


@pytest.mark.parametrize("is_handled", [True, False])
async def test_dependencies_and_routers(trackers: Trackers, *, is_handled: bool) -> None:
    app, router = service(trackers, passing), APIRouter(prefix="/shops/{shop}")
    if is_handled:
        app.exception_handler(CardError)(answer_with(500, is_async=True))

    @router.get("/before/{number}")
    async def before(_declined: Annotated[None, Depends(declined)]) -> None:
        pass

    @router.get("/after")
    async def after(_after: Annotated[None, Depends(after_it)]) -> None:
        pass

    app.include_router(router)
    async with started(app):
        await ask(app, "/shops/7/before/42", "/shops/7/after")
    assert errors_of(trackers) == [
        ("CardError", "/shops/{shop}/before/{number}"),
        ("NetworkError", "/shops/{shop}/after"),
    ]


@others
async def test_background_tasks_and_bodies(trackers: Trackers, dispatch: Any, *, is_outermost: bool) -> None:
    app = service(trackers, dispatch, is_outermost=is_outermost)

    @app.get("/background/{kind}")
    async def background(kind: str, tasks: BackgroundTasks) -> str:
        tasks.add_task(declined if kind == "async" else declined_in_thread)
        return kind

    @app.get("/body/{kind}")
    async def body(kind: str) -> StreamingResponse:
        async def parts() -> AsyncGenerator[str]:
            yield "x"
            raise CardError

        def parts_in_thread() -> Generator[str]:
            yield "x"
            raise CardError

        return StreamingResponse(parts() if kind == "async" else parts_in_thread())

    async with started(app):
        await ask(app, "/background/async", "/background/thread", "/body/async", "/body/thread")
    assert errors_of(trackers) == [
        ("CardError", "/background/{kind}"),
        ("CardError", "/background/{kind}"),
        ("CardError", "/body/{kind}"),
        ("CardError", "/body/{kind}"),
    ]


async def test_websockets(trackers: Trackers) -> None:
    app = service(trackers)

    @app.websocket("/ws/{kind}")
    async def socket(websocket: WebSocket, kind: str) -> None:
        await websocket.accept()
        raise CardError if kind == "declined" else NetworkError

    @app.exception_handler(NetworkError)
    async def handler(websocket: WebSocket, _error: Exception) -> None:
        await websocket.close(1011)

    async with started(app):
        for kind in ("declined", "unreachable"):
            await ask(app, f"/ws/{kind}", type="websocket", scheme="ws", subprotocols=[])
    assert errors_of(trackers) == [("CardError", "/ws/{kind}"), ("NetworkError", "/ws/{kind}")]


async def test_a_client_that_leaves_is_no_error(trackers: Trackers) -> None:
    app = service(trackers)

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    @app.post("/cards")
    async def cards(request: Request) -> None:
        await request.body()

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    messages = iter(["websocket.connect", "websocket.disconnect"])

    async def receive_socket() -> dict[str, Any]:
        return {"type": next(messages), "code": 1001}

    async def accept(_message: Any) -> None:
        pass

    async def send(_message: Any) -> None:
        raise OSError("the client is gone")

    async with started(app):
        with pytest.raises((ClientDisconnect, OSError)):
            await app(visit("/cards", method="POST"), receive, send)
        scope = visit("/ws", type="websocket", scheme="ws", subprotocols=[])
        with suppress(WebSocketDisconnect):
            await app(scope, receive_socket, accept)
    assert trackers.events == []


async def test_what_a_middleware_keeps_to_itself_after_the_answer_is_an_error(trackers: Trackers) -> None:
    async def endpoint(_request: Request) -> StreamingResponse:
        async def parts() -> AsyncGenerator[str]:
            yield "x"
            raise CardError

        return StreamingResponse(parts())

    class Silent:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, *arguments: Any) -> None:
            with suppress(CardError):
                await self.app(*arguments)

    middleware = [Middleware(SnowplowMiddleware, tracker=trackers, errors=True), Middleware(Silent)]
    app = Starlette(routes=[Route("/cards/{number}", endpoint)], middleware=middleware)
    await ask(app, "/cards/42")
    assert errors_of(trackers) == [("CardError", "/cards/{number}")]


# --- mounted applications


@pytest.mark.parametrize("has_middleware", [True, False])
@pytest.mark.parametrize("is_handled", [True, False])
async def test_mounted_applications(trackers: Trackers, *, has_middleware: bool, is_handled: bool) -> None:
    async def endpoint(_request: Request) -> None:
        raise CardError

    middleware = [Middleware(BaseHTTPMiddleware, dispatch=passing)] if has_middleware else []
    handlers: Any = {CardError: answer_with(500, is_async=True)} if is_handled else {}
    routes = [Route("/cards/{number}", endpoint)]
    inner = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)
    quiet = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={CardError: answer_with(402, is_async=False)},
    )
    app = Starlette(
        lifespan=lifespan(trackers),
        middleware=[Middleware(SnowplowMiddleware, errors=True), *middleware],
        routes=[
            Mount("/{shop}/inner", inner),
            Mount("/quiet", quiet),
            Mount("/router", Router(routes)),
        ],
    )
    async with started(app):
        await ask(app, "/7/inner/cards/42", "/quiet/cards/42", "/router/cards/42")
    names = [name for name, _ in errors_of(trackers)]
    assert names == ["CardError"] * 2
    assert errors_of(trackers)[0][1] == "/{shop}/inner/cards/{number}"


async def test_a_middleware_around_the_whole_application_and_one_in_it_track_an_exception_once(
    trackers: Trackers,
) -> None:
    inner = service(trackers, passing)
    inner.get("/cards/{number}")(declined)
    inner.exception_handler(CardError)(answer_with(500, is_async=False))
    app = SnowplowMiddleware(inner, trackers, errors=True)
    async with started(app):
        assert await ask(app, "/cards/42") == [500]
    assert errors_of(trackers) == [("CardError", "/cards/{number}")]


async def test_applications_without_the_option_are_left_alone(trackers: Trackers) -> None:
    watched = service(Trackers())
    app = FastAPI(lifespan=lifespan(trackers))
    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    app.add_middleware(SnowplowMiddleware)
    app.get("/cards/{number}")(declined)
    app.exception_handler(CardError)(answer_with(500, is_async=True))
    async with started(watched), started(app):
        assert await ask(app, "/cards/42") == [500]
    assert trackers.events == []
