"""
The official tracker, snowplow-tracker 1.1.0, called on the event loop as it is documented.
"""

from __future__ import annotations

import asyncio

from common import PRODUCT_SCHEMA, versions_of
from course import entity, given, label, run
from snowplow_tracker import AsyncEmitter, Emitter, SelfDescribingJson, StructuredEvent, Tracker


async def main() -> None:
    kind = {"Emitter": Emitter, "AsyncEmitter": AsyncEmitter}[given["emitter"]]
    emitter = kind("127.0.0.1", protocol="http", port=given["port"])
    tracker = Tracker("bench", emitter, app_id="bench")

    async def track(number: int) -> None:
        context = [SelfDescribingJson(PRODUCT_SCHEMA, entity(number))]
        tracker.track(StructuredEvent("shop", "add-to-basket", label=label(number), value=2, context=context))

    async def close() -> None:
        tracker.flush()

    await run(track, close, versions_of("snowplow-tracker", "requests", "urllib3"))


if __name__ == "__main__":
    asyncio.run(main())
