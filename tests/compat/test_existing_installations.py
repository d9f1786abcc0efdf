"""
Old and new beside each other: the trackers of existing installations share a list in Redis with ours.

Emitters and workers of theirs run in processes of their own, with a real server
and a collector between them; so an installation can be moved over one by one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from snowplow_aio import (
    HttpEmitter,
    PageView,
    RedisEmitter,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
)
from snowplow_aio.redis.worker import RedisWorker
from tests.collector import Answer, Collector, running_collector
from tests.compat.old_tracker import Call, OldTracker, old_trackers
from tests.redis.servers import RedisServer
from tests.waiting import until

pytestmark = [
    pytest.mark.anyio,
    # The first run installs the old trackers.
    pytest.mark.timeout(300),
]

CART = ("iglu:com.acme/cart/jsonschema/1-0-0", {"sku": "größe-43", "price": 9.5, "gift": True})
PAGE: Call = ("track_page_view", {"page_url": "https://shop.example/ö?a=1&b=%20", "page_title": "Schuhe"})
CALLS: list[Call] = [
    PAGE,
    (
        "track_page_view",
        {"page_url": "https://shop.example/", "tstamp": 1_400_252_420_261, "context": [CART]},
    ),
    ("track_page_ping", {"page_url": "https://shop.example/", "min_x": 0, "max_x": 10}),
    ("track_struct_event", {"category": "shop", "action": "add", "label": '"a"\n', "value": 2.5}),
    ("track_unstruct_event", {"event_json": CART}),
    (
        "track_ecommerce_transaction",
        {
            "order_id": "o-1",
            "total_value": 35.0,
            "tax_value": 0.1,
            "items": [{"sku": "s-1", "price": 17.5, "quantity": 2}],
        },
    ),
]
# An order is an event, and each of its items is one.
TRACKED = len(CALLS) + 1

# As the documentation of 0.8 prints it, but for the key of the event's kind: `ev` there, `e` in all code.
DOCUMENTED = (
    '{"tv": "py-0.4.0", "e": "pv", "url": "http://www.example.com", "dtm": 1400252420261, '
    '"tid": 7515828, "p": "pc"}'
)


@pytest.fixture(scope="session")
def trackers(request: pytest.FixtureRequest) -> Mapping[str, OldTracker]:
    assert request.config.cache is not None
    return old_trackers(request.config.cache.mkdir("old_trackers"))


@pytest.fixture(params=["0.15.0", "0.8.4"])
def old(request: pytest.FixtureRequest, trackers: Mapping[str, OldTracker]) -> OldTracker:
    return trackers[request.param]


@pytest.fixture
async def collector() -> AsyncGenerator[Collector, None]:
    async with running_collector() as running:
        yield running


@asynccontextmanager
async def working(
    server: RedisServer, collector: Collector, **options: Any
) -> AsyncGenerator[RedisWorker, None]:
    """Run our worker while the context is open, then stop it."""
    worker = RedisWorker(HttpEmitter(collector.url, flush_interval=0.05), client=server.url, **options)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await running


def port_of(collector: Collector) -> int:
    port = urlsplit(collector.url).port
    assert port is not None
    return port


def arrived(collector: Collector, agent: str = "") -> list[dict[str, str]]:
    """Return the events that came (from one kind of client, if *agent* names it), without their `stm`."""
    requests = [one for one in collector.requests if agent in one.headers["user-agent"]]
    events = [event for request in requests for event in request.events]
    return [{key: value for key, value in event.items() if key != "stm"} for event in events]


def in_order(events: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(events, key=lambda event: event.get("eid", ""))


async def stored(rdb: Any) -> list[dict[str, str]]:
    """Return the events in the list, with all values as the text that is sent of them."""
    entries = [json.loads(entry) for entry in await rdb.lrange("snowplow", 0, -1)]
    return [{key: str(value) for key, value in entry.items()} for entry in entries]


async def keys(rdb: Any) -> set[bytes]:
    return set(await rdb.keys())


async def test_what_an_old_emitter_wrote_our_worker_delivers(
    server: RedisServer, rdb: Any, collector: Collector, old: OldTracker
) -> None:
    await old.write(server.port, CALLS)
    expected = await stored(rdb)
    assert len(expected) == TRACKED
    assert {event["tv"] for event in expected} == {f"py-{old.version}"}

    async with working(server, collector):
        await until(lambda: collector.accepted.total() >= TRACKED)

    assert in_order(arrived(collector)) == in_order(expected)
    assert await keys(rdb) == set()


@pytest.mark.usefixtures("time_to_tidy_up")
async def test_what_our_emitter_wrote_an_old_worker_delivers(
    server: RedisServer, rdb: Any, collector: Collector, old: OldTracker
) -> None:
    cart = SelfDescribingJson(*CART)
    subject = Subject().set_user_id("u-1").set_screen_resolution(1920, 1080)
    async with Tracker(RedisEmitter(rdb), app_id="shop", subject=subject) as tracker:
        await tracker.track(PageView(page_url="https://shop.example/ö?a=1&b=%20", page_title="Größe"))
        await tracker.track(PageView(page_url="https://shop.example/"), context=[cart])
        await tracker.track(StructuredEvent(category="shop", action="add", label='"a"\n', value=2.5))
        await tracker.track(cart)
    expected = await stored(rdb)

    async with old.worker(server.port, port_of(collector)):
        await until(lambda: collector.accepted.total() >= len(expected))

    assert in_order(arrived(collector)) == in_order(expected)
    assert len(expected) == 4
    assert await keys(rdb) == set()


@pytest.mark.usefixtures("time_to_tidy_up")
async def test_old_and_new_workers_share_what_old_and_new_emitters_write(
    server: RedisServer, rdb: Any, collector: Collector, old: OldTracker
) -> None:
    count = 500
    await asyncio.gather(old.write(server.port, [PAGE] * count), ours_write(rdb, count))
    expected = {event["eid"] for event in await stored(rdb)}

    async with old.worker(server.port, port_of(collector)):
        # It has enough left to do when ours begins, and the list is not empty yet.
        await collector.requested(1)
        async with working(server, collector, prefetch=10):
            await asyncio.gather(ours_write(rdb, 100), old.write(server.port, [PAGE] * 100))
            await until(lambda: collector.accepted.total() >= 2 * count + 200)

    assert expected <= collector.accepted.keys()
    assert len(collector.accepted) == 2 * count + 200
    assert set(collector.accepted.values()) == {1}
    assert arrived(collector, "python-requests")
    assert arrived(collector, "snowplow-aio")
    assert await keys(rdb) == set()


async def ours_write(rdb: Any, count: int) -> None:
    async with Tracker(RedisEmitter(rdb), app_id="shop") as tracker:
        for _ in range(count):
            tracker.track_nowait(PageView(page_url="https://shop.example/"))


async def test_the_documented_entry_of_a_list_is_delivered(
    server: RedisServer, rdb: Any, collector: Collector
) -> None:
    await rdb.rpush("snowplow", DOCUMENTED)
    # Its events have no ids yet, by which the collector would count them.
    collector.rule = lambda _request: Answer(is_processed=False)

    async with working(server, collector):
        await collector.requested(1)

    (event,) = arrived(collector)
    assert event == {key: str(value) for key, value in json.loads(DOCUMENTED).items()}
