"""The shop under a real server, with Micro as its collector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from snowplow_aio.demo.run import serving, tracker_to
from snowplow_aio.demo.shop import Cart, Product, Review, create_app
from snowplow_aio.demo.visitors import VISITORS, Visit, Visitor, send_visitors
from snowplow_aio.micro import Micro

pytestmark = pytest.mark.anyio


@pytest.fixture
async def micro() -> AsyncIterator[Micro]:
    async with Micro(schemas=[Product, Cart, Review]) as running:
        yield running


@asynccontextmanager
async def shop_at(micro: Micro) -> AsyncGenerator[aiohttp.ClientSession]:
    """Open the shop; at the end it closes, and has sent everything."""
    tracker = tracker_to(micro.url)
    async with (
        serving(create_app(tracker)) as url,
        aiohttp.ClientSession(url, cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        yield client
        # A busy machine needs longer than the shop waits when it closes.
        assert (await tracker.flush(45)).pending == 0


async def tracked(
    client: aiohttp.ClientSession, method: str, path: str, *, body: Any = None, **headers: str
) -> list[str]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, path, json=body, headers=sent) as answer:
        assert answer.status == 200, await answer.text()
        ids: list[str] = await answer.json()
        return ids


def events(micro: Micro, *wanted: str) -> list[dict[str, Any]]:
    """Return the events that arrived by POST, in the order of *wanted*, their ids."""
    by_post = [record["event"] for record in micro.good if record["rawEvent"]["api"]["version"] == "tp2"]
    found = {event["event_id"]: event for event in by_post}
    return [found[event_id] for event_id in wanted]


async def test_subjects_of_50_concurrent_visitors_never_mix(micro: Micro) -> None:
    owners: dict[str, int] = {}

    async def walk(client: aiohttp.ClientSession, number: int) -> None:
        for path in ("/", "/search?q=tea", "/products/lamp") * 3:
            ids = await tracked(
                client, "GET", path, Cookie=f"user=user-{number}", User_Agent=f"agent {number}",
                Accept_Language=f"x-{number}", X_Forwarded_For=f"192.0.2.{number}",
            )  # fmt: skip
            owners.update(dict.fromkeys(ids, number))

    async with shop_at(micro) as client, asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(walk(client, number))

    assert len(owners) == 50 * 12
    assert micro.counts() == {"total": 1200, "good": 1200, "bad": 0}
    for record in micro.good:
        fields = record["rawEvent"]["parameters"]
        number = owners[fields["eid"]]
        assert (fields["uid"], fields["ua"], fields["lang"], fields["ip"]) == (
            f"user-{number}", f"agent {number}", f"x-{number}", f"192.0.2.{number}",
        )  # fmt: skip


async def test_everything_that_visitors_do_arrives_by_both_methods(micro: Micro) -> None:
    async with shop_at(micro) as client:
        visits = await send_visitors(VISITORS, str(client._base_url), lambda _visit: None, pause=0)
    ids = sorted(event_id for visit in visits for event_id in visit.tracked)
    assert all(visit.failure is None for visit in visits)
    assert micro.bad == []
    assert sorted(record["event"]["event_id"] for record in micro.good) == sorted(ids * 2)


async def test_prices_arrive_exactly_and_an_order_ties_its_items(micro: Micro) -> None:
    async with shop_at(micro) as client:
        ids = await tracked(client, "POST", "/checkout", body={"teapot": 1, "teacup": 6}, Cookie="user=ada")
    order, teapot, teacup = events(micro, *ids)
    assert {event["tr_orderid"] or event["ti_orderid"] for event in (order, teapot, teacup)} == {
        order["tr_orderid"]
    }
    assert float(order["tr_total"]) == 63.9
    assert [(item["ti_sku"], item["ti_quantity"]) for item in (teapot, teacup)] == [
        ("teapot", 1),
        ("teacup", 6),
    ]
    assert order["contexts"]["data"] == [{"schema": Cart.schema_uri, "data": {"articles": 7, "total": 63.9}}]


async def test_who_signs_up_is_known_from_that_event_on_and_their_address_stays_in_the_shop(
    micro: Micro,
) -> None:
    form = {"name": "ada", "email": "ada@example.com"}
    async with shop_at(micro) as client:
        (sign_up,) = await tracked(client, "POST", "/sign-up", body=form)
        (home,) = await tracked(client, "GET", "/", Cookie="user=ada")
        (guest,) = await tracked(client, "GET", "/")
    found = events(micro, sign_up, home, guest)
    assert [event["user_id"] for event in found] == ["ada", "ada", None]
    assert "ada@example.com" not in str(found[0]["unstruct_event"])


async def test_no_header_and_no_query_of_a_visitor_breaks_the_page_or_the_event(micro: Micro) -> None:
    async with shop_at(micro) as client:
        await tracked(
            client, "GET", "/?_sp=nonsense.nonsense", Cookie=f"user={'u' * 300}", User_Agent="a" * 5_000,
            Accept_Language="x" * 300, Referer=f"https://shop.example/{'r' * 7_000}",
        )  # fmt: skip
        await tracked(client, "GET", "/", User_Agent="", Accept_Language="", Cookie="user=")
    assert micro.counts() == {"total": 4, "good": 4, "bad": 0}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/products/lamp/review", {"stars": 6, "text": "too good"}),
        ("POST", "/products/lamp/review", {"stars": "5", "text": "a text is no number"}),
        ("POST", "/cart/lamp?quantity=0", None),
        ("POST", "/checkout", {}),
        ("POST", "/sign-up", {"name": "Ada; admin", "email": ""}),
        ("GET", "/products/boat", None),
        ("GET", "/search?q=", None),
    ],
)
async def test_what_breaks_a_rule_is_answered_with_422_and_not_tracked(
    micro: Micro, method: str, path: str, body: Any
) -> None:
    async with shop_at(micro) as client, client.request(method, path, json=body) as answer:
        assert answer.status == 422
    assert micro.counts()["total"] == 0


async def test_a_request_that_fails_is_part_of_the_visit(micro: Micro) -> None:
    lost = Visitor("eve", "192.0.2.1", "en", "agent", [("GET", "/nowhere", None)])
    async with shop_at(micro) as client:
        url = str(client._base_url)
        refused = await send_visitors([lost], url, lambda _visit: None, pause=0)
    (unanswered,) = await send_visitors([lost], url, lambda _visit: None, pause=0)
    assert refused == [Visit("eve", "GET /nowhere", None, [], "answered 404")]
    assert unanswered.failure is not None
    assert unanswered.failure.startswith("did not answer: ClientConnectorError")
