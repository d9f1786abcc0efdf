"""
This library, imported from the working tree.
"""

from __future__ import annotations

import asyncio

from common import PRODUCT_SCHEMA, versions_of
from course import entity, given, label, run

from snowplow_aio import HttpEmitter, SelfDescribingJson, StructuredEvent, Tracker, __version__


async def main() -> None:
    tracker = Tracker(HttpEmitter(f"http://127.0.0.1:{given['port']}"), namespace="bench", app_id="bench")

    async def track(number: int) -> None:
        event = StructuredEvent(category="shop", action="add-to-basket", label=label(number), value=2)
        await tracker.track(event, context=[SelfDescribingJson(PRODUCT_SCHEMA, entity(number))])

    async def close() -> int:
        result = await tracker.aclose()
        return result.rejected + result.dropped + result.pending

    versions = {"snowplow-aio": __version__} | versions_of("aiohttp", "orjson", "pydantic")
    await run(track, close, versions)


if __name__ == "__main__":
    asyncio.run(main())
