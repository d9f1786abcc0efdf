"""A Redis that loses answers, freezes, is full, read-only, loading, restarted or locked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from snowplow_aio import MemoryStore, RedisEmitter, Retry, Tracker
from tests.faults.conftest import balance, lasting
from tests.redis.reading import PAGE, QUICK, retries, stored_ids
from tests.redis.servers import Proxy, RedisServer, proxy_to
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio

EVENTS = scale(5_000, 50_000)
BATCH = 50

NewServer = Callable[..., RedisServer]


def emitter_to(url: str, **arguments: Any) -> RedisEmitter:
    store = MemoryStore(capacity=EVENTS, capacity_bytes=2**30)
    settings: dict[str, Any] = {"retry": QUICK, "max_batch": BATCH, "store": store}
    settings |= {"flush_interval": 0.02, **arguments}
    return RedisEmitter(url, **settings)


@asynccontextmanager
async def tracking(emitter: RedisEmitter) -> AsyncGenerator[Tracker, None]:
    """Track into *emitter* while the context is open, and see that no event is lost count of."""
    async with Tracker(emitter) as tracker:
        yield tracker
        assert balance(emitter.stats()) == 0


async def track(tracker: Tracker, events: int, *, pause: float = 0.0) -> list[str]:
    """Track *events* and return their ids; no call takes long."""
    event_ids, longest = [], 0.0
    for i in range(events):
        started = time.monotonic()
        event_ids.append(await tracker.track(PAGE))
        longest = max(longest, time.monotonic() - started)
        if pause and i % BATCH == 0:
            await asyncio.sleep(pause)
    # A busy machine takes its time; a call that waited for Redis would take a time-out: five seconds.
    assert longest < 4
    return event_ids


@asynccontextmanager
async def client_of(server: RedisServer) -> AsyncGenerator[Any, None]:
    async with redis.asyncio.Redis(port=server.port) as rdb:
        yield rdb


# --- lost answers


@lasting(300)
@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_lost_answers_store_nothing_twice(proxy: Proxy, rdb: Any, mode: Any) -> None:
    """A tenth of the answers is lost after the command was executed; those to questions as well."""
    proxy.lost = 0.1
    emitter = emitter_to(proxy.url, mode=mode)
    async with tracking(emitter) as tracker:
        event_ids = await track(tracker, EVENTS)
        assert (await tracker.flush(scale(30, 300))).delivered == EVENTS
    assert proxy.cut >= EVENTS / BATCH * 0.03
    assert await stored_ids(rdb) == event_ids


@lasting(300)
@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_without_deduplication_lost_answers_store_at_most_their_batches_twice(
    proxy: Proxy, rdb: Any, mode: Any
) -> None:
    proxy.lost = 0.1
    proxy.watched = (b"RPUSH", b"XADD")
    emitter = emitter_to(proxy.url, mode=mode, deduplicate=False)
    async with tracking(emitter) as tracker:
        event_ids = await track(tracker, EVENTS)
        assert (await tracker.flush(scale(30, 300))).delivered == EVENTS
    stored = await stored_ids(rdb)
    assert set(stored) == set(event_ids)
    assert 0 < len(stored) - EVENTS <= proxy.cut * BATCH


async def test_connections_that_are_cut_at_any_time_store_nothing_twice(proxy: Proxy, rdb: Any) -> None:
    emitter = emitter_to(proxy.url)
    async with tracking(emitter) as tracker:
        event_ids = []
        for _ in range(scale(20, 200)):
            event_ids += await track(tracker, BATCH * 3)
            proxy.disconnect()
        assert (await tracker.flush(30)).pending == 0
    assert await stored_ids(rdb) == event_ids


# --- a server that stands still


@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_a_frozen_server_blocks_nobody_and_stores_nothing_twice_when_it_goes_on(
    new_server: NewServer, mode: Any
) -> None:
    """What it has received while it was frozen it executes late, after our deadline."""
    server = new_server()
    emitter = emitter_to(server.url, mode=mode, command_timeout=scale(0.2, 5.0))
    async with tracking(emitter) as tracker:
        event_ids = await track(tracker, 100)
        await tracker.flush()
        server.freeze()
        event_ids += await track(tracker, 200)
        await until(lambda: emitter.stats().requests >= 2 + 4)
        server.thaw()
        event_ids += await track(tracker, 100)
        assert (await tracker.flush(30)).pending == 0
    async with client_of(server) as rdb:
        assert await stored_ids(rdb) == event_ids
    assert retries(emitter) == {"TimeoutError"}


async def test_a_silent_network_is_noticed_in_time(proxy: Proxy, rdb: Any) -> None:
    emitter = emitter_to(proxy.url, command_timeout=0.2)
    async with tracking(emitter) as tracker:
        proxy.silence(on=True)
        event_ids = await track(tracker, 10)
        await until(lambda: emitter.stats().retries)
        proxy.silence(on=False)
        assert (await tracker.flush(30)).pending == 0
    assert await stored_ids(rdb) == event_ids


@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_a_command_that_comes_late_is_not_executed_any_more(proxy: Proxy, rdb: Any, mode: Any) -> None:
    """In which order a server that wakes up reads its sockets is not ours to choose."""
    emitter = emitter_to(proxy.url, mode=mode, command_timeout=0.1)
    async with tracking(emitter) as tracker:
        event_ids = await track(tracker, 100)
        await tracker.flush()
        proxy.holds = lambda _data: True
        event_ids += await track(tracker, 100)
        await until(lambda: proxy.held >= 3)
        proxy.holds = lambda _data: False
        event_ids += await track(tracker, 100)
        assert (await tracker.flush(30)).pending == 0
        assert await proxy.let_held_pass() >= 3
    assert await stored_ids(rdb) == event_ids


# --- a server that ends


@lasting(300)
@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_a_killed_server_that_keeps_what_it_has_answered_loses_and_doubles_nothing(
    new_server: NewServer, mode: Any
) -> None:
    server = new_server("appendonly yes", "appendfsync always")
    emitter = emitter_to(server.url, mode=mode)
    event_ids = []
    async with tracking(emitter) as tracker:
        for _ in range(scale(3, 10)):
            event_ids += await track(tracker, EVENTS // 10, pause=0.002)
            server.kill()
            event_ids += await track(tracker, EVENTS // 10)
            await asyncio.to_thread(server.start)
        assert (await tracker.flush(30)).pending == 0
    async with client_of(server) as rdb:
        assert await stored_ids(rdb) == event_ids


async def test_a_server_that_forgets_everything_gets_what_it_has_not_confirmed(new_server: NewServer) -> None:
    server = new_server()
    emitter = emitter_to(server.url)
    async with tracking(emitter) as tracker:
        await track(tracker, 100)
        await tracker.flush()
        server.kill()
        event_ids = await track(tracker, 100)
        await until(lambda: emitter.stats().retries)
        await asyncio.to_thread(server.start)
        assert (await tracker.flush(30)).pending == 0
    async with client_of(server) as rdb:
        assert await stored_ids(rdb) == event_ids


# --- a server that refuses for a while


async def test_a_full_server_gets_the_events_when_it_has_room(new_server: NewServer) -> None:
    server = new_server()
    emitter = emitter_to(server.url)
    async with client_of(server) as rdb, tracking(emitter) as tracker:
        await rdb.config_set("maxmemory", 1)
        event_ids = await track(tracker, 200)
        await until(lambda: "OOM" in emitter.stats().retries)
        assert emitter.stats().state == "backing_off"
        await rdb.config_set("maxmemory", 0)
        assert (await tracker.flush(30)).delivered == 200
        assert await stored_ids(rdb) == event_ids


async def test_a_replica_gets_the_events_when_it_is_the_master_again(new_server: NewServer) -> None:
    server = new_server()
    emitter = emitter_to(server.url)
    async with client_of(server) as rdb, tracking(emitter) as tracker:
        # Its master is nowhere.
        await rdb.execute_command("REPLICAOF", "127.0.0.1", "1")
        event_ids = await track(tracker, 200)
        await until(lambda: emitter.stats().retries)
        await rdb.execute_command("REPLICAOF", "NO", "ONE")
        assert (await tracker.flush(30)).delivered == 200
        assert await stored_ids(rdb) == event_ids
    assert retries(emitter) == {"READONLY"}


async def test_a_server_that_cannot_write_to_its_disk_gets_the_events_later(new_server: NewServer) -> None:
    """Too few replicas stand for a full disk: both refuse writing only."""
    server = new_server("min-replicas-to-write 1")
    emitter = emitter_to(server.url)
    async with client_of(server) as rdb, tracking(emitter) as tracker:
        event_ids = await track(tracker, 200)
        await until(lambda: emitter.stats().retries)
        await rdb.config_set("min-replicas-to-write", 0)
        assert (await tracker.flush(30)).delivered == 200
        assert await stored_ids(rdb) == event_ids
    assert retries(emitter) == {"NOREPLICAS"}


async def test_a_server_that_is_still_loading_gets_the_events_when_it_is_ready(new_server: NewServer) -> None:
    # A twentieth of a second for each key, and clients are answered after each.
    server = new_server("key-load-delay 50000", "loading-process-events-interval-bytes 1024")
    async with client_of(server) as rdb:
        await rdb.mset({f"key {i}": random.Random(i).randbytes(2_048) for i in range(30)})
        await rdb.save()
    server.kill()
    emitter = emitter_to(server.url)
    async with tracking(emitter) as tracker:
        server.start(wait=False)
        event_ids = await track(tracker, 200)
        await until(lambda: "LOADING" in emitter.stats().retries)
        assert (await tracker.flush(30)).pending == 0
    async with client_of(server) as rdb:
        assert await stored_ids(rdb) == event_ids


async def is_busy(rdb: Any) -> bool:
    try:
        return not await rdb.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")


async def test_a_server_that_is_busy_with_a_script_gets_the_events_later(new_server: NewServer) -> None:
    server = new_server("busy-reply-threshold 10")
    emitter = emitter_to(server.url)
    async with client_of(server) as rdb, tracking(emitter) as tracker:
        await track(tracker, 1)
        await tracker.flush()
        endless = asyncio.create_task(rdb.eval("while true do end", 0))
        # Events that come before the script would be stored.
        while not await is_busy(rdb):
            pass
        event_ids = await track(tracker, 10)
        await until(lambda: "BUSY" in emitter.stats().retries)
        await rdb.script_kill()
        with pytest.raises(redis.ResponseError):
            await endless
        assert (await tracker.flush(30)).pending == 0
        assert (await stored_ids(rdb))[1:] == event_ids


# --- a server or an account that is set up wrongly


async def mended(emitter: RedisEmitter, tracker: Tracker, mend: Callable[[], Any]) -> str:
    """Have the emitter find out that nothing can be stored, *mend* it; return what was said."""
    await until(lambda: emitter.stats().state == "misconfigured")
    assert emitter.stats().rejected == {}
    said = str(emitter.stats().last_error)
    await mend()
    assert (await tracker.flush(30)).pending == 0
    assert emitter.stats().state == "ok"
    return said


async def test_a_changed_password_is_said_and_the_events_are_kept(new_server: NewServer) -> None:
    server = new_server()
    async with proxy_to(server.port) as proxy, client_of(server) as rdb:
        emitter = emitter_to(proxy.url)
        async with tracking(emitter) as tracker:
            event_ids = await track(tracker, 10)
            await tracker.flush()
            await rdb.config_set("requirepass", "secret")
            proxy.disconnect()
            event_ids += await track(tracker, 10)
            said = await mended(emitter, tracker, lambda: rdb.config_set("requirepass", ""))
        assert "NOAUTH" in said
        assert sorted(await stored_ids(rdb)) == sorted(event_ids)


async def test_a_key_of_another_type_is_said_and_the_events_are_kept(rdb: Any, server: RedisServer) -> None:
    await rdb.set("snowplow", "something else")
    emitter = emitter_to(server.url)
    async with tracking(emitter) as tracker:
        event_ids = await track(tracker, 100)
        said = await mended(emitter, tracker, lambda: rdb.delete("snowplow"))
    assert "WRONGTYPE" in said
    assert sorted(await stored_ids(rdb)) == sorted(event_ids)


@pytest.mark.parametrize("rights", ["+@all -@scripting ~*", "+@all ~snowplow", "+@all -set ~*"])
async def test_an_account_without_the_rights_is_told_what_it_needs(
    new_server: NewServer, rights: str
) -> None:
    server = new_server()
    async with client_of(server) as rdb:
        await rdb.execute_command("ACL", "SETUSER", "shop", "on", ">secret", *rights.split())
        url = server.url.replace("//", "//shop:secret@")
        emitter = emitter_to(url)
        async with tracking(emitter) as tracker:
            event_ids = await track(tracker, 10)
            said = await mended(
                emitter, tracker, lambda: rdb.execute_command("ACL", "SETUSER", "shop", "+@all", "~*")
            )
        assert "NOPERM" in said
        assert "{snowplow}:fence:* are for deduplicate=True only" in said
        async with tracking(emitter_to(url, deduplicate=False)) as tracker:
            event_ids += await track(tracker, 10)
        assert sorted(await stored_ids(rdb)) == sorted(event_ids)


async def test_what_a_server_says_of_an_unknown_command_has_no_event_in_it(new_server: NewServer) -> None:
    server = new_server('rename-command RPUSH ""')
    emitter = emitter_to(server.url, deduplicate=False, retry=Retry.never())
    async with tracking(emitter) as tracker:
        await track(tracker, 3)
        await tracker.flush(5)
    assert "unknown command" in str(emitter.stats().last_error)
    assert "shop.example" not in str(emitter.stats().last_error)


async def test_a_server_that_is_not_there_is_found_later(new_server: NewServer) -> None:
    server = new_server()
    server.kill()
    emitter = emitter_to(server.url)
    async with tracking(emitter) as tracker:
        event_ids = await track(tracker, 100)
        await until(lambda: emitter.stats().retries)
        await asyncio.to_thread(server.start)
        assert (await tracker.flush(30)).pending == 0
    async with client_of(server) as rdb:
        assert await stored_ids(rdb) == event_ids
