"""
The official tracker in an event loop: `track` is no coroutine, so the loop waits as long as it takes.

Parameters: those of ``official.py``, and ``seconds``.
"""

from __future__ import annotations

from common import parameters, watch_loop
from official import make_emitter, make_page_view, make_tracker, versions


def main() -> None:
    given = parameters()
    tracker = make_tracker(make_emitter(given))

    async def track(number: int) -> None:
        tracker.track(make_page_view(number))

    watch_loop(given["seconds"], track, versions())


if __name__ == "__main__":
    main()
