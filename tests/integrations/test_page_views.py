"""Page views of requests that show a page, tracked when the response has been sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NoReturn
from uuid import UUID

import litestar
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import APIRouter, BackgroundTasks, FastAPI
from fastapi.responses import HTMLResponse
from litestar.testing import AsyncTestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse as Page
from starlette.routing import Mount, Route

from snowplow_aio import StructuredEvent, Tracker
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan
from snowplow_aio.integrations.litestar import SnowplowPlugin
from snowplow_aio.integrations.page_views import PageViews
from tests.integrations.made import Trackers, http_scope, request, started

pytestmark = pytest.mark.anyio


def titles(trackers: Trackers) -> list[tuple[str, str | None]]:
    return [(event["url"].partition("shop.example")[2], event.get("page")) for event in trackers.events]


def view(path: str, /, **fields: Any) -> dict[str, Any]:
    return http_scope(path, **{"headers": {"Host": "shop.example"}} | fields)


def page_of(status: int = 200, content_type: str = "text/html; charset=utf-8") -> Any:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"Content-Type", content_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    return app


# --- which requests


async def test_unless_asked_for_there_are_none(trackers: Trackers) -> None:
    await request(SnowplowMiddleware(page_of(), trackers), view("/"))
    assert trackers.events == []


@pytest.mark.parametrize(
    ("options", "scope", "response", "is_tracked"),
    [
        ({}, {}, {}, True),
        ({}, {"method": "POST"}, {}, False),
        ({}, {"method": "HEAD"}, {}, False),
        ({"methods": {"GET", "POST"}}, {"method": "POST"}, {}, True),
        ({}, {}, {"status": 404}, False),
        ({}, {}, {"status": 302}, False),
        ({"statuses": {200, 404}}, {}, {"status": 404}, True),
        ({}, {}, {"content_type": "application/json"}, False),
        ({}, {}, {"content_type": "TEXT/HTML"}, True),
        ({}, {}, {"content_type": ""}, False),
        ({"content_types": None}, {}, {"content_type": "application/json"}, True),
        ({"content_types": {"application/json"}}, {}, {"content_type": "application/json"}, True),
        ({"include": ["/shop/*"]}, {}, {}, True),
        ({"include": ["/admin/*"]}, {}, {}, False),
        ({"include": ["/admin/*", "*/shoes"]}, {}, {}, True),
        ({"include": []}, {}, {}, False),
        ({"exclude": ["/shop/*"]}, {}, {}, False),
        ({"include": ["/shop/*"], "exclude": ["*.js", "*/shoes"]}, {}, {}, False),
        ({"exclude": ["/shop"]}, {}, {}, True),
    ],
)
async def test_a_request_is_a_page_view_when_all_is_true_of_it(
    trackers: Trackers,
    options: dict[str, Any],
    scope: dict[str, Any],
    response: dict[str, Any],
    *,
    is_tracked: bool,
) -> None:
    middleware = SnowplowMiddleware(page_of(**response), trackers, page_views=PageViews(**options))
    await request(middleware, view("/shop/shoes", **scope))
    assert len(trackers.events) == is_tracked


async def test_a_websocket_is_no_page(trackers: Trackers) -> None:
    middleware = SnowplowMiddleware(page_of(), trackers, page_views=PageViews(statuses=range(600)))
    await request(middleware, view("/ws", type="websocket", scheme="ws"))
    assert trackers.events == []


async def test_an_answer_that_was_never_finished_is_no_page_view(trackers: Trackers) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
        )
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match=r"^no database$"):
        await request(SnowplowMiddleware(app, trackers, page_views=PageViews()), view("/"))
    assert trackers.events == []


async def test_a_page_view_is_about_the_visitor_the_page_and_its_referrer(trackers: Trackers) -> None:
    headers = {"Host": "shop.example", "Referer": "https://search.example/", "User-Agent": "Mozilla/5.0"}
    middleware = SnowplowMiddleware(page_of(), trackers, page_views=PageViews(), user_id=lambda _scope: "ada")
    await request(middleware, view("/shoes?size=43", headers=headers))
    (event,) = trackers.events
    assert event == event | {
        "e": "pv",
        "url": "http://shop.example/shoes?size=43",
        "refr": "https://search.example/",
        "ua": "Mozilla/5.0",
        "uid": "ada",
        "p": "srv",
    }


async def test_a_page_without_an_address_is_counted_and_said_once_a_minute(
    trackers: Trackers, caplog: pytest.LogCaptureFixture
) -> None:
    page_views = PageViews()
    middleware = SnowplowMiddleware(page_of(), trackers, page_views=page_views)
    async with started(middleware):
        for host in ("", "x" * 256, "a/b"):
            await request(middleware, view("/", headers={"Host": host}))
        await request(middleware, view("/", headers={"DNT": "1"}))
    assert trackers.events == []
    assert page_views.untracked == 3
    (line,) = caplog.messages
    assert line.startswith("a page view could not be tracked: the request has no host that can be read (1 ")


# --- when


async def test_it_is_tracked_after_the_response_and_before_background_tasks(trackers: Trackers) -> None:
    app = FastAPI(lifespan=lifespan(trackers))
    app.add_middleware(SnowplowMiddleware, page_views=PageViews())
    happened: list[str] = []

    @app.get("/", response_class=HTMLResponse)
    async def endpoint(tasks: BackgroundTasks) -> str:
        tasks.add_task(lambda: happened.append(f"background after {len(trackers.events)}"))
        return "<p>"

    async def send(message: Any) -> None:
        happened.append(f"{message['type']} after {len(trackers.events)}")

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async with started(app):
        await app(view("/"), receive, send)
    assert happened == [
        "http.response.start after 0",
        "http.response.body after 0",
        "background after 1",
    ]


async def test_a_fault_of_it_never_reaches_the_request(
    trackers: Trackers, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Tracker):
        def track(self, *_args: Any, **_metadata: Any) -> NoReturn:
            raise RuntimeError("no room")

    tracker = Broken(trackers().emitters[0])
    sent = await request(SnowplowMiddleware(page_of(), tracker, page_views=PageViews()), view("/"))
    assert len(sent) == 3
    sent = await request(SnowplowMiddleware(page_of(), page_views=PageViews()), view("/"))
    assert len(sent) == 3
    assert caplog.text.count("a page view could not be tracked") == 2
    assert "no room" in caplog.text


# --- titles


async def html(_request: Request) -> Page:
    return Page("<p>")


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/", "/"),
        ("/users/42", "/users/{user_id}"),
        ("/numbers/42", "/numbers/{number}"),
        ("/files/a/b.html", "/files/{path}"),
        ("/tenants/acme/orders/acme/1", "/tenants/{tenant}/orders/{order}/{line}"),
        ("/ids/5CEA9899-10DF-4CCF-BF66-8C36F4A4BBA2/orders/7", "/orders/{order}"),
        ("/ids/5cea9899-10df-4ccf-bf66-8c36f4a4bba2/orders/7", "/ids/{id}/orders/{order}"),
        ("/floats/1.50", "/floats/{x}"),
    ],
)
async def test_the_title_is_the_template_of_the_route_and_shows_no_id(
    trackers: Trackers, path: str, title: str
) -> None:
    tenant = Starlette(routes=[Route("/orders/{order}/{line}", html)])
    by_id = Starlette(routes=[Route("/orders/{order}", html)])
    routes = [
        Route("/", html),
        Route("/users/{user_id}", html),
        Route("/numbers/{number:int}", html),
        Route("/files/{path:path}", html),
        Route("/floats/{x:float}", html),
        Mount("/tenants/{tenant}", tenant),
        Mount("/ids/{id:uuid}", by_id),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(SnowplowMiddleware, tracker=trackers, page_views=PageViews())
    await request(app, view(path))
    assert titles(trackers) == [(path, title)]


async def test_without_a_route_there_is_no_title(trackers: Trackers) -> None:
    app = Starlette()
    app.add_middleware(
        SnowplowMiddleware,
        tracker=trackers,
        page_views=PageViews(statuses={404}, content_types=None),
    )
    await request(app, view("/users/42"))
    await request(SnowplowMiddleware(page_of(), trackers, page_views=PageViews()), view("/users/42"))
    assert titles(trackers) == [("/users/42", None)] * 2


async def test_the_title_in_fastapi_has_the_prefix_of_its_router(trackers: Trackers) -> None:
    app, router = FastAPI(lifespan=lifespan(trackers)), APIRouter(prefix="/users/{user_id}")
    app.add_middleware(SnowplowMiddleware, page_views=PageViews())

    @router.get("/orders/{order_id}", response_class=HTMLResponse)
    async def endpoint(user_id: UUID, order_id: int) -> str:
        return f"{user_id} {order_id}"

    app.include_router(router, prefix="/v1")
    user = "5cea9899-10df-4ccf-bf66-8c36f4a4bba2"
    async with started(app):
        await request(app, view(f"/v1/users/{user}/orders/7"))
        await request(app, view("/v1/users/7/orders/7"))
    assert titles(trackers) == [(f"/v1/users/{user}/orders/7", "/v1/users/{user_id}/orders/{order_id}")]


async def test_the_title_in_litestar(trackers: Trackers) -> None:
    @litestar.get("/users/{user_id:int}", media_type="text/html")
    async def handler() -> str:
        return "<p>"

    router = litestar.Router("/v1", route_handlers=[handler])
    app = litestar.Litestar([router], plugins=[SnowplowPlugin(trackers, page_views=PageViews())])
    async with AsyncTestClient(app, base_url="http://shop.example") as client:
        assert (await client.get("/v1/users/42")).status_code == 200
        assert (await client.get("/v1/users/x")).status_code == 404
    assert titles(trackers) == [("/v1/users/42", "/v1/users/{user_id}")]


# --- aiohttp


async def test_aiohttp_tracks_a_page_view_when_the_response_was_sent(trackers: Trackers) -> None:
    tracked_before: list[int] = []

    async def page(_request: web.Request) -> web.Response:
        async def body() -> AsyncGenerator[bytes]:
            await asyncio.sleep(0)
            tracked_before.append(len(trackers.events))
            yield b"<p>"

        return web.Response(body=body(), content_type="text/html")

    async def data(request: web.Request) -> web.Response:
        await for_aiohttp.tracker_of(request).track(StructuredEvent(category="a", action="b"))
        return web.json_response({})

    async def missing(_request: web.Request) -> web.Response:
        raise web.HTTPNotFound(text="<p>", content_type="text/html")

    async def fail(_request: web.Request) -> web.Response:
        raise RuntimeError("no database")

    async def socket(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        return websocket

    app, inner = web.Application(), web.Application()
    app.router.add_get("/users/{user_id:[0-9]+}", page)
    app.router.add_get("/data", data)
    app.router.add_get("/ws", socket)
    app.router.add_get("/fail", fail)
    inner.router.add_get("/gone/{order_id}", missing)
    app.add_subapp("/inner", inner)
    for_aiohttp.setup(app, trackers, page_views=PageViews(statuses={200, 404}))
    async with TestClient(TestServer(app)) as client:
        for path in ("/users/42?a=b", "/data", "/inner/gone/7", "/nowhere", "/fail"):
            await client.get(path, headers={"Host": "shop.example"})
        await (await client.ws_connect("/ws")).close()
    assert tracked_before == [0]
    views = [event for event in trackers.events if event["e"] == "pv"]
    assert [(event["url"], event["page"]) for event in views] == [
        ("http://shop.example/users/42?a=b", "/users/{user_id}"),
        ("http://shop.example/inner/gone/7", "/inner/gone/{order_id}"),
    ]


# --- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include": "/shop/*"}, r"^include: must be a list of patterns like '/admin/\*', got '/shop/\*'$"),
        ({"exclude": [1]}, r"^exclude: must be a list of patterns like '/admin/\*', got \[1\]$"),
        ({"methods": "GET"}, r"^methods: must be a set or a list, got 'GET'$"),
        ({"statuses": 200}, r"^statuses: must be a set or a list, got 200$"),
        ({"content_types": "text/html"}, r"^content_types: must be a set or a list, got 'text/html'$"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PageViews(**options)


def test_options_are_a_value() -> None:
    assert PageViews(include=["/a"]) == PageViews(include=["/a"])
    assert PageViews() != PageViews(methods={"POST"})
    with pytest.raises(AttributeError):
        PageViews().methods = {"POST"}  # type: ignore[misc]
