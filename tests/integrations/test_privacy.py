"""Visitors who do not want to be tracked: nothing is tracked, or anonymous events only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from snowplow_aio import (
    EcommerceTransaction,
    InvalidEventError,
    PageView,
    StructuredEvent,
    Subject,
    current_subject,
    use_subject,
)
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan, tracker_of
from snowplow_aio.integrations.page_views import PageViews
from snowplow_aio.model.subject import IDENTIFYING_KEYS
from tests.integrations.made import LOOK, Trackers, http_scope, request, started, tracked

pytestmark = pytest.mark.anyio

COOKIE = "sp=ecdff4d0; _sp_id.1fff=c7aadf5c60a5dff9.1.3.4.5.21c2a0dd-892d-42d1-b156-3a9d4e147eef"


def visit(**headers: str) -> dict[str, Any]:
    sent = {"Host": "shop.example", "User-Agent": "Mozilla/5.0", "Cookie": COOKIE}
    return http_scope("/", headers=sent | {name.replace("_", "-"): value for name, value in headers.items()})


async def yes(_scope: Any) -> bool:
    return True


async def no(_scope: Any) -> bool:
    return False


def failing(_scope: Any) -> bool:
    raise RuntimeError("no database")


async def failing_later(_scope: Any) -> bool:
    raise RuntimeError("no database")


REFUSALS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "DNT": ({"DNT": "1"}, {}),
    "GPC": ({"Sec_GPC": "1"}, {}),
    "DNT twice, joined": ({"DNT": "1,1"}, {}),
    "cookies twice, joined by a server": (
        {"Cookie": f"{COOKIE},no_thanks=1"},
        {"opt_out_cookie": "no_thanks"},
    ),
    "GPC and consent": ({"Sec_GPC": "1"}, {"consent": lambda _scope: True}),
    "opt-out": ({"Cookie": f"{COOKIE}; no_thanks=1"}, {"opt_out_cookie": "no_thanks"}),
    "empty opt-out": ({"Cookie": f"no_thanks; {COOKIE}"}, {"opt_out_cookie": "no_thanks"}),
    "no consent": ({}, {"consent": lambda _scope: False}),
    "no answer": ({}, {"consent": lambda _scope: None}),
    "no consent later": ({}, {"consent": no}),
    "consent fails": ({}, {"consent": failing}),
    "consent fails later": ({}, {"consent": failing_later}),
    "consent not awaited": ({}, {"consent": lambda scope: no(scope)}),  # noqa: PLW0108 - is no coroutine function
}
ALLOWANCES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "nothing said": ({}, {}),
    "DNT off": ({"DNT": "0", "Sec_GPC": "0"}, {}),
    "signals ignored": ({"DNT": "1", "Sec_GPC": "1"}, {"privacy_signals": False}),
    "not opted out": ({}, {"opt_out_cookie": "no_thanks"}),
    "consent": ({}, {"consent": lambda _scope: True}),
    "consent later": ({}, {"consent": yes}),
}
refusals = pytest.mark.parametrize(("headers", "options"), REFUSALS.values(), ids=REFUSALS)
allowances = pytest.mark.parametrize(("headers", "options"), ALLOWANCES.values(), ids=ALLOWANCES)


@allowances
async def test_who_does_not_object_is_tracked(headers: dict[str, str], options: dict[str, Any]) -> None:
    (event,) = await tracked(visit(**headers), **options)
    assert event.keys() >= {"ip", "duid", "tnuid", "sid", "vid", "ua"}


@refusals
async def test_who_objects_is_not_tracked(headers: dict[str, str], options: dict[str, Any]) -> None:
    assert await tracked(visit(**headers), **options) == []


@refusals
async def test_or_is_tracked_anonymously(headers: dict[str, str], options: dict[str, Any]) -> None:
    trackers = Trackers()
    await tracked(visit(**headers), trackers=trackers, without_consent="anonymous", **options)
    (payload,) = trackers.emitters[0].payloads
    assert payload.anonymous
    assert payload.keys() & IDENTIFYING_KEYS == set()
    assert (payload["ua"], payload["url"]) == ("Mozilla/5.0", "http://shop.example/")


async def test_everything_may_be_anonymous() -> None:
    trackers = Trackers()
    await tracked(visit(), trackers=trackers, anonymous=True, user_id=lambda _scope: "ada")
    (payload,) = trackers.emitters[0].payloads
    assert payload.anonymous
    assert payload.keys() & IDENTIFYING_KEYS == set()


Way = Callable[[Any], Any]
WAYS: dict[str, Way] = {
    "track": lambda tracker: tracker.track(LOOK),
    "track with a subject": lambda tracker: tracker.track(LOOK, subject=Subject(user_id="ada")),
    "track without anonymity": lambda tracker: tracker.track(LOOK, anonymous=False),
    "track_nowait": lambda tracker: asyncio.sleep(0, tracker.track_nowait(LOOK)),
    "track_and_confirm": lambda tracker: tracker.track_and_confirm(LOOK, timeout=5),
    "a chain": lambda tracker: tracker.track_page_view("https://a.example/").track_struct_event("a", "b"),
    "a transaction": lambda tracker: tracker.track(EcommerceTransaction(order_id="o", total_value=1)),
    "a thread": lambda tracker: asyncio.to_thread(tracker.track_nowait, LOOK),
    "a task": lambda tracker: asyncio.create_task(tracker.track(LOOK)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_the_refusal_holds_however_an_event_is_tracked(trackers: Trackers, way: Way) -> None:
    ids: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        tracker = tracker_of(scope)
        ids.append(await way(tracker))
        with use_subject(user_id="ada"):
            ids.append(await way(tracker))

    await request(SnowplowMiddleware(app, trackers), visit(DNT="1"))
    assert trackers.events == []
    assert trackers.made[0].stats()["memory"].accepted == 0
    assert [len(event_id) for event_id in ids] == [36, 36]


async def test_what_is_wrong_with_an_event_is_said_all_the_same(trackers: Trackers) -> None:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await tracker_of(scope).track(LOOK, event_id="1")

    with pytest.raises(InvalidEventError, match=r"^event_id: must be a UUID"):
        await request(SnowplowMiddleware(app, trackers), visit(DNT="1"))


async def test_the_refusal_of_one_visitor_is_nobody_elses(trackers: Trackers) -> None:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)
        await tracker_of(scope).track(StructuredEvent(category="a", action=scope["path"]))

    middleware = SnowplowMiddleware(app, trackers)
    paths = [f"/{number}" for number in range(100)]
    await asyncio.gather(
        *(
            request(middleware, http_scope(path, headers={"DNT": str(number % 2)}))
            for number, path in enumerate(paths)
        )
    )
    await trackers.made[0].track(LOOK)
    assert [event["se_ac"] for event in trackers.events] == [*paths[::2], "look"]


async def test_no_hook_is_asked_who_somebody_is_who_may_not_be_tracked(trackers: Trackers) -> None:
    asked: list[str] = []

    async def later(_scope: Any) -> str:
        asked.append("later")
        return "ada"

    def now(_scope: Any) -> str:
        asked.append("now")
        return "ada"

    async def app(_scope: Any, _receive: Any, _send: Any) -> None: ...

    for hook in (later, now):
        await request(SnowplowMiddleware(app, trackers, user_id=hook, consent=no), visit())
    assert asked == []


async def test_a_page_view_of_somebody_who_objects_is_not_tracked(trackers: Trackers) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
        )
        await send({"type": "http.response.body"})

    middleware = SnowplowMiddleware(app, trackers, page_views=PageViews())
    await request(middleware, visit(DNT="1"))
    assert trackers.events == []
    await request(middleware, visit())
    assert [event["e"] for event in trackers.events] == ["pv"]


async def test_aiohttp_heeds_the_visitor_too(trackers: Trackers) -> None:
    async def handler(request: web.Request) -> web.Response:
        await for_aiohttp.tracker_of(request).track(PageView(page_url="https://a.example/"))
        return web.Response()

    async def consent(request: web.Request) -> bool:
        return "consent" in request.query

    app = web.Application()
    app.router.add_get("/", handler)
    for_aiohttp.setup(app, trackers, consent=consent, without_consent="anonymous")
    async with TestClient(TestServer(app)) as client:
        for path, headers in (("/", {}), ("/?consent", {}), ("/?consent", {"Sec-GPC": "1"})):
            await client.get(path, headers=headers)
    assert [payload.anonymous for payload in trackers.emitters[0].payloads] == [True, False, True]


# --- requests within requests, and middlewares that ours has not seen yet


async def test_an_inner_application_that_fails_leaves_the_outer_visitor_bound() -> None:
    """A gateway asks another application in the same process."""
    made = Trackers()

    async def fails(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError("inner")

    inner = SnowplowMiddleware(fails, made, user_id=lambda _scope: "inner user")

    async def asks(scope: Any, _receive: Any, _send: Any) -> None:
        with pytest.raises(ValueError, match="inner"):
            await request(inner, http_scope("/inner"))
        await tracker_of(scope).track(LOOK)

    outer = SnowplowMiddleware(asks, made, user_id=lambda _scope: "outer user")
    await request(outer, visit())
    await request(outer, visit(DNT="1"))

    assert [event["uid"] for event in made.events] == ["outer user"]


async def test_the_first_visitor_who_objects_is_not_tracked_outside_of_our_middleware_either() -> None:
    """No request has reached our middleware before, and the lifespan belongs to the outer application."""
    made = Trackers()

    class Refusing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Any) -> Response:
            await tracker_of(request).track(LOOK)
            return Response(status_code=401)

    inner = Starlette(middleware=[Middleware(Refusing), Middleware(SnowplowMiddleware)])
    app = Starlette(routes=[Mount("/inner", inner)], lifespan=lifespan(made))
    async with started(app):
        await request(app, http_scope("/inner/page", headers={"Host": "shop.example", "DNT": "1"}))
        await request(app, http_scope("/inner/page", headers={"Host": "shop.example"}))

    assert [event["url"] for event in made.events] == ["http://shop.example/inner/page"]


@pytest.mark.parametrize("without_consent", ["nothing", "anonymous"])
async def test_the_current_subject_has_nothing_of_a_visitor_who_objects(without_consent: Any) -> None:
    subjects: list[Subject | None] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        subjects.append(current_subject())

    middleware = SnowplowMiddleware(
        app, Trackers(), user_id=lambda _scope: "u", without_consent=without_consent
    )
    await request(middleware, visit(DNT="1"))
    await request(middleware, visit())

    assert [subject and subject.user_id for subject in subjects] == [None, "u"]
    assert repr(subjects[0]) == "Subject()"
