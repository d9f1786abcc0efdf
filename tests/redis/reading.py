"""What is in Redis, as a test looks at it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from snowplow_aio import PageView, RedisEmitter, Retry

PAGE = PageView(page_url="https://shop.example/")

# Quicker than an application's, so that a test is.
QUICK = Retry(initial_delay=0.01, max_delay=0.1)


async def stored_ids(rdb: Any, key: str = "snowplow") -> list[str]:
    """Return the ids of the events in a list or a stream, in their order."""
    kind = await rdb.type(key)
    if kind in (b"none", "none"):
        return []
    if kind in (b"stream", "stream"):
        values = [fields[b"e"] for _, fields in await rdb.xrange(key)]
    else:
        values = await rdb.lrange(key, 0, -1)
    return [json.loads(value)["eid"] for value in values]


async def until_stored(rdb: Any, count: int, key: str = "snowplow") -> list[str]:
    """Wait until *count* events are in a list or a stream, and return their ids."""
    async with asyncio.timeout(30):
        while len(ids := await stored_ids(rdb, key)) < count:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)
    return ids


async def calls(rdb: Any, command: str) -> int:
    """Return how often the server was asked for *command*."""
    statistics = await rdb.info("commandstats")
    count: int = statistics.get(f"cmdstat_{command}", {}).get("calls", 0)
    return count


def retries(emitter: RedisEmitter) -> set[str]:
    """Return the reasons for which the emitter has tried again."""
    return set(emitter.stats().retries)
