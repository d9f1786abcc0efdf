"""A command that is cancelled half-way takes no other command's answer, and keeps no connection."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from snowplow_aio import RedisEmitter, RedisListStore, Tracker
from snowplow_aio.model.payload import Payload
from snowplow_aio.redis.connections import Connections
from snowplow_aio.redis.scripts import Script
from tests.faults.conftest import lasting
from tests.redis.reading import PAGE, QUICK, stored_ids
from tests.redis.servers import Proxy
from tests.scale import scale

pytestmark = pytest.mark.anyio

CANCELLATIONS = scale(200, 10_000)

_ECHO = Script("return ARGV[1]")


def echoes(connections: Connections, number: int) -> dict[str, Callable[[], Any]]:
    """Return the kinds of commands, each of which answers with *number*."""
    return {
        "command": lambda: connections.command("ECHO", str(number)),
        "script": lambda: connections.run(_ECHO, ["key"], [number]),
        "transaction": lambda: connections.transaction([("ECHO", str(number)), ("PING",)]),
    }


def says(answer: Any, number: int) -> bool:
    first = answer[0] if isinstance(answer, list) else answer
    return bool(first == str(number).encode())


@lasting(300)
@pytest.mark.parametrize("kind", ["command", "script", "transaction"])
async def test_the_next_answer_belongs_to_its_command(proxy: Proxy, kind: str) -> None:
    chance = random.Random(33)
    proxy.delay = lambda: chance.random() * 0.002
    connections = Connections(proxy.url)
    cancelled = 0
    for number in range(CANCELLATIONS):
        # At every point of a command's life, and of a connection's.
        try:
            async with asyncio.timeout(chance.random() * 0.003):
                assert says(await echoes(connections, number)[kind](), number)
        except TimeoutError:
            cancelled += 1
            assert says(await echoes(connections, -number)[kind](), -number)
    assert cancelled > CANCELLATIONS / 10
    pool = connections._client.connection_pool
    assert (len(pool._in_use_connections), len(pool._available_connections)) == (0, 1)
    await connections.aclose()


@lasting(300)
async def test_many_that_are_cancelled_at_once_leave_no_connection_in_use(proxy: Proxy) -> None:
    chance = random.Random(33)
    proxy.delay = lambda: chance.random() * 0.002
    connections = Connections(proxy.url)
    for _ in range(CANCELLATIONS // 50):
        asking = [asyncio.create_task(echoes(connections, i)["script"]()) for i in range(10)]
        await asyncio.sleep(chance.random() * 0.005)
        for task in asking[::2]:
            task.cancel()
            # Once more, while it gives its connection back.
            asyncio.get_running_loop().call_soon(task.cancel)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert all(says(answer, i) for i, answer in enumerate(answers) if i % 2)
    pool = connections._client.connection_pool
    assert len(pool._in_use_connections) == 0
    assert len(pool._available_connections) <= 10
    await connections.aclose()


@lasting(300)
@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_a_delivery_that_is_cancelled_again_and_again_stores_everything_once(
    proxy: Proxy, rdb: Any, mode: Any
) -> None:
    chance = random.Random(33)
    proxy.delay = lambda: chance.random() * 0.004
    emitter = RedisEmitter(proxy.url, mode=mode, retry=QUICK, max_batch=20)
    event_ids = []
    async with Tracker(emitter) as tracker:
        for _ in range(scale(50, 1_000)):
            event_ids += [await tracker.track(PAGE) for _ in range(30)]
            await asyncio.sleep(chance.random() * 0.01)
            for sender in [task for task in asyncio.all_tasks() if "DeliveryLoop._send" in repr(task)]:
                sender.cancel()
        assert (await tracker.flush(60)).pending == 0
        assert emitter.stats().restarts > scale(5, 100)
    assert await stored_ids(rdb) == event_ids


async def test_a_cancelled_put_of_events_of_both_kinds_stores_each_once(proxy: Proxy, rdb: Any) -> None:
    chance = random.Random(33)
    proxy.delay = lambda: chance.random() * 0.002
    store = RedisListStore(proxy.url)
    events = [
        Payload({"e": "pv", "p": "web", "tv": "test", "eid": str(i)}, anonymous=i % 3 == 0)
        for i in range(900)
    ]
    for i in range(0, 900, 9):
        # More time with each try, or a slow machine never stores it.
        for tries in itertools.count(1):
            try:
                async with asyncio.timeout(chance.random() * 0.01 * tries):
                    assert (await store.put(events[i : i + 9])).status == 200
                    break
            except TimeoutError:
                pass
    await store.aclose()
    assert await stored_ids(rdb) == [str(i) for i in range(900) if i % 3]
    assert await stored_ids(rdb, "snowplow:anonymous") == [str(i) for i in range(0, 900, 3)]
