"""The Redis emitter: what it writes, and where."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest
import redis
import redis.asyncio

from snowplow_aio import ConfigurationError, PageView, RedisEmitter, Tracker
from tests.redis.reading import PAGE, QUICK, calls, retries, stored_ids, until_stored
from tests.redis.servers import Proxy, RedisServer
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("deduplicate", [True, False])
async def test_a_list_has_each_event_as_a_json_object_of_strings(rdb: Any, *, deduplicate: bool) -> None:
    async with Tracker(RedisEmitter(rdb, "events", deduplicate=deduplicate), app_id="shop") as tracker:
        event_id = await tracker.track(PageView(page_url="https://shop.example/ö"))
    (value,) = await rdb.lrange("events", 0, -1)
    event = json.loads(value)
    assert (event["eid"], event["aid"], event["e"]) == (event_id, "shop", "pv")
    assert event["url"] == "https://shop.example/ö"
    assert all(isinstance(field, str) for field in event.values())
    assert "stm" not in event


@pytest.mark.parametrize("deduplicate", [True, False])
async def test_a_stream_has_each_event_in_the_field_e(rdb: Any, *, deduplicate: bool) -> None:
    emitter = RedisEmitter(rdb, mode="stream", deduplicate=deduplicate)
    async with Tracker(emitter) as tracker:
        event_ids = [await tracker.track(PAGE) for _ in range(3)]
    assert await rdb.xlen("snowplow") == 3
    assert await stored_ids(rdb) == event_ids


@pytest.mark.parametrize(
    ("mode", "deduplicate", "command"),
    [
        ("list", True, "evalsha"),
        ("list", False, "rpush"),
        ("stream", True, "evalsha"),
        ("stream", False, "exec"),
    ],
)
async def test_a_batch_is_one_command_and_batches_keep_their_order(
    rdb: Any, mode: Any, command: str, *, deduplicate: bool
) -> None:
    emitter = RedisEmitter(
        rdb, mode=mode, deduplicate=deduplicate, batch_size=1_000_000, max_batch=100, flush_interval=None
    )
    # The script is new to the server once.
    async with Tracker(RedisEmitter(rdb, "other", mode=mode, deduplicate=deduplicate)) as tracker:
        await tracker.track(PAGE)
    await rdb.config_resetstat()
    async with Tracker(emitter) as tracker:
        event_ids = [tracker.track_nowait(PAGE) for _ in range(1_000)]
        assert (await tracker.flush()).delivered == 1_000
        assert await calls(rdb, command) == 10
    assert await stored_ids(rdb) == event_ids


async def test_anonymous_events_have_a_key_of_their_own(rdb: Any) -> None:
    async with Tracker(RedisEmitter(rdb, "events")) as tracker:
        named = [await tracker.track(PAGE), await tracker.track(PAGE)]
        anonymous = [await tracker.track(PAGE, anonymous=True)]
        named.append(await tracker.track(PAGE))
    assert await stored_ids(rdb, "events") == named
    assert await stored_ids(rdb, "events:anonymous") == anonymous


@pytest.mark.usefixtures("time_to_tidy_up")
@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_nothing_but_events_is_left_when_it_is_closed(rdb: Any, mode: Any) -> None:
    async with Tracker(RedisEmitter(rdb, "a{b}", mode=mode)) as tracker:
        await tracker.track(PAGE)
        await tracker.track(PAGE, anonymous=True)
        await tracker.flush()
        # What knows of lost answers expires by itself, should nobody close the tracker.
        fences = {key: await rdb.ttl(key) for key in await rdb.keys("*fence*")}
        assert len(fences) == 2
        assert all(0 < seconds <= 7 * 24 * 3600 for seconds in fences.values())
    assert set(await rdb.keys()) == {b"a{b}", b"a{b}:anonymous"}


async def test_a_client_that_decodes_and_repeats_is_taken_for_its_settings_only(server: RedisServer) -> None:
    async with redis.asyncio.Redis(
        port=server.port, db=3, client_name="shop", decode_responses=True, max_connections=1
    ) as rdb:
        settings = dict(rdb.connection_pool.connection_kwargs)
        async with Tracker(RedisEmitter(rdb, "events")) as tracker:
            event_id = await tracker.track(PAGE)
            await tracker.flush()
            names = [client["name"] for client in await rdb.client_list()]
        assert names == ["shop", "shop"]
        assert await stored_ids(rdb, "events") == [event_id]
        assert rdb.connection_pool.connection_kwargs == settings
    async with redis.asyncio.Redis(port=server.port) as other:
        assert await other.llen("events") == 0
        # Neither its own connections nor the emitter's are left.
        assert len(await other.client_list()) == 1


async def test_it_takes_a_url(server: RedisServer, rdb: Any) -> None:
    async with Tracker(RedisEmitter(server.url)) as tracker:
        event_id = await tracker.track(PAGE)
    assert await stored_ids(rdb) == [event_id]


def test_without_a_client_it_is_made_anywhere_and_connects_to_nothing() -> None:
    assert RedisEmitter().stats().accepted == 0


def test_it_works_in_one_event_loop_after_another(shared_server: RedisServer) -> None:
    emitter = RedisEmitter(shared_server.url, "one-after-another")
    tracker = Tracker(emitter)

    async def track() -> str:
        event_id = await tracker.track(PAGE)
        await tracker.flush()
        return event_id

    event_ids = [asyncio.run(track()) for _ in range(3)]

    async def read() -> list[str]:
        await tracker.aclose()
        async with redis.asyncio.Redis(port=shared_server.port) as rdb:
            return await stored_ids(rdb, "one-after-another")

    assert asyncio.run(read()) == event_ids


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"client": redis.Redis()}, "client: must be a client of redis.asyncio, not a synchronous one"),
        ({"client": object()}, "client: must be a client of redis.asyncio"),
        ({"client": "http://redis"}, "client: must be a URL like 'redis://host:6379/0'"),
        ({"client": "redis:/redis"}, "client: must be a URL like 'redis://host:6379/0'"),
        ({"client": "rediss://user:secret@host:port"}, r"client: .*got '\*\*\*'$"),
        ({"key": ""}, "key: must be a string that is not empty"),
        ({"key": "a}b"}, "key: .*braces only around a hash tag"),
        ({"mode": "set"}, "mode: must be 'list' or 'stream'"),
        ({"deduplicate": 1}, "deduplicate: must be True or False"),
        ({"max_length": 0}, "max_length: must be a whole number from 1"),
        ({"max_batch": 0, "max_length": 1}, "max_batch: must be a whole number from 1"),
        ({"command_timeout": 0}, "command_timeout: must be seconds, above 0"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        RedisEmitter(**arguments)


# --- back-pressure


@pytest.mark.parametrize("deduplicate", [True, False])
@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_a_full_list_makes_events_wait_until_somebody_takes_some_out(
    rdb: Any, mode: Any, *, deduplicate: bool
) -> None:
    emitter = RedisEmitter(
        rdb, mode=mode, deduplicate=deduplicate, max_length=50, max_batch=1_000, batch_size=50, retry=QUICK
    )
    async with Tracker(emitter) as tracker:
        event_ids = [tracker.track_nowait(PAGE) for _ in range(80)]
        await tracker.flush(wait=False)
        await until(lambda: emitter.stats().state == "backing_off")
        stats = emitter.stats()
        assert (stats.delivered, stats.pending + stats.leased) == (50, 30)
        assert retries(emitter) == {"full"}
        assert await stored_ids(rdb) == event_ids[:50]
        await rdb.delete("snowplow")
        assert await until_stored(rdb, 30) == event_ids[50:]
        assert (await tracker.flush()).pending == 0


# --- lost answers, child processes


_FORK = """
import asyncio, os, sys
from snowplow_aio import PageView, RedisEmitter, Tracker

tracker = Tracker(RedisEmitter(sys.argv[1], mode=sys.argv[2]))

async def track():
    await tracker.track(PageView(page_url="https://shop.example/"))
    assert (await tracker.flush(20)).delivered == 1

asyncio.run(track())
child = os.fork()
asyncio.run(track())
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
"""


@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_a_child_process_does_not_count_on_its_parents_fence(
    server: RedisServer, rdb: Any, mode: str
) -> None:
    """Otherwise Redis would take the child's second command for a repetition of the parent's."""
    program = [sys.executable, "-W", "ignore", "-c", _FORK, server.url, mode]
    process = await asyncio.create_subprocess_exec(*program)
    assert await process.wait() == 0
    assert len(await stored_ids(rdb)) == 3


async def test_a_lost_answer_is_found_out_before_the_next_batch(proxy: Proxy, rdb: Any) -> None:
    emitter = RedisEmitter(proxy.url, retry=QUICK)
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await tracker.flush()
        proxy.lost = 1.0
        tracker.track_nowait(PAGE)
        await tracker.flush(wait=False)
        await until(lambda: proxy.cut >= 1)
        tracker.track_nowait(PAGE)
        proxy.lost = 0.0
        await tracker.flush()
    ids = await stored_ids(rdb)
    assert len(ids) == len(set(ids)) == 3
