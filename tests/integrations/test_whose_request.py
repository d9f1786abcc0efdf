"""A task, a thread and a connection track about their own visitor, whomever else they look up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import litestar
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from snowplow_aio import (
    SelfDescribingJson,
    StructuredEvent,
    Tracker,
    current_subject,
    use_context,
    use_subject,
)
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan, tracker_of
from snowplow_aio.integrations.litestar import SnowplowPlugin
from tests.integrations.made import Trackers, http_scope, request, started

pytestmark = pytest.mark.anyio

Visit = Callable[[str], Awaitable[None]]


def event(action: str) -> StructuredEvent:
    return StructuredEvent(category="shop", action=action)


def headers_of(visitor: str) -> dict[str, str]:
    objects = {"DNT": "1"} if visitor == "shy" else {}
    return {"Host": "shop.example", "Cookie": f"sp={visitor}"} | objects


def who(trackers: Trackers) -> dict[str, str]:
    """Return the network user id of each event by its action; only one visitor may have an action."""
    return {event["se_ac"]: event.get("tnuid", "nobody") for event in trackers.events}


class Peers:
    """The requests of all visitors so far. The last one looks up all others."""

    def __init__(self, trackers: Trackers, find: Callable[[Any], Any]) -> None:
        self.trackers = trackers
        self.find = find
        self.known: list[Any] = []

    async def meet(self, connection: Any) -> None:
        peers, self.known = self.known, [*self.known, connection]
        for i, peer in enumerate(peers):
            await self.find(peer).track(event(f"peer {i}"))
            self.find(peer).track_nowait(event(f"peer {i} at once"))
        if peers:
            await self.trackers.made[0].track(event("mine"))
            await self.find(connection).track(event("mine, looked up"))
            await asyncio.create_task(self.in_a_task())

    async def in_a_task(self) -> None:
        await self.trackers.made[0].track(event("mine, in a task"))


@asynccontextmanager
async def plain_asgi(trackers: Trackers, peers: Peers) -> AsyncGenerator[Visit]:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        if scope["type"] != "lifespan":
            await peers.meet(scope)

    async with visited(SnowplowMiddleware(app, trackers)) as visit:
        yield visit


@asynccontextmanager
async def websockets(trackers: Trackers, peers: Peers) -> AsyncGenerator[Visit]:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        if scope["type"] != "lifespan":
            await peers.meet(scope)

    async with visited(SnowplowMiddleware(app, trackers), type="websocket", scheme="ws") as visit:
        yield visit


@asynccontextmanager
async def starlette(trackers: Trackers, peers: Peers) -> AsyncGenerator[Visit]:
    async def endpoint(request: Request) -> Response:
        await peers.meet(request)
        return PlainTextResponse("")

    middleware = [Middleware(SnowplowMiddleware)]
    async with visited(
        Starlette(lifespan=lifespan(trackers), middleware=middleware, routes=[Route("/", endpoint)])
    ) as visit:
        yield visit


@asynccontextmanager
async def fastapi(trackers: Trackers, peers: Peers) -> AsyncGenerator[Visit]:
    app = FastAPI(lifespan=lifespan(trackers))
    app.add_middleware(SnowplowMiddleware)

    async def endpoint(request: FastAPIRequest) -> None:
        await peers.meet(request)

    endpoint.__annotations__["request"] = FastAPIRequest
    app.get("/")(endpoint)
    async with visited(app) as visit:
        yield visit


@asynccontextmanager
async def of_litestar(trackers: Trackers, peers: Peers) -> AsyncGenerator[Visit]:
    async def endpoint(request: Any) -> None:
        await peers.meet(request)

    endpoint.__annotations__.update({"request": litestar.Request, "return": None})
    app = litestar.Litestar([litestar.get("/")(endpoint)], plugins=[SnowplowPlugin(trackers)])
    async with visited(app) as visit:
        yield visit


@asynccontextmanager
async def visited(app: Any, **fields: Any) -> AsyncGenerator[Visit]:
    async def visit(visitor: str) -> None:
        await asyncio.create_task(request(app, http_scope("/", headers=headers_of(visitor), **fields)))

    async with started(app):
        yield visit


@asynccontextmanager
async def aiohttp(trackers: Trackers, peers: Peers) -> AsyncGenerator[Visit]:
    async def handler(request: web.Request) -> web.Response:
        await peers.meet(request)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handler)
    for_aiohttp.setup(app, trackers)
    async with TestClient(TestServer(app)) as client:

        async def visit(visitor: str) -> None:
            await (await client.get("/", headers=headers_of(visitor))).read()

        yield visit


FRAMEWORKS = {
    "plain ASGI": plain_asgi,
    "WebSockets": websockets,
    "Starlette": starlette,
    "FastAPI": fastapi,
    "Litestar": of_litestar,
    "aiohttp": aiohttp,
}


@pytest.mark.parametrize("framework", FRAMEWORKS.values(), ids=FRAMEWORKS)
async def test_a_peer_that_is_looked_up_is_tracked_as_the_peer_and_changes_nothing(framework: Any) -> None:
    trackers = Trackers()
    find = for_aiohttp.tracker_of if framework is aiohttp else tracker_of
    async with framework(trackers, Peers(trackers, find)) as visit:
        for visitor in ("bob", "shy", "ada"):
            await visit(visitor)
    mine = dict.fromkeys(("mine", "mine, looked up", "mine, in a task"), "ada")
    # Whoever objects is not tracked: "shy" is the second, for whom only "bob" is a peer.
    assert who(trackers) == {"peer 0": "bob", "peer 0 at once": "bob", **mine}
    assert [event["tnuid"] for event in trackers.events].count("ada") == len(mine)


async def test_an_enricher_that_waits_sees_the_visitor_who_was_looked_up(trackers: Trackers) -> None:
    seen = []

    async def note(_draft: Any) -> None:
        await asyncio.sleep(0)
        subject = current_subject()
        seen.append(subject and subject.network_user_id)

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        pass

    middleware = SnowplowMiddleware(app, trackers)
    scope = http_scope("/", headers=headers_of("ada"))
    async with started(middleware):
        trackers.made[0].add_global_context(note)
        await asyncio.create_task(request(middleware, scope))
        await tracker_of(scope).track(event("late"))
        await trackers.made[0].track(event("of nobody"))
    assert seen == ["ada", None]
    assert who(trackers) == {"late": "ada", "of nobody": "nobody"}


async def test_a_thread_of_a_pool_is_left_bound_to_nobody(trackers: Trackers) -> None:
    """It is for ASGI and aiohttp alike that a pool does not copy the context of a task."""
    pool = ThreadPoolExecutor(max_workers=1)

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        if scope["type"] != "lifespan":
            await in_pool(lambda: tracker_of(scope).track_nowait(event("of a visitor")))

    async def handler(request: web.Request) -> web.Response:
        await in_pool(lambda: for_aiohttp.tracker_of(request).track_nowait(event("of another")))
        return web.Response()

    async def in_pool(call: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, call)

    middleware, in_aiohttp = SnowplowMiddleware(app, trackers), web.Application()
    in_aiohttp.router.add_get("/", handler)
    for_aiohttp.setup(in_aiohttp, trackers)
    with pool:
        async with started(middleware), TestClient(TestServer(in_aiohttp)) as client:
            for visitor in ("ada", "shy"):
                await request(middleware, http_scope("/", headers=headers_of(visitor)))
                await client.get("/", headers=headers_of(visitor))
            await in_pool(lambda: trackers.made[0].track_nowait(event("of the pool")))
            assert await asyncio.get_running_loop().run_in_executor(pool, current_subject) is None
    assert who(trackers) == {"of a visitor": "ada", "of another": "ada", "of the pool": "nobody"}


async def test_what_stands_in_for_a_tracker_is_looked_up_for_a_peer_as_it_is() -> None:
    stand_in, scope = mock.MagicMock(spec=Tracker), http_scope("/", headers=headers_of("ada"))

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        """Answer nothing."""

    async with started(middleware := SnowplowMiddleware(app, stand_in)):
        await request(middleware, scope)
        await tracker_of(scope).track(event("late"))
    stand_in.track.assert_called_once_with(event("late"))


# --- one connection after the other

ENTITY = SelfDescribingJson("iglu:com.acme/page/jsonschema/1-0-0", {"secret": "of ada"})


def connection_app(trackers: Trackers, *, fails: bool) -> Any:
    """Return an application with our middleware around ``/inside`` only."""

    async def answer(receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        with use_subject(user_id="ada"), use_context(ENTITY):
            await trackers.made[0].track(event("inside"))
            if fails:
                raise LookupError
            await answer(receive, send)
            # The server works on the next request meanwhile.
            await asyncio.sleep(0)
            await trackers.made[0].track(event("inside, after the answer"))

    middleware = SnowplowMiddleware(inside)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/inside":
            try:
                await middleware(scope, receive, send)
            except LookupError:
                await trackers.made[0].track(event("handler of the error"))
                await answer(receive, send)
        else:
            await trackers.made[0].track(event("outside"))
            await asyncio.create_task(trackers.made[0].track(event("outside, in a task")))
            await answer(receive, send)

    return app


def head(path: str, body: bytes = b"", **headers: str) -> bytes:
    fields = {"Host": "shop.example", "Content-Length": str(len(body))} | headers
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "failed"])
@pytest.mark.parametrize("body", [b"", b"x" * 1_000_000], ids=["without a body", "after a large body"])
@pytest.mark.parametrize("protocol", [H11Protocol, HttpToolsProtocol])
async def test_the_next_request_of_a_connection_knows_nothing_of_the_one_before(
    protocol: Any, body: bytes, *, fails: bool
) -> None:
    """uvicorn begins it in the context in which the answer to the earlier one is sent."""
    trackers = Trackers()
    trackers()
    config = Config(connection_app(trackers, fails=fails), lifespan="off", log_config=None)
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    server = await loop.create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(head("/inside", body, Cookie="sp=ada") + head("/outside"))
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
        writer.write(head("/outside", Connection="close"))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        await asyncio.gather(*state.tasks)
    known = {
        event["se_ac"]: (event.get("tnuid"), event.get("uid"), "cx" in event) for event in trackers.events
    }
    nobody = (None, None, False)
    by_ada = ("ada", "ada", True)
    after: dict[str, object] = {"inside, after the answer": by_ada}
    if fails:
        after = {"handler of the error": ("ada", None, False)}
    assert known == {
        "inside": by_ada,
        **after,
        "outside": nobody,
        "outside, in a task": nobody,
    }
    assert [event["se_ac"] for event in trackers.events].count("outside") == 2


async def test_a_middleware_outside_still_tracks_about_the_visitor_while_the_answer_is_sent() -> None:
    """Also about one who objects: nothing at all."""
    trackers = Trackers()

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

    inner = SnowplowMiddleware(app, trackers)

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                await trackers.made[0].track(event("sending"))
            await send(message)

        await inner(scope, receive, sending)

    async with started(outer):
        for visitor in ("shy", "ada"):
            await asyncio.create_task(request(outer, http_scope("/", headers=headers_of(visitor))))
    assert [event["tnuid"] for event in trackers.events] == ["ada"]
