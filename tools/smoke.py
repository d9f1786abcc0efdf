"""Track one event with the package that is installed: what a new user does first."""

import asyncio

from snowplow_aio import MemoryEmitter, PageView, Tracker, __version__


async def main() -> None:
    """Fail unless the emitter holds the event that the tracker says it took."""
    emitter = MemoryEmitter()
    async with Tracker(emitter, app_id="smoke") as tracker:
        event_id = await tracker.track(PageView(page_url="https://example.com"))
        await tracker.flush(timeout=5)
    print(f"snowplow-aio {__version__}: tracked {event_id}")


if __name__ == "__main__":
    asyncio.run(main())
