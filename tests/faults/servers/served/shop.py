"""What the served applications share: where their events go, and a page that each answer tracks."""

from __future__ import annotations

import os

from snowplow_aio import HttpEmitter, PageView, Retry, Tracker

# Without a collector, each application is what it would be without a tracker.
COLLECTOR = os.environ.get("SHOP_COLLECTOR")
CLOSE_SECONDS = float(os.environ.get("SHOP_CLOSE_SECONDS", "5"))
BATCH_SIZE = int(os.environ.get("SHOP_BATCH_SIZE", "50"))

# Long enough for requests to be under way whenever the server is told to stop.
WORK_SECONDS = 0.02

PAGE = PageView(page_url="https://shop.example/shoes")


def make_tracker() -> Tracker:
    """Return a tracker of this process."""
    assert COLLECTOR is not None
    # Only a batch that is full is sent before the end: what is left then is not little.
    emitter = HttpEmitter(
        COLLECTOR, batch_size=BATCH_SIZE, flush_interval=None, retry=Retry(initial_delay=0.05)
    )
    return Tracker(emitter, app_id="shop")
