"""What processes of a pool do in tests/faults/test_process_pools.py."""

from __future__ import annotations

from functools import cache

from snowplow_aio import HttpEmitter, StructuredEvent
from snowplow_aio.sync import Tracker


@cache
def tracker_for(url: str) -> Tracker:
    """Return the tracker of this process, or of the one that it was forked from."""
    # A busy machine may need longer than a second.
    return Tracker(HttpEmitter(url, drain_timeout=30), app_id="pool")


def work(url: str, ending: str) -> None:
    """Track one event, and send it at once where the task flushes."""
    tracker = tracker_for(url)
    tracker.track(StructuredEvent(category="pool", action="work"))
    if ending == "flushes":
        tracker.flush(timeout=30)
