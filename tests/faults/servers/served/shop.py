"""The tracker and the page that the served applications share."""

from __future__ import annotations

import os

from snowplow_aio import HttpEmitter, PageView, Retry, Tracker

# Without a collector, the applications have no tracker.
COLLECTOR = os.environ.get("SHOP_COLLECTOR")
CLOSE_SECONDS = float(os.environ.get("SHOP_CLOSE_SECONDS", "5"))
BATCH_SIZE = int(os.environ.get("SHOP_BATCH_SIZE", "50"))

# Long enough for requests to be under way whenever the server is told to stop.
WORK_SECONDS = 0.02

PAGE = PageView(page_url="https://shop.example/shoes")


def make_tracker() -> Tracker:
    """Return a tracker of this process."""
    assert COLLECTOR is not None
    # Only full batches are sent before the end, so that many events are left for it.
    emitter = HttpEmitter(
        COLLECTOR, batch_size=BATCH_SIZE, flush_interval=None, retry=Retry(initial_delay=0.05)
    )
    return Tracker(emitter, app_id="shop")
