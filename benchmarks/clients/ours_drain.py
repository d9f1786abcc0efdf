"""
This library's `RedisWorker`: events that wait in Redis already go to the sink.

Parameters: those of ``ours.py`` with the emitter ``redis``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from common import Stopwatch, parameters
from ours import make_emitter, make_tracker, maker, track_all, versions

from snowplow_aio import HttpEmitter
from snowplow_aio.redis.worker import RedisWorker

# Often enough to end soon after the last event, and no load of its own.
LOOK_SECONDS = 0.005


def make_worker(given: dict[str, Any], emitter: HttpEmitter) -> RedisWorker:
    """
    Return the worker that takes out of Redis what the emitter of *given* has put there.
    """
    url = f"redis://127.0.0.1:{given['redis_port']}/0"
    return RedisWorker(emitter, client=url, mode=given.get("mode", "list"))


async def run(given: dict[str, Any]) -> None:
    async with make_tracker(make_emitter(given)) as tracker:
        await track_all(tracker, maker(given), range(given["events"]), [])
    watch = Stopwatch()
    worker = make_worker(given, HttpEmitter(f"{given['scheme']}://127.0.0.1:{given['port']}"))
    watch.start()
    running = asyncio.create_task(worker.run())
    while worker.stats().delivered < given["events"]:  # noqa: ASYNC110 - as an operator looks at it
        await asyncio.sleep(LOOK_SECONDS)
    watch.stop()
    worker.stop()
    await running
    watch.report(versions())


if __name__ == "__main__":
    asyncio.run(run(parameters()))
