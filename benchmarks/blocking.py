"""
The blocking tracker beside the async one: the price of a thread that delivers.

Run as a script it starts fresh processes, in turns, and prints medians and their ratios:
events a second from the first `track` to the end of the flush, the time that the caller waits for
one `track`, and the events a second of eight threads at once beside those of building alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import processes
from collector import Fault

PROCESSES, EVENTS, THREADS = 7, 60_000, 8
SOURCE = Path(__file__).parent.parent / "src"


def page_views() -> Callable[[], Any]:
    """Return a function that makes an event."""
    from snowplow_aio import PageView  # noqa: PLC0415 - from the working tree

    return lambda: PageView(page_url="https://shop.example/", page_title="Shop")


def measured(calls: list[float], seconds: float, count: int, arrived: int) -> dict[str, float]:
    """Return the figures of one process."""
    cuts = quantiles(calls, n=1000) if calls else [0.0] * 999
    rate, lost = count / seconds, count - arrived
    return {"rate": rate, "p99": cuts[989] * 1e6, "p99.9": cuts[998] * 1e6, "lost": lost}


async def awaited(url: str) -> dict[str, float]:
    """Track with the async tracker."""
    from snowplow_aio import HttpEmitter, Tracker  # noqa: PLC0415 - likewise

    make, calls, clock = page_views(), [], time.perf_counter
    async with Tracker(HttpEmitter(url)) as tracker:
        began = clock()
        for _ in range(EVENTS):
            before = clock()
            await tracker.track(make())
            calls.append(clock() - before)
        result = await tracker.flush()
        return measured(calls, clock() - began, EVENTS, result.delivered)


def blocking(url: str, threads: int = 1) -> dict[str, float]:
    """Track with the blocking tracker, in so many *threads* at once."""
    from snowplow_aio import HttpEmitter  # noqa: PLC0415 - likewise
    from snowplow_aio.sync import Tracker  # noqa: PLC0415 - likewise

    make, calls, clock = page_views(), [], time.perf_counter
    with Tracker(HttpEmitter(url)) as tracker:

        def work() -> None:
            for _ in range(EVENTS // threads):
                before = clock()
                tracker.track(make())
                calls.append(clock() - before)

        began = clock()
        in_threads(work, threads)
        result = tracker.flush()
        return measured(calls, clock() - began, EVENTS, result.delivered)


def building() -> dict[str, float]:
    """Build the events of a tracker that hands them to nobody."""
    from snowplow_aio.sync import Tracker  # noqa: PLC0415 - likewise

    class Nobody:
        def input(self, payload: object) -> None:
            """Forget it."""

    make, clock = page_views(), time.perf_counter
    tracker = Tracker(Nobody())
    prepare = tracker._prepare  # noqa: SLF001 - to build and nothing else
    began = clock()
    for _ in range(EVENTS):
        prepare(make())
    return measured([], clock() - began, EVENTS, EVENTS)


def in_threads(work: Callable[[], None], count: int) -> None:
    """Call *work* in *count* threads at once, or here for one."""
    if count == 1:
        work()
        return
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


KINDS: dict[str, Callable[[str], dict[str, float]]] = {
    "async": lambda url: asyncio.run(awaited(url)),
    "blocking": blocking,
    "threads": lambda url: blocking(url, THREADS),
    "building": lambda _: building(),
}


def in_a_process(kind: str, url: str) -> dict[str, float]:
    """Return the figures of *kind* in a fresh process."""
    command = [sys.executable, __file__, kind, url]
    printed = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": str(SOURCE)})
    found: dict[str, float] = json.loads(printed)
    return found


def compare(url: str) -> bool:
    """Print the figures and their ratios; return whether all events have arrived."""
    in_a_process("async", url)
    # In turns, so that all meet the same machine; a ratio is that of one turn.
    turns = [{kind: in_a_process(kind, url) for kind in KINDS} for _ in range(PROCESSES)]

    def middle(kind: str, figure: str) -> float:
        return median(turn[kind][figure] for turn in turns)

    def ratio(kind: str, other: str, figure: str) -> float:
        return median(turn[kind][figure] / turn[other][figure] for turn in turns)

    for kind in KINDS:
        print(f"{kind:9} {middle(kind, 'rate'):10,.0f} events/s", end="")
        print(f"   p99 {middle(kind, 'p99'):7.1f} µs   p99.9 {middle(kind, 'p99.9') / 1e3:6.3f} ms")
    print(f"events/s, blocking to async: {ratio('blocking', 'async', 'rate'):.2f} (at least 0.75)")
    print(f"p99, blocking to async: {ratio('blocking', 'async', 'p99'):.2f} (at most 1.5)")
    print(f"p99.9, blocking: {middle('blocking', 'p99.9') / 1e3:.3f} ms (at most 1)")
    share = ratio("threads", "building", "rate")
    print(f"events/s, {THREADS} threads to building alone: {share:.2f} (at least 0.45)")
    lost = sum(turn[kind]["lost"] for turn in turns for kind in KINDS)
    print(f"lost: {lost:.0f} of {PROCESSES * EVENTS * 3}")
    return lost == 0


def main() -> int:
    """Measure with a collector of our own in another process."""
    if sys.argv[1:]:
        print(json.dumps(KINDS[sys.argv[1]](sys.argv[2])), flush=True)
        return 0
    with processes.running_collector(Fault()) as collector:
        return 0 if compare(f"http://127.0.0.1:{collector.port}") else 1


if __name__ == "__main__":
    sys.exit(main())
