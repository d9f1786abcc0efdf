"""
This library's hand-over by Redis, one event after the other: how long each takes.

Parameters: those of ``ours.py`` with the emitter ``redis``, and ``seconds``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from common import Passage, page_url, parameters
from ours import make_emitter, make_tracker, maker, versions
from ours_drain import LOOK_SECONDS, make_worker

from snowplow_aio import HttpEmitter
from snowplow_aio.outcomes import Outcome


async def run(given: dict[str, Any]) -> None:
    make, passage = maker(given), Passage(given["events"])

    def arrived(outcome: Outcome) -> None:
        passage.arrive(payload["url"] for payload in outcome.payloads)

    url = f"{given['scheme']}://127.0.0.1:{given['port']}"
    worker = make_worker(given, HttpEmitter(url, batch_size=1, hooks=[arrived]))
    async with make_tracker(make_emitter(given | {"batch_size": 1})) as tracker:
        passage.watch.start()
        running = asyncio.create_task(worker.run())
        for number in range(given["events"]):
            passage.leave(page_url(number))
            event, context = make(number)
            await tracker.track(event, context=context)
            await asyncio.sleep(given["seconds"] / given["events"])
        while not passage.is_over:  # noqa: ASYNC110 - nothing is timed by this
            await asyncio.sleep(LOOK_SECONDS)
        passage.watch.stop()
        worker.stop()
        await running
    passage.report(versions())


if __name__ == "__main__":
    asyncio.run(run(parameters()))
