"""Global contexts and enrichers see what a request gives to its events, and can take it away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from snowplow_aio import SelfDescribingJson, StructuredEvent, Subject, Tracker
from snowplow_aio.integrations import aiohttp as for_aiohttp
from snowplow_aio.integrations.asgi import SnowplowMiddleware, tracker_of
from snowplow_aio.integrations.page_views import PageViews
from snowplow_aio.tracking.draft import Draft
from tests.integrations.made import Trackers, http_scope, request

pytestmark = pytest.mark.anyio

HEADERS = {
    "Host": "shop.example",
    "User-Agent": "Browser/1.0",
    "Referer": "https://elsewhere.example/?q=secret",
}
CLICK = StructuredEvent(category="shop", action="click")
PLAN = SelfDescribingJson("iglu:com.acme/plan/jsonschema/1-0-0", {"name": "free"})


async def tracking(scope: Any, _receive: Any, send: Any) -> None:
    await tracker_of(scope).track(CLICK)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"page"})


def scope_of(path: str = "/basket", **headers: str) -> dict[str, Any]:
    return http_scope(
        path, headers=HEADERS | headers, query_string=b"token=secret", client=("203.0.113.7", 1)
    )


async def event_of(trackers: Trackers, tracker: Tracker, **headers: str) -> list[dict[str, str]]:
    await request(SnowplowMiddleware(tracking, lambda: tracker), scope_of(**headers))
    return trackers.events


async def test_an_enricher_sees_the_visitor_and_can_leave_the_address_out(trackers: Trackers) -> None:
    seen: list[str | None] = []

    def without_address(draft: Draft) -> Draft:
        seen.append(draft.subject.ip_address)
        draft.subject.set_ip_address(None)
        return draft

    (event,) = await event_of(trackers, trackers().add_enricher(without_address))
    assert seen == ["203.0.113.7"]
    assert "ip" not in event
    assert event["ua"] == "Browser/1.0"


async def test_an_enricher_can_cut_the_page_that_the_request_gives(trackers: Trackers) -> None:
    def without_queries(draft: Draft) -> Draft:
        return draft.replace(page={key: url.partition("?")[0] for key, url in draft.page.items()})

    (event,) = await event_of(trackers, trackers().add_enricher(without_queries))
    assert (event["url"], event["refr"]) == ("http://shop.example/basket", "https://elsewhere.example/")


@pytest.mark.parametrize(
    "page", [{"title": "Basket"}, {"url": "https://" + "h" * 300}, {"url": 3}, {"refr": "\ud800"}], ids=str
)
async def test_a_page_that_is_none_is_a_fault_of_the_enricher(trackers: Trackers, page: Any) -> None:
    def wrong(draft: Draft) -> Draft:
        return draft.replace(page=page)

    tracker = trackers().add_enricher(wrong)
    (event,) = await event_of(trackers, tracker)
    assert event["url"] == "http://shop.example/basket?token=secret"
    assert sum(tracker.enrichment_stats().faults.values()) == 1


async def test_without_functions_and_with_them_an_event_is_about_the_same_visitor(trackers: Trackers) -> None:
    subject = Subject(ip_address="192.0.2.1", lang="en")
    await event_of(trackers, trackers(subject=subject))
    plain, enriched = await event_of(trackers, trackers(subject=subject).add_global_context(PLAN))
    varying = {"eid", "dtm", "cx", "tna"}
    assert {k: v for k, v in plain.items() if k not in varying} == {
        k: v for k, v in enriched.items() if k not in varying
    }
    assert plain["ip"] == "203.0.113.7"


async def test_who_may_not_be_tracked_is_not_by_functions_either(trackers: Trackers) -> None:
    called: list[Draft] = []

    def note(draft: Draft) -> Draft:
        called.append(draft)
        return draft

    assert await event_of(trackers, trackers().add_enricher(note), DNT="1") == []
    assert called == []


async def test_who_is_tracked_anonymously_is_so_through_functions(trackers: Trackers) -> None:
    tracker = trackers().add_global_context(PLAN)
    middleware = SnowplowMiddleware(tracking, lambda: tracker, without_consent="anonymous")
    await request(middleware, scope_of(DNT="1"))
    (event,) = trackers.events
    assert "ip" not in event
    assert "cx" in event


async def test_a_page_view_waits_for_a_coroutine_function(trackers: Trackers) -> None:
    async def plan(_draft: Draft) -> SelfDescribingJson:
        await asyncio.sleep(0)
        return PLAN

    async def page(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"page"})

    tracker = trackers().add_global_context(plan)
    await request(SnowplowMiddleware(page, lambda: tracker, page_views=PageViews()), scope_of())
    (event,) = trackers.events
    assert event["e"] == "pv"
    assert "cx" in event


async def test_aiohttp_closes_after_the_last_page_view(trackers: Trackers) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def plan(_draft: Draft) -> SelfDescribingJson:
        asked.set()
        await may_answer.wait()
        return PLAN

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="page", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    for_aiohttp.setup(app, lambda: trackers().add_global_context(plan), page_views=PageViews())
    async with TestClient(TestServer(app)) as client:
        async with client.get("/") as response:
            assert response.status == 200
        await asked.wait()
        may_answer.set()
    (event,) = trackers.events
    assert "cx" in event
    assert trackers.emitters[0].late == 0
