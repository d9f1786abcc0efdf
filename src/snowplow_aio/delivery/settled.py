"""Waiting until events are settled, in any loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from snowplow_aio.delivery.counters import Counters


async def settled(counters: Counters, window: int, timeout: float | None) -> None:
    """Wait until everything up to *window* of *counters* is settled, *timeout* seconds at most."""
    loop = asyncio.get_running_loop()
    is_settled = loop.create_future()

    def settle() -> None:
        if not is_settled.done():
            is_settled.set_result(None)

    def wake() -> None:
        # A closed loop waits for nothing.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    counters.when_settled(window, wake)
    try:
        async with asyncio.timeout(timeout):
            await is_settled
    except TimeoutError:
        pass
    finally:
        counters.forget(wake)
