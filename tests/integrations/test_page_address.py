"""The address of a page is chosen by its visitor: it is mended and tracked, and no request fails for it."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from yarl import URL

from snowplow_aio import PageView
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import SnowplowMiddleware, page_url_of, tracker_of
from snowplow_aio.integrations.page_views import PageViews
from tests.integrations.made import LOOK, Trackers, http_scope, request, started, tracked

pytestmark = pytest.mark.anyio

SHOP = "http://shop.example"
HEADERS = {"Host": "shop.example"}
LONG = "x" * 10_000

MENDED: list[tuple[str, str]] = [
    ("/shoes?size=43", "/shoes?size=43"),
    ("/?_sp=a.b", "/"),
    ("/?size=43&_sp=a.b&color=red", "/?size=43&color=red"),
    ("/?_sp=a.b;size=43", "/?size=43"),
    ("/?%5Fsp=a.b&size=43", "/?size=43"),
    ("/?_sp=a.1600000000000&size=43", "/?_sp=a.1600000000000&size=43"),
    ("/?_sp=a.99999999999999999999", "/"),
    (f"/{'p' * 3000}", f"/{'p' * 2999}"),
    (f"/{'p' * 3000}?size=43", f"/{'p' * 2999}?size=43"),
    (f"/?q={LONG}", f"/?q={'x' * 5998}"),
    (f"/?size=43&q={LONG}", "/?size=43"),
    (f"/?size=43&q={LONG}&color=red", "/?size=43"),
    (f"/?_sp=a.b&size=43&q={LONG}", "/?size=43"),
    (f"/{'p' * 4000}?q={LONG}", f"/{'p' * 2999}?q={'x' * 5998}"),
    # An escape is not cut in half.
    (f"/{'p' * 2998}%20", f"/{'p' * 2998}"),
    (f"/{'p' * 2997}%20", f"/{'p' * 2997}"),
    # What a proxy is asked.
    (f"{SHOP}/shoes", "/shoes"),
    ("//evil.example/shoes", "//evil.example/shoes"),
]
mended = pytest.mark.parametrize(
    ("asked", "sent"), MENDED, ids=[f"{i} {asked[:20]}" for i, (asked, _) in enumerate(MENDED)]
)


def scope_of(target: str, **fields: Any) -> dict[str, Any]:
    path, _, query = target.partition("?")
    scope = http_scope("/", headers=HEADERS, **fields)
    return scope | {"path": path, "raw_path": path.encode(), "query_string": query.encode()}


def page_app() -> Starlette:
    async def page(request: Request) -> HTMLResponse:
        await tracker_of(request).track_page_view(page_url_of(request), "by hand")
        return HTMLResponse("")

    return Starlette(routes=[Route("/{path:path}", page)])


@mended
async def test_an_address_is_mended_and_tracked(trackers: Trackers, asked: str, sent: str) -> None:
    """As the page of any event, as a page view of the service, and as one of the application."""
    app = page_app()
    page_views = PageViews()
    app.add_middleware(SnowplowMiddleware, tracker=trackers, page_views=page_views)
    async with started(app):
        await request(app, scope_of(asked))
    (event,) = await tracked(scope_of(asked))
    assert [event["url"] for event in (*trackers.events, event)] == [SHOP + sent] * len(
        [*trackers.events, event]
    )
    # A target that is no path finds no route of Starlette's, and so is no page.
    assert len(trackers.events) == (2 if asked.startswith("/") else 0)
    assert page_views.untracked == 0


@pytest.mark.parametrize(
    ("referrer", "sent"),
    [
        (f"https://search.example/{'p' * 7000}?q=shoes", f"https://search.example/{'p' * 5999}?q=shoes"),
        (f"https://search.example/?q={LONG}", f"https://search.example/?q={'x' * 5998}"),
        (f"https://search.example/?q=shoes#{LONG}", "https://search.example/?q=shoes"),
        ("android-app://com.search", "android-app://com.search"),
        (f"https://{LONG}/", None),
        (f"{LONG}:", None),
    ],
)
async def test_a_referrer_is_mended_too(referrer: str, sent: str | None) -> None:
    (event,) = await tracked(http_scope("/", headers=HEADERS | {"Referer": referrer}))
    assert event.get("refr") == sent


PARTS = st.text("ab/?&;=.%_sp#|{}1\t \x01é𝄞", max_size=30)


@settings(deadline=None)
@given(st.lists(st.one_of(PARTS, st.sampled_from(["_sp=", "&_sp=a.b", LONG, "%", "%C3%A9", "{a}" * 900]))))
def test_whatever_is_asked_for_is_an_address_that_a_page_view_takes(parts: list[str]) -> None:
    scope = http_scope("/", headers=HEADERS)
    target = "/" + "".join(parts)
    path, _, query = target.encode("utf-8").partition(b"?")
    url = page_url_of(scope | {"raw_path": path, "query_string": query})
    assert PageView(page_url=url).page_url == url
    assert url.startswith(f"{SHOP}/")


@pytest.mark.parametrize("host", ["", "x" * 300, "a b", "a/b", "a?b", "ada@shop.example"])
@pytest.mark.parametrize("target", ["/shoes", "//evil.example/shoes", f"/{LONG}", "*"])
async def test_without_a_host_it_is_the_path(host: str, target: str) -> None:
    scope = http_scope("/", headers={"Host": host} if host else {})
    url = page_url_of(scope | {"raw_path": target.encode()})
    expected = {"/shoes": "/shoes", "//evil.example/shoes": "/evil.example/shoes", "*": "/"}
    assert url == expected.get(target, f"/{'x' * 2999}")
    assert PageView(page_url=url).page_url == url


async def test_it_is_the_address_that_the_outermost_proxy_saw(trackers: Trackers) -> None:
    app = page_app()
    app.add_middleware(SnowplowMiddleware, tracker=trackers, trusted_proxies=["10.0.0.0/8"])
    headers = {"Host": "10.1.1.1", "X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "https"}
    async with started(app):
        await request(app, http_scope("/shoes", headers=headers, client=("10.0.0.1", 1)))
    assert [event["url"] for event in trackers.events] == ["https://shop.example/shoes"]


async def test_it_needs_no_middleware(trackers: Trackers) -> None:
    assert page_url_of(scope_of("/shoes?_sp=a.b&size=43")) == f"{SHOP}/shoes?size=43"
    assert page_url_of(Request(scope_of("/shoes"))) == f"{SHOP}/shoes"


async def test_aiohttp_mends_addresses(trackers: Trackers) -> None:
    async def page(request: web.Request) -> web.Response:
        tracker = for_aiohttp.tracker_of(request)
        await tracker.track_page_view(for_aiohttp.page_url_of(request))
        await tracker.track(LOOK)
        return web.Response(text="<p>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    for_aiohttp.setup(app, trackers, page_views=PageViews())
    targets = ["/shoes?_sp=a.b", f"/{'p' * 4000}", "/shoes?size=43"]
    async with TestClient(TestServer(app)) as client:
        for target in targets:
            url = URL(target, encoded=True)
            answer = await client.get(url, headers=HEADERS)
            assert answer.status == 200
    sent = ["/shoes", f"/{'p' * 2999}", "/shoes?size=43"]
    assert [event["url"] for event in trackers.events] == [SHOP + path for path in sent for _ in range(3)]
