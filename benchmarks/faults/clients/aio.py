"""
The fork aio-snowplow-tracker 1.0.2.

Its emitter sends single events by GET unless it is told otherwise; here it
sends by POST as the others do, so that all meet the same faults.
"""

from __future__ import annotations

import asyncio

from aio_snowplow_tracker import Emitter, SelfDescribingJson, Tracker
from common import PRODUCT_SCHEMA, versions_of
from course import entity, given, label, run


async def main() -> None:
    emitter = Emitter("127.0.0.1", port=given["port"], method="post")
    tracker = Tracker(emitter, namespace="bench", app_id="bench")

    async def track(number: int) -> None:
        context = [SelfDescribingJson(PRODUCT_SCHEMA, entity(number))]
        await tracker.track_struct_event(
            "shop", "add-to-basket", label=label(number), value=2, context=context
        )

    async def close() -> None:
        await tracker.flush()

    await run(track, close, versions_of("aio-snowplow-tracker", "aiohttp"))


if __name__ == "__main__":
    asyncio.run(main())
