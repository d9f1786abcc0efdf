"""One tracker for each process: made before everything of the application, closed after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import litestar
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import FastAPI, WebSocket
from litestar.testing import AsyncTestClient
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from snowplow_aio import InvalidEventError, StructuredEvent, Subject, Tracker
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import (
    Message,
    Receive,
    Scope,
    Send,
    SnowplowMiddleware,
    lifespan,
    tracker_of,
)
from snowplow_aio.integrations.fastapi import CurrentTracker
from snowplow_aio.integrations.litestar import CurrentTracker as LitestarTracker
from snowplow_aio.integrations.litestar import SnowplowPlugin
from snowplow_aio.integrations.litestar import tracker_of as tracker_of_litestar
from tests.integrations.made import Trackers, http_scope, request, started

pytestmark = pytest.mark.anyio

COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def happened(action: str) -> StructuredEvent:
    return StructuredEvent(category="life", action=action)


def actions(trackers: Trackers) -> list[str]:
    return [event["se_ac"] for event in trackers.events]


def types(sent: list[Message]) -> list[str]:
    return [message["type"] for message in sent]


# --- Starlette and FastAPI


async def test_the_tracker_is_made_at_the_start_and_closed_at_the_end(trackers: Trackers) -> None:
    app = Starlette(lifespan=lifespan(trackers, timeout=3))
    assert trackers.made == []
    async with started(app) as sent:
        assert [tracker_of(app)] == trackers.made
        assert trackers.emitters[0].closed == []
    assert trackers.emitters[0].closed == [3]
    assert types(sent) == COMPLETE


async def test_each_start_has_a_tracker_of_its_own(trackers: Trackers) -> None:
    app = Starlette(lifespan=lifespan(trackers))
    for number in range(2):
        async with started(app):
            tracker_of(app).track_nowait(happened(str(number)))
    assert len(trackers.made) == 2
    assert [event["tna"] + event["se_ac"] for event in trackers.events] == ["n00", "n11"]


async def test_the_applications_own_lifespan_runs_inside(trackers: Trackers) -> None:
    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[dict[str, str]]:
        await tracker_of(app).track(happened("starts"))
        yield {"pool": "open"}
        await tracker_of(app).track(happened("ends"))

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state.pool)

    app = Starlette(lifespan=lifespan(trackers, own), routes=[Route("/", endpoint)])
    async with started(app):
        pass
    assert actions(trackers) == ["starts", "ends"]
    assert trackers.emitters[0].late == 0


async def test_what_the_applications_own_lifespan_yields_is_passed_on(trackers: Trackers) -> None:
    @asynccontextmanager
    async def own(_app: Starlette) -> AsyncGenerator[dict[str, str]]:
        yield {"pool": "open"}

    async with lifespan(trackers, own)(Starlette()) as state:
        assert state == {"pool": "open"}
    async with lifespan(trackers)(Starlette()) as state:
        assert state is None


@pytest.mark.parametrize("when", ["start", "end"])
async def test_an_application_that_fails_closes_the_tracker_all_the_same(
    trackers: Trackers, when: str
) -> None:
    @asynccontextmanager
    async def own(app: Starlette) -> AsyncGenerator[None]:
        await tracker_of(app).track(happened("starts"))
        if when == "start":
            raise RuntimeError("no database")
        yield
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match=r"^no database$"):
        async with started(Starlette(lifespan=lifespan(trackers, own))):
            pass
    assert len(trackers.emitters[0].closed) == 1


async def test_a_tracker_made_before_is_used_and_closed_too(trackers: Trackers) -> None:
    tracker = trackers()
    app = Starlette(lifespan=lifespan(tracker))
    async with started(app):
        assert tracker_of(app) is tracker
    assert len(trackers.emitters[0].closed) == 1


async def test_an_endpoint_of_fastapi_has_the_tracker_as_a_parameter(trackers: Trackers) -> None:
    app = FastAPI(lifespan=lifespan(trackers))

    @app.get("/")
    async def endpoint(tracker: CurrentTracker) -> str:
        return await tracker.track(happened("asked"))

    @app.get("/sync")
    def sync_endpoint(tracker: CurrentTracker) -> str:
        return tracker.track_nowait(happened("in a thread"))

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, tracker: CurrentTracker) -> None:
        await websocket.accept()
        await tracker.track(happened("spoken"))
        await websocket.close()

    async with started(app):
        await request(app, http_scope("/"))
        await request(app, http_scope("/sync"))
        await request(app, http_scope("/ws", type="websocket", scheme="ws", subprotocols=[]))
    assert actions(trackers) == ["asked", "in a thread", "spoken"]


async def test_whatever_has_the_application_finds_the_tracker(trackers: Trackers) -> None:
    found: list[Tracker] = []

    async def endpoint(request: Request) -> PlainTextResponse:
        found.extend(tracker_of(it) for it in (request, request.scope, request.app))
        return PlainTextResponse("")

    app = Starlette(lifespan=lifespan(trackers), routes=[Route("/", endpoint)])
    async with started(app):
        await request(app, http_scope())
    assert found == trackers.made * 3


@pytest.mark.parametrize("connection", [Starlette(), Request(http_scope()), http_scope(), {}, None])
def test_where_there_is_no_tracker_the_error_says_what_is_missing(connection: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^connection: there is no tracker: .* `lifespan`"):
        tracker_of(connection)


# --- the middleware with a tracker


async def with_a_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
    else:
        await tracker_of(scope).track(happened("asked"))


async def that_raises(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await tracker_of(scope).track(happened("asked"))


async def that_returns(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await tracker_of(scope).track(happened("asked"))


@pytest.mark.parametrize("app", [with_a_lifespan, that_raises, that_returns])
async def test_the_middleware_starts_and_closes_its_tracker_with_any_application(
    trackers: Trackers, app: Any
) -> None:
    middleware = SnowplowMiddleware(app, trackers, timeout=2)
    assert trackers.made == []
    async with started(middleware) as sent:
        await request(middleware, http_scope())
    assert types(sent) == COMPLETE
    assert len(trackers.made) == 1
    assert trackers.emitters[0].closed[0] == 2
    assert actions(trackers) == ["asked"]


async def test_the_tracker_is_closed_before_the_server_hears_of_the_end(trackers: Trackers) -> None:
    middleware = SnowplowMiddleware(with_a_lifespan, trackers)
    heard: list[int] = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return next(messages)

    async def send(_message: Message) -> None:
        heard.append(len(trackers.emitters[0].closed))

    await middleware({"type": "lifespan"}, receive, send)
    assert heard == [0, 1]


async def test_an_application_whose_start_fails_fails_behind_the_middleware_too(trackers: Trackers) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match=r"^no database$"):
        async with started(SnowplowMiddleware(app, trackers)):
            pass
    assert len(trackers.emitters[0].closed) == 1


async def test_added_to_starlette_it_needs_no_lifespan(trackers: Trackers) -> None:
    found: list[Tracker] = []

    async def endpoint(request: Request) -> PlainTextResponse:
        found.append(tracker_of(request))
        return PlainTextResponse("")

    inner = Starlette(routes=[Route("/", endpoint)])
    app = Starlette(routes=[Route("/", endpoint), Mount("/mounted", inner)])
    app.add_middleware(SnowplowMiddleware, tracker=trackers)
    async with started(app):
        found.append(tracker_of(app))
        await request(app, http_scope("/"))
        await request(app, http_scope("/mounted/"))
    assert found == trackers.made * 3
    assert len(trackers.emitters[0].closed) > 0


async def test_quart_needs_the_middleware_alone(trackers: Trackers) -> None:
    app = Quart("shop")

    @app.get("/")
    async def endpoint() -> str:
        import quart

        return await tracker_of(quart.request).track(happened("asked"))

    app.asgi_app = SnowplowMiddleware(app.asgi_app, trackers)  # type: ignore[method-assign] # as Quart documents
    async with app.test_app() as running:
        await running.test_client().get("/")
    assert actions(trackers) == ["asked"]
    assert len(trackers.emitters[0].closed) > 0


async def test_without_a_start_the_first_request_makes_the_tracker(trackers: Trackers) -> None:
    middleware = SnowplowMiddleware(that_returns, trackers)
    await request(middleware, http_scope())
    await request(middleware, http_scope())
    assert len(trackers.made) == 1
    assert actions(trackers) == ["asked", "asked"]


async def test_without_a_tracker_the_middleware_leaves_the_life_cycle_alone(trackers: Trackers) -> None:
    app = Starlette(lifespan=lifespan(trackers))
    app.add_middleware(SnowplowMiddleware)
    async with started(app) as sent:
        pass
    assert types(sent) == COMPLETE
    assert len(trackers.emitters[0].closed) == 1


# --- aiohttp


async def test_an_aiohttp_application_has_a_tracker_from_start_to_end(trackers: Trackers) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert for_aiohttp.tracker_of(request) is for_aiohttp.tracker_of(request.app)
        return web.Response(text=await for_aiohttp.tracker_of(request).track(happened("asked")))

    async def inner_handler(request: web.Request) -> web.Response:
        return web.Response(text=await for_aiohttp.tracker_of(request).track(happened("asked inside")))

    async def own(app: web.Application) -> AsyncIterator[None]:
        await app[for_aiohttp.TRACKER].track(happened("starts"))
        yield
        await app[for_aiohttp.TRACKER].track(happened("ends"))

    app, inner = web.Application(), web.Application()
    app.router.add_get("/", handler)
    inner.router.add_get("/", inner_handler)
    app.add_subapp("/inner", inner)
    app.cleanup_ctx.append(own)
    for_aiohttp.setup(app, trackers, timeout=4)
    assert trackers.made == []
    async with TestClient(TestServer(app)) as client:
        await client.get("/")
        await client.get("/inner/")
        assert trackers.emitters[0].closed == []
    assert actions(trackers) == ["starts", "asked", "asked inside", "ends"]
    assert trackers.emitters[0].closed == [4]
    assert trackers.emitters[0].late == 0


async def test_an_aiohttp_application_whose_start_fails_closes_the_tracker(trackers: Trackers) -> None:
    async def fail(_app: web.Application) -> None:
        raise RuntimeError("no database")

    app = web.Application()
    app.on_startup.append(fail)
    for_aiohttp.setup(app, trackers)
    runner = web.AppRunner(app)
    with pytest.raises(RuntimeError, match=r"^no database$"):
        await runner.setup()
    await runner.cleanup()
    assert len(trackers.emitters[0].closed) == 1


def test_an_aiohttp_application_without_setup_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError, match=r"^request: there is no tracker: call `setup`"):
        for_aiohttp.tracker_of(web.Application())


# --- Litestar


async def test_a_handler_of_litestar_has_the_tracker_as_a_parameter(trackers: Trackers) -> None:
    @litestar.get("/")
    async def handler(tracker: LitestarTracker) -> str:
        return await tracker.track(happened("asked"))

    @litestar.get("/request")
    async def of_request(request: litestar.Request[Any, Any, Any]) -> str:
        return await tracker_of_litestar(request).track(happened("asked by hand"))

    async def starts(app: litestar.Litestar) -> None:
        await tracker_of_litestar(app).track(happened("starts"))

    async def ends(app: litestar.Litestar) -> None:
        await tracker_of_litestar(app).track(happened("ends"))

    app = litestar.Litestar(
        [handler, of_request],
        plugins=[SnowplowPlugin(trackers, timeout=5)],
        on_startup=[starts],
        on_shutdown=[ends],
    )
    assert trackers.made == []
    async with AsyncTestClient(app) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/request")).status_code == 200
        assert trackers.emitters[0].closed == []
    assert actions(trackers) == ["starts", "asked", "asked by hand", "ends"]
    assert trackers.emitters[0].closed == [5]
    assert trackers.emitters[0].late == 0


# --- the platform


@pytest.mark.parametrize(
    ("of_tracker", "of_subject", "of_integration", "sent"),
    [
        (None, None, "srv", "srv"),
        (None, None, "web", "web"),
        (None, None, None, "pc"),
        ("pc", None, "srv", "pc"),
        ("mob", None, "srv", "mob"),
        (None, "tv", "srv", "tv"),
        ("mob", "tv", "srv", "tv"),
    ],
)
async def test_the_platform_is_srv_unless_somebody_says_otherwise(
    of_tracker: str | None, of_subject: str | None, of_integration: str | None, sent: str
) -> None:
    trackers = Trackers()

    def make() -> Tracker:
        return trackers(platform=of_tracker, subject=Subject(platform=of_subject))

    app = Starlette(lifespan=lifespan(make, platform=of_integration))
    async with started(app):
        await tracker_of(app).track(happened("asked"))
    service = web.Application()
    for_aiohttp.setup(service, make, platform=of_integration)
    async with TestServer(service):
        await service[for_aiohttp.TRACKER].track(happened("asked"))
    async with started(middleware := SnowplowMiddleware(that_returns, make, platform=of_integration)):
        await request(middleware, http_scope())
    async with AsyncTestClient(litestar.Litestar(plugins=[SnowplowPlugin(make, platform=of_integration)])):
        await trackers.made[-1].track(happened("asked"))
    assert [event["p"] for event in trackers.events] == [sent] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tracker": "t"}, r"^tracker: must be a Tracker, or a function that makes one, got 't'$"),
        ({"platform": "server"}, r"^platform: must be one of .*, got 'server'$"),
        ({"timeout": -1}, r"^timeout: .*, got -1$"),
    ],
)
@pytest.mark.parametrize(
    "integrate",
    [
        lifespan,
        lambda tracker, **options: SnowplowMiddleware(that_returns, tracker, **options),
        lambda tracker, **options: for_aiohttp.setup(web.Application(), tracker, **options),
        SnowplowPlugin,
    ],
    ids=["lifespan", "middleware", "aiohttp", "litestar"],
)
def test_a_wrong_option_is_refused_at_once(
    trackers: Trackers, integrate: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigurationError, InvalidEventError), match=message):
        integrate(**{"tracker": trackers} | options)


async def test_a_function_that_makes_no_tracker_fails_the_start() -> None:
    make: Any = dict
    with pytest.raises(ConfigurationError, match=r"^tracker: must be a function that returns a Tracker"):
        async with started(Starlette(lifespan=lifespan(make))):
            pass
