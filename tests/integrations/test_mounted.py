"""Applications in applications, scopes of any type, and servers without a lifespan."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import litestar
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan, tracker_of
from snowplow_aio.integrations.fastapi import CurrentTracker
from snowplow_aio.integrations.litestar import SnowplowPlugin
from tests.integrations.made import LOOK, Trackers, http_scope, request, started

pytestmark = pytest.mark.anyio


async def look(request: Request) -> PlainTextResponse:
    await tracker_of(request).track(LOOK)
    return PlainTextResponse("")


def starlette_app() -> Starlette:
    return Starlette(routes=[Route("/", look)])


def fastapi_app() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def endpoint(tracker: CurrentTracker) -> str:
        return await tracker.track(LOOK)

    return app


def asgi_app() -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await tracker_of(scope).track(LOOK)
        await PlainTextResponse("")(scope, receive, send)

    return app


INNER = {"Starlette": starlette_app, "FastAPI": fastapi_app, "plain ASGI": asgi_app}
inner_apps = pytest.mark.parametrize("make_inner", INNER.values(), ids=INNER)


@inner_apps
@pytest.mark.parametrize("with_middleware", [False, True], ids=["without middleware", "with middleware"])
@pytest.mark.parametrize("outer", [Starlette, FastAPI])
async def test_a_mounted_application_finds_the_tracker(
    trackers: Trackers, outer: Any, make_inner: Any, *, with_middleware: bool
) -> None:
    app = outer(lifespan=lifespan(trackers))
    app.mount("/once", make_inner())
    app.mount("/twice", Starlette(routes=[Mount("/again", make_inner())]))
    app.host("shop.example", make_inner())
    if with_middleware:
        app.add_middleware(SnowplowMiddleware)
    async with started(app):
        for path in ("/once/", "/twice/again/"):
            await request(app, http_scope(path, headers={"Host": "a.example"}))
        await request(app, http_scope("/", headers={"Host": "shop.example"}))
    assert len(trackers.events) == 3


async def test_a_mounted_application_with_a_tracker_of_its_own_keeps_it(trackers: Trackers) -> None:
    own = Trackers()
    inner = starlette_app()
    inner.add_middleware(SnowplowMiddleware, tracker=own)
    app = Starlette(lifespan=lifespan(trackers), routes=[Route("/", look), Mount("/inner", inner)])
    app.add_middleware(SnowplowMiddleware)
    async with started(app):
        await request(app, http_scope("/"))
        await request(app, http_scope("/inner/"))
    assert (len(trackers.events), len(own.events)) == (1, 1)


@pytest.mark.parametrize("inner_options", [{}, {"without_consent": "anonymous"}], ids=["plain", "lenient"])
async def test_what_the_outer_application_forbids_a_mounted_one_does_not_allow(
    trackers: Trackers, inner_options: dict[str, Any]
) -> None:
    inner = starlette_app()
    inner.add_middleware(SnowplowMiddleware, privacy_signals=False, **inner_options)
    app = Starlette(lifespan=lifespan(trackers), routes=[Mount("/inner", inner)])
    app.add_middleware(SnowplowMiddleware, consent=lambda scope: scope["query_string"] == b"yes")
    async with started(app):
        await request(app, http_scope("/inner/"))
        assert trackers.events == []
        await request(app, http_scope("/inner/?yes"))
    assert len(trackers.events) == 1


async def test_a_lifespan_serves_a_router_without_an_application(trackers: Trackers) -> None:
    router = Router([Route("/", look)], lifespan=lifespan(trackers))
    async with started(router):
        await request(router, http_scope("/"))
        assert [tracker_of(router)] == trackers.made
    assert len(trackers.events) == 1
    assert len(trackers.emitters[0].closed) == 1


async def test_a_router_behind_the_middleware_tracks_about_the_visitor(trackers: Trackers) -> None:
    app = SnowplowMiddleware(Router([Route("/", look)], lifespan=lifespan(trackers)))
    async with started(app):
        await request(app, http_scope("/", headers={"User-Agent": "Mozilla/5.0"}))
    assert [event["ua"] for event in trackers.events] == ["Mozilla/5.0"]


async def test_a_lifespan_of_an_included_router_serves_the_application(trackers: Trackers) -> None:
    router = APIRouter(lifespan=lifespan(trackers), prefix="/part")

    @router.get("/")
    async def endpoint(tracker: CurrentTracker) -> str:
        return await tracker.track(LOOK)

    app = FastAPI()
    app.include_router(router)
    async with started(app):
        await request(app, http_scope("/part/"))
    assert len(trackers.events) == 1


async def test_a_lifespan_called_by_another_is_found_too(trackers: Trackers) -> None:
    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[None]:
        async with lifespan(trackers)(app):
            yield

    app = Starlette(lifespan=own, routes=[Mount("/inner", starlette_app())])
    async with started(app):
        await request(app, http_scope("/inner/"))
    assert len(trackers.events) == 1


@pytest.mark.parametrize("kind", ["lifespan", "mcp", "telegram", "http.later"])
@pytest.mark.parametrize("with_tracker", [False, True])
async def test_a_scope_that_is_no_request_passes_through(
    trackers: Trackers, kind: str, *, with_tracker: bool
) -> None:
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(dict(scope))

    middleware = SnowplowMiddleware(app, trackers if with_tracker and kind != "lifespan" else None)
    await middleware({"type": kind}, None, None)
    assert seen == [{"type": kind}]


async def test_litestar_mounts_applications(trackers: Trackers) -> None:
    for copies in (False, True):
        mounted = litestar.asgi("/inner", is_mount=True, copy_scope=copies)(starlette_app())
        app = litestar.Litestar([mounted], plugins=[SnowplowPlugin(trackers)])
        async with started(app):
            await request(app, http_scope("/inner/", headers={"User-Agent": "Mozilla/5.0"}))
    assert [event["ua"] for event in trackers.events] == ["Mozilla/5.0"] * 2


async def test_a_sub_application_of_aiohttp_may_have_the_setup(trackers: Trackers) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=await for_aiohttp.tracker_of(request).track(LOOK))

    deep, inner, app = web.Application(), web.Application(), web.Application()
    deep.router.add_get("/", handler)
    for_aiohttp.setup(inner, trackers)
    inner.add_subapp("/deep", deep)
    app.add_subapp("/inner", inner)
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/inner/deep/", headers={"DNT": "1"})
        assert answer.status == 200
        await client.get("/inner/deep/")
    assert len(trackers.events) == 1


async def test_what_an_outer_aiohttp_application_forbids_holds_inside(trackers: Trackers) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=await for_aiohttp.tracker_of(request).track(LOOK))

    inner, app = web.Application(), web.Application()
    inner.router.add_get("/", handler)
    for_aiohttp.setup(app, trackers)
    for_aiohttp.setup(inner, trackers, privacy_signals=False)
    app.add_subapp("/inner", inner)
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/inner/", headers={"Sec-GPC": "1"})).status == 200
    assert trackers.events == []


# --- a server without lifespan


async def test_without_a_lifespan_one_warning_names_the_way(
    trackers: Trackers, caplog: pytest.LogCaptureFixture
) -> None:
    app = starlette_app()
    app.add_middleware(SnowplowMiddleware, tracker=trackers)
    for _ in range(3):
        await request(app, http_scope("/"))
    assert len(trackers.events) == 3
    (line,) = caplog.messages
    assert "the server runs no lifespan" in line
    assert "uvicorn --lifespan on" in line


async def test_litestar_tracks_without_a_lifespan(
    trackers: Trackers, caplog: pytest.LogCaptureFixture
) -> None:
    @litestar.get("/")
    async def handler(request: litestar.Request[Any, Any, Any]) -> str:
        return await tracker_of(request).track(LOOK)

    app = litestar.Litestar([handler], plugins=[SnowplowPlugin(trackers)], logging_config=None)
    for _ in range(2):
        await request(app, http_scope("/"))
    assert len(trackers.events) == 2
    assert [message[:45] for message in caplog.messages] == ["the tracker is made at the first request, bec"]


async def test_a_lifespan_that_nobody_runs_is_named(trackers: Trackers) -> None:
    app = Starlette(lifespan=lifespan(trackers), routes=[Route("/", look)])
    with pytest.raises(ConfigurationError, match=r"^connection: .* by a server that runs lifespans"):
        await request(app, http_scope("/"))


async def test_a_service_that_is_started_hears_no_warning(
    trackers: Trackers, caplog: pytest.LogCaptureFixture
) -> None:
    app = starlette_app()
    app.add_middleware(SnowplowMiddleware, tracker=trackers)
    async with started(app):
        await request(app, http_scope("/"))
    assert len(trackers.events) == 1
    assert caplog.messages == []
