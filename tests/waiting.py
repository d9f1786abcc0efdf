"""Waiting for a condition that nobody announces: what is waited for is in another task, thread or process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# A busy machine is slow; whatever has not come after this time does not come.
PATIENCE_SECONDS = 50.0

_LOOK_SECONDS = 0.005


def _nothing() -> str:
    return ""


async def until(condition: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when *condition* holds; fail when it does not within *seconds*."""
    # Not the loop's clock: a test may have that one jump.
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, f"not within {seconds} s: {condition}"
        await asyncio.sleep(_LOOK_SECONDS)


def wait_until(
    condition: Callable[[], object],
    seen: Callable[[], object] = _nothing,
    *,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Do the same where no loop runs, and fail with what is *seen* then."""
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, f"not within {seconds} s: {condition} {seen()}"
        time.sleep(_LOOK_SECONDS)
