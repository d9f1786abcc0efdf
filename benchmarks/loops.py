"""
A loop for each call: the time that a call takes longer because it tracks one event.

Run as a script it starts fresh processes, whose first calls are the dear ones, and prints
medians. Its argument is the URL of a collector; without one, a collector that refuses.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

PROCESSES, CALLS = 20, 40
SOURCE = Path(__file__).parent.parent / "src"


def time_calls(url: str, *, tracks: bool) -> list[list[float]]:
    """Return the milliseconds of each call, by the clock and of the caller's own CPU time."""
    from snowplow_aio import HttpEmitter, PageView, Tracker  # noqa: PLC0415 - from the working tree

    tracker = Tracker(HttpEmitter(url))

    async def serve() -> None:
        if tracks:
            await tracker.track(PageView(page_url="https://shop.example/"))

    # The first loop of a process is slow with and without an event.
    asyncio.run(asyncio.sleep(0))
    found = []
    for _ in range(CALLS):
        wall, cpu = time.perf_counter(), time.thread_time()
        asyncio.run(serve())
        found.append([(time.perf_counter() - wall) * 1e3, (time.thread_time() - cpu) * 1e3])
    return found


def in_a_process(url: str, kind: str) -> list[list[float]]:
    """Return the result of `time_calls` in a fresh process."""
    command = [sys.executable, __file__, url, kind]
    printed = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    found: list[list[float]] = json.loads(printed)
    return found


def compare(url: str) -> None:
    """Print the difference that tracking makes, for the first call and for those after it."""
    kinds = ("plain", "tracks")
    # In turns, so that both meet the same machine.
    made = [[in_a_process(url, kind) for kind in kinds] for _ in range(PROCESSES)]
    for title, calls in (("first call", slice(1)), ("later calls", slice(1, None))):
        for place, clock in enumerate(("wall", "CPU")):
            plain, tracking = (
                median(call[place] for pair in made for call in pair[side][calls]) for side in (0, 1)
            )
            print(f"{title}, {clock}: {plain:.2f} ms, {tracking - plain:+.2f} ms with an event")


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:9"
    if sys.argv[2:]:
        print(json.dumps(time_calls(target, tracks=sys.argv[2] == "tracks")), flush=True)
        # The events that wait are not waited for.
        os._exit(0)
    compare(target)
