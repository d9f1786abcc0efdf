"""One `put` after the other, and what becomes of events whose `put` has no answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from snowplow_aio import RedisListStore, RedisStreamStore
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.payload import Payload
from tests.redis.reading import calls, stored_ids
from tests.redis.servers import Proxy, RedisServer

pytestmark = pytest.mark.anyio

Store = RedisListStore | RedisStreamStore

# Some tests wait until it is over. An answer can take longer on a busy machine, so `stored` tries again.
TIMEOUT = 0.5


def events(*ids: str) -> list[Payload]:
    return [Payload({"e": "pv", "p": "web", "tv": "test", "eid": id_}) for id_ in ids]


@pytest.fixture(params=[RedisListStore, RedisStreamStore], ids=["list", "stream"])
async def store(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[Store]:
    """A store behind a proxy, whose script the server knows."""
    store: Store = request.param(proxy.url, command_timeout=TIMEOUT)
    await stored(store, events("first"))
    yield store
    await store.aclose()


def is_push(data: bytes) -> bool:
    return b'"eid"' in data


async def unanswered(store: Store, payloads: list[Payload]) -> None:
    with pytest.raises(TransportError):
        await store.put(payloads)


async def stored(store: Store, payloads: list[Payload]) -> None:
    """Put *payloads*, and again as long as there is no answer."""
    async with asyncio.timeout(30):
        while True:
            with suppress(TransportError):
                assert (await store.put(payloads)).status == 200
                return


async def test_what_was_executed_without_an_answer_is_not_put_again(
    store: Store, proxy: Proxy, rdb: Any
) -> None:
    batch, more = events("a", "b"), events("c")
    proxy.lost = 1.0
    await unanswered(store, batch)
    proxy.lost = 0.0
    await stored(store, [*batch, *more])
    assert await stored_ids(rdb) == ["first", "a", "b", "c"]


async def test_a_part_of_it_is_known_to_be_stored_whenever_it_comes(
    store: Store, proxy: Proxy, rdb: Any
) -> None:
    batch = events("a", "b", "c")
    proxy.lost = 1.0
    await unanswered(store, batch)
    proxy.lost = 0.0
    for payload in (batch[1], *events("d"), batch[0], batch[2]):
        await stored(store, [payload])
    assert await stored_ids(rdb) == ["first", "a", "b", "c", "d"]
    # Nothing is remembered of events that are settled: the same ones again are stored again.
    await stored(store, batch)
    assert await stored_ids(rdb) == ["first", "a", "b", "c", "d", "a", "b", "c"]


async def test_an_event_is_recognised_by_its_bytes_and_each_copy_of_it_is_stored(
    store: Store, proxy: Proxy, rdb: Any
) -> None:
    """An emitter whose events are on a disk reads them again before it tries again."""
    proxy.lost = 1.0
    await unanswered(store, events("a", "a", "b"))
    proxy.lost = 0.0
    anonymous = [Payload(payload, anonymous=True) for payload in events("a")]
    await stored(store, [*events("a", "c", "a", "a"), *anonymous])
    assert await stored_ids(rdb) == ["first", "a", "a", "b", "c", "a"]
    assert await stored_ids(rdb, "snowplow:anonymous") == ["a"]
    await stored(store, events("b"))
    assert await stored_ids(rdb) == ["first", "a", "a", "b", "c", "a"]


async def test_a_command_that_comes_after_the_question_is_not_executed(
    store: Store, proxy: Proxy, rdb: Any
) -> None:
    batch = events("a")
    proxy.holds = is_push
    await unanswered(store, batch)
    # This one asks, learns that the first was not executed, and is held as well.
    await unanswered(store, batch)
    assert await proxy.let_held_pass() == 2
    await stored(store, batch)
    assert await stored_ids(rdb) == ["first", "a"]


async def test_a_command_that_comes_after_the_end_is_not_executed(
    store: Store, proxy: Proxy, rdb: Any
) -> None:
    """Where any command was in doubt its fence stays, for as long as a network may keep a command."""
    batch = events("a")
    proxy.holds = is_push
    await unanswered(store, batch)
    proxy.holds = lambda _data: False
    await stored(store, batch)
    await store.aclose()
    assert await proxy.let_held_pass() == 1
    assert await stored_ids(rdb) == ["first", "a"]
    (fence,) = await rdb.keys("*fence*")
    assert 0 < await rdb.ttl(fence) <= 3600


async def test_a_question_without_an_answer_is_asked_again_and_answered_alike(
    store: Store, proxy: Proxy, rdb: Any
) -> None:
    batch = events("a")
    proxy.holds = is_push
    await unanswered(store, batch)
    proxy.holds = lambda _data: False
    proxy.lost = 1.0
    await unanswered(store, batch)
    proxy.lost = 0.0
    await stored(store, batch)
    assert await stored_ids(rdb) == ["first", "a"]


@pytest.mark.parametrize("command", ["evalsha", "rpush"])
async def test_one_attempt_is_one_command_though_the_client_repeats_its_own(
    proxy: Proxy, rdb: Any, command: str
) -> None:
    # What newer versions do without a word about it.
    repeating = Retry(ConstantBackoff(0.01), 10)
    async with redis.asyncio.Redis(port=proxy.port, retry=repeating) as client:
        store = RedisListStore(client, deduplicate=command == "evalsha", command_timeout=TIMEOUT)
        await stored(store, events("first"))
        await rdb.config_resetstat()
        proxy.lost = 1.0
        await unanswered(store, events("a"))
        assert await calls(rdb, command) == 1
        await store.aclose()


CLOSED_UNDER_IT = """
import asyncio, sys
from snowplow_aio import PageView, RedisEmitter, Tracker

tracker = Tracker(RedisEmitter(sys.argv[1], "closed-loop"))

async def track():
    await tracker.track(PageView(page_url="https://shop.example/"))
    assert (await tracker.flush(20)).delivered == 1

async def again():
    await track()
    await tracker.aclose()

loop = asyncio.new_event_loop()
loop.run_until_complete(track())
loop.close()
asyncio.run(again())
"""


async def test_a_loop_that_was_closed_under_it_leaves_nothing_to_the_next(
    server: RedisServer, rdb: Any
) -> None:
    # A process of its own: what the closed loop had open is kept until its end, and seen by other tests.
    program = [sys.executable, "-W", "ignore", "-c", CLOSED_UNDER_IT, server.url]
    process = await asyncio.create_subprocess_exec(*program)
    assert await process.wait() == 0
    assert await rdb.llen("closed-loop") == 2
