"""Track one event with the package that is installed: what a new user does first."""

import asyncio
import sys

from snowplow_aio import MemoryEmitter, PageView, Tracker, __version__
from snowplow_aio.tracking import payload_builder


async def main() -> None:
    """Fail unless the emitter holds the event; and, with ``compiled``, unless a compiled module made it."""
    emitter = MemoryEmitter()
    async with Tracker(emitter, app_id="smoke") as tracker:
        event_id = await tracker.track(PageView(page_url="https://example.com"))
        await tracker.flush(timeout=5)
    is_compiled = not str(payload_builder.__file__).endswith(".py")
    assert is_compiled or "compiled" not in sys.argv  # noqa: S101 - what this script is for
    print(f"snowplow-aio {__version__}: tracked {event_id}")


if __name__ == "__main__":
    asyncio.run(main())
