"""A service under a real server, and its events in the pipeline."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from aiohttp import ClientSession, DummyCookieJar
from fastapi import FastAPI, WebSocket
from fastapi.responses import HTMLResponse

from snowplow_aio import HttpEmitter, StructuredEvent, Tracker
from snowplow_aio.integrations.fastapi import CurrentTracker, PageViews, SnowplowMiddleware, lifespan
from snowplow_aio.micro import Micro

pytestmark = pytest.mark.anyio

SESSION = "21c2a0dd-892d-42d1-b156-3a9d4e147eef"


@asynccontextmanager
async def served(app: Any) -> AsyncGenerator[str]:
    """Serve *app* with uvicorn while the context is open; yield its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", proxy_headers=False, ws="websockets-sansio")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listening]))
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
                assert not task.done()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await asyncio.wait_for(task, 10)


def shop(collector: str) -> FastAPI:
    def make_tracker() -> Tracker:
        return Tracker(HttpEmitter(collector), namespace="shop", app_id="shop")

    app = FastAPI(lifespan=lifespan(make_tracker))
    app.add_middleware(
        SnowplowMiddleware,
        trusted_proxies=["127.0.0.1"],
        user_id=lambda scope: scope["path"].rpartition("/")[2],
        page_views=PageViews(),
    )

    @app.get("/pages/{user}", response_class=HTMLResponse)
    async def page(user: str) -> str:
        return f"<p>{user}"

    @app.post("/buy/{_user}")
    def buy(_user: str, tracker: CurrentTracker) -> str:
        return tracker.track_nowait(StructuredEvent(category="shop", action="buy"))

    @app.websocket("/ws/{user}")
    async def ws(websocket: WebSocket, tracker: CurrentTracker) -> None:
        await websocket.accept()
        await websocket.receive_text()
        await tracker.track(StructuredEvent(category="shop", action="chat"))
        await websocket.send_text("heard")

    return app


async def test_every_event_arrives_about_its_visitor_and_none_is_lost_at_the_end() -> None:
    async with Micro() as micro, ClientSession(cookie_jar=DummyCookieJar()) as client:
        async with served(shop(micro.url)) as url:

            async def visit(number: int) -> None:
                headers = {
                    "X-Forwarded-For": f"198.51.100.1, 203.0.113.{number}",
                    "User-Agent": f"browser {number}",
                    "Accept-Language": "da",
                    "Referer": "https://search.example/",
                    "Cookie": f"_sp_id.1fff=d{number}.1.{number}.3.4.{SESSION}; sp=n{number}",
                }
                async with client.get(f"{url}/pages/u{number}?a=b", headers=headers) as response:
                    assert response.status == 200
                async with client.post(f"{url}/buy/u{number}", headers=headers) as response:
                    assert response.status == 200
                async with client.ws_connect(f"{url}/ws/u{number}", headers=headers) as websocket:
                    await websocket.send_str("hello")
                    assert await websocket.receive_str() == "heard"

            await asyncio.gather(*(visit(number) for number in range(30)))
        assert micro.counts() == {"total": 90, "good": 90, "bad": 0}
        events = [good["event"] for good in micro.good]
    for event in events:
        number = event["user_id"].removeprefix("u")
        found = {
            key: event[key] for key in ("user_ipaddress", "useragent", "domain_userid", "network_userid")
        }
        assert found == {
            "user_ipaddress": f"203.0.113.{number}",
            "useragent": f"browser {number}",
            "domain_userid": f"d{number}",
            "network_userid": f"n{number}",
        }
        assert (str(event["domain_sessionidx"]), event["domain_sessionid"]) == (number, SESSION)
        assert (event["br_lang"], event["platform"]) == ("da", "srv")
        assert event["page_referrer"] == "https://search.example/"
    views = [event for event in events if event["event"] == "page_view"]
    assert {event["page_title"] for event in views} == {"/pages/{user}"}
    assert {event["page_url"].rpartition("/pages/")[2] for event in views} == {f"u{n}?a=b" for n in range(30)}
