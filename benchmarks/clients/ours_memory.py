"""
This library with a collector that cannot be reached: what does an event take while it waits?

Parameters: those of ``ours.py``.
"""

from __future__ import annotations

from common import parameters, queue_up
from ours import make_tracker, maker, versions

from snowplow_aio import HttpEmitter, MemoryEmitter, MemoryStore


def main() -> None:
    given = parameters()
    store = MemoryStore(capacity=10_000_000, capacity_bytes=2**40)
    # Outside a loop nothing is delivered.
    tracker = make_tracker(HttpEmitter("http://127.0.0.1:9", store=store))
    make = maker(given)

    def track(number: int) -> None:
        event, context = make(number)
        tracker.track_nowait(event, context=context)

    event, context = make(given["events"] // 2)
    make_tracker(kept := MemoryEmitter()).track_nowait(event, context=context)
    (payload,) = kept.payloads
    queue_up(track, given["events"], len(payload.json), versions())


if __name__ == "__main__":
    main()
