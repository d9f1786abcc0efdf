"""
The official tracker with events that wait: what does each take?

Parameters: those of ``official.py``.
"""

from __future__ import annotations

import json

from common import parameters, queue_up
from official import make_emitter, make_page_view, make_tracker, versions

# Never reached: nothing is sent.
ENDLESS = 10**9


def main() -> None:
    given = parameters()
    emitter = make_emitter(given | {"batch_size": ENDLESS, "buffer_capacity": ENDLESS})
    tracker = make_tracker(emitter)
    tracker.track(make_page_view(given["events"] // 2))
    (payload,) = emitter.event_store.get_events_batch()
    queue_up(
        lambda number: tracker.track(make_page_view(number)),
        given["events"],
        len(json.dumps(payload, separators=(",", ":"))),
        versions(),
    )


if __name__ == "__main__":
    main()
