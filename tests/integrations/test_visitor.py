"""Events of a request have its visitor, wherever they are tracked during the request."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Any
from uuid import UUID

import litestar
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from litestar.testing import AsyncTestClient
from quart import Quart
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from snowplow_aio import (
    CLEAR,
    EcommerceTransaction,
    PagePing,
    PageView,
    ScreenView,
    StructuredEvent,
    Subject,
    current_subject,
    disable_validation,
    enable_validation,
    use_subject,
)
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan, tracker_of
from snowplow_aio.integrations.fastapi import CurrentTracker
from snowplow_aio.integrations.litestar import CurrentTracker as LitestarTracker
from snowplow_aio.integrations.litestar import SnowplowPlugin
from tests.integrations.made import LOOK, Trackers, http_scope, request, started, tracked

pytestmark = pytest.mark.anyio

SESSION = "21c2a0dd-892d-42d1-b156-3a9d4e147eef"
COOKIES = (
    f"theme=dark; _sp_id.1fff=c7aadf5c60a5dff9.1399021242.3.1399030000.1399025000.{SESSION}; sp=ecdff4d0"
)
HEADERS = {
    "Host": "shop.example",
    "User-Agent": "Mozilla/5.0",
    "Accept-Language": "da, en-GB;q=0.8",
    "Referer": "https://search.example/?q=shoes",
    "Cookie": COOKIES,
}
WHO = {
    "ip": "203.0.113.50",
    "ua": "Mozilla/5.0",
    "lang": "da",
    "duid": "c7aadf5c60a5dff9",
    "sid": SESSION,
    "vid": "3",
    "tnuid": "ecdff4d0",
}
WHERE = {"url": "http://shop.example/shoes?size=43", "refr": "https://search.example/?q=shoes"}


def shoes(**fields: Any) -> dict[str, Any]:
    return http_scope("/shoes?size=43", **{"headers": HEADERS} | fields)


def users(trackers: Trackers) -> list[tuple[str, str | None]]:
    """Return the kind and the visitor of each event."""
    return [(event.get("se_ac", event["e"]), event.get("uid")) for event in trackers.events]


# --- what a request says


async def test_an_event_is_about_the_visitor_and_the_page_of_the_request() -> None:
    (event,) = await tracked(shoes())
    assert event == event | WHO | WHERE


async def test_without_a_request_the_events_are_as_they_were(trackers: Trackers) -> None:
    await tracked(shoes(), trackers=trackers)
    await trackers().track(LOOK)
    assert trackers.events[-1].keys() & {*WHO, *WHERE, "uid"} == set()
    assert current_subject() is None


@pytest.mark.parametrize(
    ("header", "lang"),
    [
        ("en", "en"),
        ("en-US,en;q=0.9", "en-US"),
        ("en;q=0.8, da;q=0.9", "da"),
        ("en;q=0.8, da; q=1.0", "da"),
        ("*, fr;q=0.5", "fr"),
        ("fr;q=0", None),
        ("fr;q=nan, en;q=0.1", "en"),
        ("<script>, en;q=0.5", "en"),
        ("", None),
        ("x" * 300, None),
        (",;,;=", None),
    ],
)
async def test_the_language_is_the_preferred_one(header: str, lang: str | None) -> None:
    (event,) = await tracked(http_scope(headers={"Accept-Language": header}))
    assert event.get("lang") == lang


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"headers": HEADERS | {"Referer": f"https://{'x' * 256}/"}}, "refr"),
        ({"headers": HEADERS | {"Accept-Language": "x" * 60_000}}, "lang"),
        ({"headers": HEADERS | {"Host": "shop.example/elsewhere?"}}, "url"),
        ({"headers": HEADERS | {"Host": "ada@shop.example"}}, "url"),
        ({"headers": HEADERS | {"Host": "x" * 256}}, "url"),
        ({"headers": {name: value for name, value in HEADERS.items() if name != "Host"}}, "url"),
        ({"headers": HEADERS | {"Cookie": COOKIES.replace("sp=e", "sp=" + "e" * 200)}}, "tnuid"),
        ({"headers": HEADERS | {"Cookie": COOKIES.replace(SESSION, "none")}}, "sid"),
        ({"headers": HEADERS | {"Cookie": COOKIES.replace(".3.", ".-3.")}}, "vid"),
    ],
)
@pytest.mark.parametrize("switch", [enable_validation, disable_validation])
async def test_what_breaks_a_rule_is_left_out_and_the_rest_is_sent(
    switch: Callable[[], None], fields: dict[str, Any], key: str
) -> None:
    switch()
    try:
        (event,) = await tracked(shoes(**fields))
    finally:
        enable_validation()
    assert event.keys() & {*WHO, *WHERE} == {*WHO, *WHERE} - {key}


@pytest.mark.parametrize(
    ("fields", "key", "sent"),
    [
        ({"headers": HEADERS | {"User-Agent": "x" * 1001}}, "ua", "x" * 1000),
        ({"headers": HEADERS | {"User-Agent": "\t" * 999}}, "ua", "unknown"),
        ({"headers": HEADERS | {"User-Agent": "x" + "\t" * 998 + "x"}}, "ua", "x" + "\t" * 249),
        ({"headers": HEADERS | {"User-Agent": "x" * 5_000_000}}, "ua", "x" * 1000),
        ({"headers": HEADERS | {"User-Agent": ""}}, "ua", "unknown"),
        ({"headers": HEADERS | {"User-Agent": " "}}, "ua", "unknown"),
        ({"headers": HEADERS | {"User-Agent": "\x01"}}, "ua", "unknown"),
        (
            {"headers": {name: value for name, value in HEADERS.items() if name != "User-Agent"}},
            "ua",
            "unknown",
        ),
        ({"client": ("testclient", 1)}, "ip", "unknown"),
        ({"client": None}, "ip", "unknown"),
    ],
)
@pytest.mark.parametrize("switch", [enable_validation, disable_validation])
async def test_what_the_collector_would_take_from_the_service_is_cut_or_said_to_be_unknown(
    switch: Callable[[], None], fields: dict[str, Any], key: str, sent: str
) -> None:
    """For an event without address or user agent, the collector records those of its sender."""
    switch()
    try:
        (event,) = await tracked(shoes(**fields))
    finally:
        enable_validation()
    assert {name: event[name] for name in (*WHO, *WHERE)} == WHO | WHERE | {key: sent}


async def test_of_two_cookies_with_one_name_the_nearer_counts() -> None:
    (event,) = await tracked(http_scope(headers=[("Cookie", 'sp="near"; sp=far'), ("Cookie", "sp=third; ;")]))
    assert event["tnuid"] == "near"


async def test_cookies_may_have_other_names() -> None:
    headers = {"Cookie": COOKIES.replace("_sp_", "_ab_").replace("sp=", "nw=")}
    (event,) = await tracked(http_scope(headers=headers), cookie_prefix="_ab_", network_cookie="nw")
    assert (event["duid"], event["tnuid"]) == (WHO["duid"], WHO["tnuid"])


async def test_headers_that_are_no_ascii_are_read() -> None:
    scope = http_scope()
    scope["headers"] = [(b"user-agent", "Zürich".encode()), (b"cookie", b"sp=Z\xfcrich")]
    (event,) = await tracked(scope)
    assert (event["ua"], event["tnuid"]) == ("Zürich", "Zürich")


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"raw_path": b"/sh%C3%B8es", "path": "/shøes"}, "http://shop.example/sh%C3%B8es?size=43"),
        ({"raw_path": None, "path": "/shøes a"}, "http://shop.example/sh%C3%B8es%20a?size=43"),
        ({"raw_path": b"/shoes?size=43"}, "http://shop.example/shoes?size=43"),
        ({"query_string": b""}, "http://shop.example/shoes"),
        ({"scheme": "https"}, "https://shop.example/shoes?size=43"),
    ],
)
async def test_the_page_is_what_was_asked_for_as_it_was_asked(fields: dict[str, Any], url: str) -> None:
    (event,) = await tracked(shoes(**fields))
    assert event["url"] == url


# --- which events get the page


@pytest.mark.parametrize(
    ("event", "added"),
    [
        (ScreenView(id_="s"), WHERE),
        (PageView(page_url="https://other.example/"), {"url": "https://other.example/"}),
        (PageView(page_url=WHERE["url"]), WHERE),
        (PageView(page_url=WHERE["url"], referrer=""), WHERE),
        (PagePing(page_url=WHERE["url"], min_x=1), WHERE),
        (
            PageView(page_url=WHERE["url"], referrer="https://a.example/"),
            WHERE | {"refr": "https://a.example/"},
        ),
    ],
)
async def test_an_event_that_has_a_page_keeps_it(event: Any, added: dict[str, str]) -> None:
    (fields,) = await tracked(shoes(), event)
    assert {key: fields[key] for key in ("url", "refr") if key in fields} == added


async def test_what_follows_an_event_is_about_the_same_visitor_and_page() -> None:
    items: Any = [{"sku": "a", "price": 1, "quantity": 1}]
    events = await tracked(shoes(), EcommerceTransaction(order_id="o", total_value=1, items=items))
    assert [event["e"] for event in events] == ["tr", "ti"]
    assert [event | WHO | WHERE for event in events] == events


# --- who says what


async def test_a_nearer_subject_goes_before_the_visitor_and_the_trackers_own_behind() -> None:
    trackers = Trackers()
    tracker = trackers(subject=Subject(lang="sv", timezone="Europe/Stockholm"))

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        await tracker.track(LOOK)
        with use_subject(lang="nb", ip_address=CLEAR):
            await tracker.track(LOOK)
            await tracker.track(LOOK, subject=Subject(lang="fi"))

    await request(SnowplowMiddleware(app), shoes())
    assert [(event["lang"], event["tz"], event.get("ip")) for event in trackers.events] == [
        ("da", "Europe/Stockholm", WHO["ip"]),
        ("nb", "Europe/Stockholm", None),
        ("fi", "Europe/Stockholm", None),
    ]


async def test_the_current_subject_is_the_visitor_with_what_is_bound() -> None:
    found: list[Subject | None] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        found.append(current_subject())
        with use_subject(lang="nb"):
            found.append(current_subject())

    await request(SnowplowMiddleware(app, user_id=lambda _scope: "ada"), shoes())
    assert [(it.user_id, it.lang, it.domain_session_index) for it in found if it is not None] == [
        ("ada", "da", 3),
        ("ada", "nb", 3),
    ]
    assert current_subject() is None


# --- the application's own user id


@pytest.mark.parametrize(
    ("answer", "uid"),
    [("ada", "ada"), (42, "42"), (UUID(SESSION), SESSION), (None, None), ("", None)],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_the_application_says_who_the_user_is(answer: Any, uid: str | None, *, is_async: bool) -> None:
    async def hook(_scope: Any) -> Any:
        return answer

    user_id: Any = hook if is_async else lambda _scope: answer
    (event,) = await tracked(shoes(), user_id=user_id)
    assert event.get("uid") == uid
    assert event == event | WHO


class Who:
    async def __call__(self, scope: Any) -> str:
        return str(scope["path"])


async def test_a_hook_gets_the_scope_and_may_be_an_object() -> None:
    (event,) = await tracked(shoes(), user_id=Who())
    assert event["uid"] == "/shoes"
    (event,) = await tracked(shoes(), user_id=lambda scope: scope["path"])
    assert event["uid"] == "/shoes"


async def test_the_headers_of_a_scope_may_be_any_iterable() -> None:
    scope = shoes()
    (expected,) = await tracked(shoes())
    (event,) = await tracked(scope | {"headers": iter(scope["headers"])})
    who = ("ua", "lang", "ip", "duid", "tnuid")
    assert [event.get(key) for key in who] == [expected.get(key) for key in who]
    assert event["ua"]


def failing(_scope: Any) -> Any:
    raise RuntimeError("no database")


async def failing_later(_scope: Any) -> Any:
    raise RuntimeError("no database")


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (failing, "the hook user_id failed"),
        (failing_later, "the hook user_id failed"),
        (
            lambda _scope: asyncio.sleep(0, "ada"),
            "the hook user_id returned an awaitable: it must be a coroutine function",
        ),
        (lambda _scope: "u" * 256, "the hook user_id returned no user id"),
        (lambda _scope: "\ud800", "the hook user_id returned no user id"),
        (lambda _scope: True, "the hook user_id returned no user id"),
        (lambda _scope: object(), "the hook user_id returned no user id"),
    ],
    ids=["raises", "raises later", "only returns an awaitable", "too long", "no text", "a bool", "an object"],
)
async def test_a_hook_that_fails_is_logged_and_fails_no_request(
    caplog: pytest.LogCaptureFixture, hook: Any, message: str
) -> None:
    (event,) = await tracked(shoes(), user_id=hook)
    assert "uid" not in event
    assert event == event | WHO
    assert message in caplog.text


async def test_a_hook_that_fails_at_each_request_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await tracker_of(scope).track(StructuredEvent(category="a", action="b"))

    trackers = Trackers()
    service = SnowplowMiddleware(app, trackers, user_id=failing)
    for _ in range(3):
        await request(service, shoes())
    assert len(trackers.events) == 3
    assert caplog.text.count("the hook user_id failed") == 1


async def test_a_function_is_called_when_it_is_needed_and_until_it_knows() -> None:
    calls: list[str] = []
    trackers = Trackers()

    def user_id(scope: Any) -> str | None:
        user: str | None = scope.get("user")
        calls.append(user or "")
        return user

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        assert calls == []
        await tracker_of(scope).track(StructuredEvent(category="a", action="before"))
        scope["user"] = "ada"
        for action in ("after", "again"):
            await tracker_of(scope).track(StructuredEvent(category="a", action=action))

    await request(SnowplowMiddleware(app, trackers, user_id=user_id), shoes())
    assert users(trackers) == [("before", None), ("after", "ada"), ("again", "ada")]
    assert calls == ["", "ada"]


class Backend(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> tuple[AuthCredentials, SimpleUser]:
        return AuthCredentials(), SimpleUser(conn.headers["x-user"])


@pytest.mark.parametrize("is_inside", [False, True])
async def test_a_function_finds_who_an_inner_middleware_has_authenticated(*, is_inside: bool) -> None:
    """A coroutine function is called before the application, so the authentication must be outside."""
    trackers = Trackers()

    async def endpoint(request: Request) -> PlainTextResponse:
        await tracker_of(request).track(LOOK)
        return PlainTextResponse("")

    async def user_id(scope: Any) -> str:
        return str(scope["user"].display_name)

    app = Starlette(routes=[Route("/", endpoint)])
    hook: Any = user_id if is_inside else lambda scope: scope["user"].display_name
    snowplow: Any = (SnowplowMiddleware, {"tracker": trackers, "user_id": hook})
    authentication: Any = (AuthenticationMiddleware, {"backend": Backend()})
    for middleware, options in (snowplow, authentication) if is_inside else (authentication, snowplow):
        app.add_middleware(middleware, **options)
    await request(app, http_scope(headers={"X-User": "ada"}))
    assert users(trackers) == [("look", "ada")]


# --- wherever it is tracked


def shop(trackers: Trackers) -> FastAPI:
    """Return an application that tracks everywhere in FastAPI."""
    app = FastAPI(lifespan=lifespan(trackers))
    app.add_middleware(SnowplowMiddleware, user_id=lambda scope: dict(scope["headers"])[b"x-user"].decode())

    def event(action: str) -> StructuredEvent:
        return StructuredEvent(category="shop", action=action)

    @app.get("/everywhere")
    async def everywhere(tracker: CurrentTracker, tasks: BackgroundTasks) -> StreamingResponse:
        await tracker.track(event("async"))
        await asyncio.create_task(asyncio.sleep(0))
        await asyncio.create_task(tracker.track(event("task")))
        tasks.add_task(tracker.track, event("background"))
        tasks.add_task(tracker.track_nowait, event("background thread"))

        async def body() -> AsyncGenerator[str]:
            for number in range(2):
                await asyncio.sleep(0)
                await tracker.track(event(f"stream {number}"))
                yield "x"

        return StreamingResponse(body(), background=tasks)

    @app.get("/sync")
    def sync(tracker: CurrentTracker) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return tracker.track_nowait(event("sync"))

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, tracker: CurrentTracker) -> None:
        await websocket.accept()
        await tracker.track(event("websocket"))
        await websocket.close()

    return app


async def test_every_place_of_fastapi_tracks_about_the_visitor(trackers: Trackers) -> None:
    async with started(app := shop(trackers)):
        for path in ("/everywhere", "/sync"):
            await request(app, http_scope(path, headers={**HEADERS, "X-User": "ada"}))
        scope = {"type": "websocket", "scheme": "ws", "subprotocols": []}
        await request(app, http_scope("/ws", headers={**HEADERS, "X-User": "ada"}, **scope))
    assert sorted(users(trackers)) == [
        ("async", "ada"),
        ("background", "ada"),
        ("background thread", "ada"),
        ("stream 0", "ada"),
        ("stream 1", "ada"),
        ("sync", "ada"),
        ("task", "ada"),
        ("websocket", "ada"),
    ]
    assert [event | WHO for event in trackers.events] == trackers.events


async def test_a_thousand_requests_at_once_never_mix(trackers: Trackers) -> None:
    async with started(app := shop(trackers)):
        paths = ["/everywhere", "/everywhere", "/everywhere", "/sync"] * 250
        await asyncio.gather(
            *(
                request(
                    app,
                    http_scope(
                        path,
                        headers={"User-Agent": f"browser {number}", "X-User": f"u{number}"},
                        client=(f"203.0.{number // 250}.{number % 250}", 1),
                    ),
                )
                for number, path in enumerate(paths)
            )
        )
    assert len(trackers.events) == 750 * 6 + 250
    for event in trackers.events:
        number = int(event["uid"].removeprefix("u"))
        assert event["ua"] == f"browser {number}"
        assert event["ip"] == f"203.0.{number // 250}.{number % 250}"
    assert len({event["uid"] for event in trackers.events}) == 1000


async def test_a_task_that_outlives_its_request_is_about_its_visitor_still(trackers: Trackers) -> None:
    ended, tasks = asyncio.Event(), list[asyncio.Task[str]]()

    async def track_later(tracker: Any) -> str:
        await ended.wait()
        event_id: str = await tracker.track(LOOK)
        return event_id

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        scope["user"] = "ada"
        tasks.append(asyncio.create_task(track_later(tracker_of(scope))))

    middleware = SnowplowMiddleware(app, trackers, user_id=lambda scope: scope["user"])
    await request(middleware, shoes())
    ended.set()
    await tasks[0]
    (event,) = trackers.events
    assert event == event | WHO | WHERE | {"uid": "ada"}


class Scope(dict[str, Any]):
    """A scope that can have weak references."""


async def test_nothing_keeps_a_request_alive(trackers: Trackers) -> None:
    """Not even an event, or a task that goes on with the context of the request."""
    gone, tasks = asyncio.Event(), list[asyncio.Task[Any]]()
    scope = Scope(shoes())
    watched = weakref.ref(scope)

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        tasks.append(asyncio.create_task(gone.wait()))
        await tracker_of(scope).track(LOOK)

    await request(SnowplowMiddleware(app, trackers, user_id=lambda _scope: "ada"), scope)
    del scope
    gc.collect()
    assert watched() is None
    assert len(trackers.events) == 1
    gone.set()
    await tasks[0]


# --- aiohttp, Litestar, Quart


async def test_every_place_of_aiohttp_tracks_about_the_visitor(trackers: Trackers) -> None:
    alive: list[weakref.ref[web.Request]] = []
    gone, tasks = asyncio.Event(), list[asyncio.Task[Any]]()

    def event(action: str) -> StructuredEvent:
        return StructuredEvent(category="shop", action=action)

    async def everywhere(request: web.Request) -> web.Response:
        alive.append(weakref.ref(request))
        tasks.append(asyncio.create_task(gone.wait()))
        tracker = for_aiohttp.tracker_of(request)
        await tracker.track(event("async"))
        await asyncio.to_thread(tracker.track_nowait, event("thread"))

        async def body() -> AsyncGenerator[bytes]:
            await tracker.track(event("body"))
            yield b"x"

        return web.Response(body=body())

    async def socket(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for _ in websocket:
            await for_aiohttp.tracker_of(request).track(event("websocket"))
            await websocket.close()
        return websocket

    app = web.Application()
    app.router.add_get("/shoes", everywhere)
    app.router.add_get("/ws", socket)
    for_aiohttp.setup(
        app, trackers, user_id=lambda request: request.headers["X-User"], trusted_proxies=["127.0.0.1"]
    )
    sent = {**HEADERS, "X-User": "ada", "X-Forwarded-For": WHO["ip"]}
    async with TestClient(TestServer(app)) as client:
        await client.get("/shoes?size=43", headers=sent)
        async with client.ws_connect("/ws", headers=sent) as websocket:
            await websocket.send_str("x")
            assert (await websocket.receive()).type == WSMsgType.CLOSE
        assert users(trackers) == [(action, "ada") for action in ("async", "thread", "body", "websocket")]
        assert [event | WHO for event in trackers.events] == trackers.events
        assert trackers.events[0] == trackers.events[0] | WHERE
    gc.collect()
    assert [it() for it in alive] == [None]
    gone.set()
    await tasks[0]


async def test_requests_on_one_connection_to_aiohttp_never_mix(trackers: Trackers) -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        await for_aiohttp.tracker_of(request).track(StructuredEvent(category="a", action=request.path))
        return web.Response()

    app = web.Application()
    app.router.add_get("/{name}", handler)
    for_aiohttp.setup(app, trackers, user_id=lambda request: request.query.get("user"))
    async with TestClient(TestServer(app)) as client:
        for path in ("/a?user=ada", "/b", "/c?user=cid"):
            await client.get(path)
    assert users(trackers) == [("/a", "ada"), ("/b", None), ("/c", "cid")]


async def test_a_coroutine_function_of_aiohttp_knows_the_user(trackers: Trackers) -> None:
    async def handler(request: web.Request) -> web.Response:
        await for_aiohttp.tracker_of(request).track(LOOK)
        return web.Response()

    async def user_id(request: web.Request) -> str:
        return request.path

    app = web.Application()
    app.router.add_get("/ada", handler)
    for_aiohttp.setup(app, trackers, user_id=user_id)
    async with TestClient(TestServer(app)) as client:
        await client.get("/ada")
    assert users(trackers) == [("look", "/ada")]


async def test_litestar_tracks_about_the_visitor(trackers: Trackers) -> None:
    @litestar.get("/shoes")
    async def handler(tracker: LitestarTracker) -> str:
        return await tracker.track(LOOK)

    @litestar.get("/sync", sync_to_thread=True)
    def sync_handler(tracker: LitestarTracker) -> str:
        return tracker.track_nowait(LOOK)

    plugin = SnowplowPlugin(trackers, user_id=lambda _scope: "ada")
    async with AsyncTestClient(litestar.Litestar([handler, sync_handler], plugins=[plugin])) as client:
        for path in ("/shoes", "/sync"):
            assert (await client.get(path, headers=HEADERS)).status_code == 200
    assert users(trackers) == [("look", "ada"), ("look", "ada")]
    without_address = {key: value for key, value in WHO.items() if key != "ip"}
    assert [event | without_address for event in trackers.events] == trackers.events


async def test_quart_tracks_about_the_visitor(trackers: Trackers) -> None:
    import quart

    app = Quart("shop")

    @app.get("/shoes")
    async def endpoint() -> str:
        return await tracker_of(quart.request).track(LOOK)

    app.asgi_app = SnowplowMiddleware(app.asgi_app, trackers)  # type: ignore[method-assign] # as Quart documents
    async with app.test_app() as running:
        await running.test_client().get("/shoes", headers=HEADERS)
    (event,) = trackers.events
    assert (event["ua"], event["duid"]) == (WHO["ua"], WHO["duid"])


# --- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user_id": "ada"}, r"^user_id: must be a function of the request, got 'ada'$"),
        ({"consent": True}, r"^consent: must be a function of the request, got True$"),
        ({"privacy_signals": 1}, r"^privacy_signals: must be True or False, got 1$"),
        ({"anonymous": None}, r"^anonymous: must be True or False, got None$"),
        ({"opt_out_cookie": ""}, r"^opt_out_cookie: must be the name of a cookie, or None, got ''$"),
        ({"without_consent": "all"}, r"^without_consent: must be 'nothing' or 'anonymous', got 'all'$"),
        ({"cookie_prefix": None}, r"^cookie_prefix: must be a string, got None$"),
        ({"network_cookie": b"sp"}, r"^network_cookie: must be a string, got b'sp'$"),
        ({"page_views": "all"}, r"^page_views: must be a PageViews, True, False or None, got 'all'$"),
    ],
)
@pytest.mark.parametrize(
    "integrate",
    [
        SnowplowMiddleware,
        lambda tracker, **options: for_aiohttp.setup(web.Application(), tracker, **options),
        SnowplowPlugin,
    ],
    ids=["middleware", "aiohttp", "litestar"],
)
def test_a_wrong_option_is_refused_at_once(
    trackers: Trackers, integrate: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        integrate(trackers, **options)
    with pytest.raises(TypeError, match="walrus"):
        integrate(trackers, walrus=1)


async def test_no_user_data_is_logged_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await tracked(shoes(), user_id=lambda _scope: "secret" * 100)
    assert "secret" not in caplog.text
    assert "203.0.113.50" not in caplog.text
