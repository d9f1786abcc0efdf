"""
A loop with nothing to do, with a tracker that has delivered all or (``tracks`` false) without one.

How often does something wake it? Parameters: those of ``ours.py``, ``tracks``
and ``seconds``.
"""

from __future__ import annotations

import asyncio
import resource
import selectors
import time
from typing import Any

from common import Stopwatch, parameters
from ours import make_emitter, make_tracker, maker, versions

# Some hundred milliseconds after the last event all is over that belongs to it.
SETTLE_SECONDS = 0.3


class CountingSelector(selectors.DefaultSelector):
    """
    Counts how often the loop was woken: once for each `select` that waited.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wakeups = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(timeout)
        self.wakeups += timeout is None or timeout > 0
        return ready


async def track(given: dict[str, Any]) -> Any:
    tracker, make = make_tracker(make_emitter(given)), maker(given)
    for number in range(given["events"]):
        event, context = make(number)
        await tracker.track(event, context=context)
    await tracker.flush()
    return tracker


def switches() -> int:
    """
    Return how often the process has waited for something, its other threads included.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


async def run(given: dict[str, Any], selector: CountingSelector) -> None:
    watch, seconds = Stopwatch(), given["seconds"]
    tracker = await track(given) if given["tracks"] else None
    await asyncio.sleep(SETTLE_SECONDS)
    watch.start()
    wakeups, waits, cpu = selector.wakeups, switches(), time.process_time()
    await asyncio.sleep(seconds)
    # One of them ended the sleep that measures, and is in neither figure.
    figures = {
        "wakeups_per_second": (selector.wakeups - wakeups - 1) / seconds,
        "switches_per_second": (switches() - waits - 1) / seconds,
        "cpu_us_per_second": (time.process_time() - cpu) / seconds * 1e6,
    }
    watch.stop()
    watch.report(versions(), figures=figures)
    if tracker is not None:
        await tracker.aclose()


def main() -> None:
    given = parameters()
    selector = CountingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(run(given, selector))


if __name__ == "__main__":
    main()
