"""
The works that a client may be asked to do, the same for every tracker.

A client script hands `main` a function that makes its `Side`. Run as a script
of its own, this module does the works without any tracker.
Parameters of all: ``work``, ``events``, ``seconds`` and ``loop``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import inspect
import json
import logging
import os
import selectors
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import Stopwatch, Ticker, board_in, burn, parameters


def nothing(*_: object) -> None:
    return


@dataclass(kw_only=True)
class Side:
    """One tracker, as the works drive it. `open`, `flush` and `close` may be coroutine functions."""

    # Makes event number so-and-so and tracks it. Where *is_async*, it returns an awaitable.
    track: Callable[[int], Any]
    versions: dict[str, str]
    is_async: bool = False
    # Called before time is taken.
    open: Callable[[], Any] = nothing
    flush: Callable[[], Any] = nothing
    # The documented call at shutdown. It returns how many events were not delivered, if it tells.
    close: Callable[[], Any] = nothing
    emitter: Any = None


Given = dict[str, Any]
Make = Callable[[Given], Side]


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def track_all(side: Side, numbers: Iterable[int], waits_ns: list[int]) -> None:
    clock, track, is_async = time.perf_counter_ns, side.track, side.is_async
    for number in numbers:
        before = clock()
        if is_async:
            await track(number)
        else:
            track(number)
        waits_ns.append(clock() - before)


async def send(make: Make, given: Given) -> None:
    """Track all events as fast as possible, in so many ``tasks``, and flush."""
    side, events, tasks = make(given), given["events"], given.get("tasks", 1)
    await settled(side.open())
    watch = Stopwatch()
    watch.start()
    shares = (range(task, events, tasks) for task in range(tasks))
    await asyncio.gather(*(track_all(side, share, watch.waits_ns) for share in shares))
    await settled(side.flush())
    watch.stop()
    watch.report(side.versions)
    await settled(side.close())


async def until(condition: Callable[[], bool], seconds: float = 0.005) -> None:
    while not condition():  # noqa: ASYNC110 - as an operator looks at it
        await asyncio.sleep(seconds)


# Some web service's rate: one event every two milliseconds.
EVENTS_PER_SECOND = 500
# The seconds for which a frozen loop is waited for after its time.
FREEZE_SECONDS = 1.0


async def tick_along(make: Make, given: Given) -> None:
    """Track 500 events a second for so many ``seconds``, while a ticker measures the loop."""
    side, seconds, loop = make(given), given["seconds"], asyncio.get_running_loop()
    watch, ticker, ending = Stopwatch(), Ticker(loop, seconds), threading.Lock()
    tracked = 0

    def finish(*, is_frozen: bool = False) -> None:
        # The alarm and the loop may both come here; the second one waits for the end of the process.
        ending.acquire()
        if is_frozen:
            ticker.give_up()
        watch.stop()
        watch.report_all("late_", [late * 1e3 for late in ticker.late], side.versions)
        # Events that still wait for a collector that hangs are not waited for.
        os._exit(0)

    alarm = threading.Timer(seconds + FREEZE_SECONDS, finish, kwargs={"is_frozen": True})
    alarm.daemon = True
    watch.start()
    alarm.start()
    ticker.start()
    due = ticker.due
    while (due := due + 1 / EVENTS_PER_SECOND) < ticker.end > loop.time():
        await asyncio.sleep(max(0.0, due - loop.time()))
        await settled(side.track(tracked))
        tracked += 1
    # The last ticks are due after the last event.
    await ticker.is_over.wait()
    alarm.cancel()
    finish()


async def queue_up(make: Make, given: Given) -> None:
    """Have the events wait, and tell the memory that each takes beyond its JSON."""
    events, warm_up, watch = given["events"], given["events"] // 10, Stopwatch()
    probe = make(given | {"emitter": "null"})
    await settled(probe.track(events // 2))
    json_bytes = len(json.dumps(dict(probe.emitter.last), separators=(",", ":")))
    side = make(given)
    await settled(side.open())
    watch.start()
    await track_all(side, range(warm_up), [])
    gc.collect()
    before = resident_bytes()
    await track_all(side, range(warm_up, warm_up + events), [])
    gc.collect()
    resident = (resident_bytes() - before) / events
    watch.stop()
    figures = {"resident_bytes": resident, "json_bytes": json_bytes, "overhead_bytes": resident - json_bytes}
    watch.report(side.versions, figures=figures)
    # These events were never meant to be sent.
    os._exit(0)


def resident_bytes() -> int:
    """Return the memory that this process has in use; only Linux tells."""
    statm = Path("/proc/self/statm").read_text(encoding="ascii")
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Nothing that belongs to the events goes on for longer than this after the last one.
SETTLE_SECONDS = 0.3


class CountingSelector(selectors.DefaultSelector):
    """Counts how often the loop was woken: once for each `select` that waited."""

    wakeups = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(timeout)
        self.wakeups += timeout is None or timeout > 0
        return ready


SELECTOR = CountingSelector()


async def idle(make: Make, given: Given) -> None:
    """Track and deliver all events, then count for so many ``seconds`` what wakes the loop."""
    side, watch, seconds = make(given), Stopwatch(), given["seconds"]
    await track_all(side, range(given["events"]), [])
    await settled(side.flush())
    await asyncio.sleep(SETTLE_SECONDS)
    watch.start()
    before = SELECTOR.wakeups
    await asyncio.sleep(seconds)
    # One of them ended the sleep that measures.
    wakeups = SELECTOR.wakeups - before - 1
    watch.stop()
    watch.report(side.versions, figures={"wakeups_per_second": wakeups / seconds})
    await settled(side.close())


# About one and a half milliseconds: short beside a chunk, so that both meet the same speed of the core.
CHUNK_CALIBRATION_STEPS = 20_000


async def chunks(make: Make, given: Given) -> None:
    """Print the CPU time of one `track` in units of a calibration loop around each chunk (``compare.py``)."""
    # The time of this thread is user time, apart from some requests for memory.
    clock = time.thread_time

    async def chunk(first: int) -> None:
        for number in range(first, first + events):
            await track(number)

    logging.disable(logging.CRITICAL)
    side = make(given)
    track, events, found = side.track, given["events"], []
    await settled(side.open())
    await chunk(0)
    # The garbage of imports is not visited again and again; that of the hot path is.
    gc.collect()
    gc.freeze()
    for number in range(given["chunks"]):
        before, start = burn(CHUNK_CALIBRATION_STEPS, clock), clock()
        await chunk(number * events)
        took = clock() - start
        found.append(took / events / (before + burn(CHUNK_CALIBRATION_STEPS, clock)) * 2)
    print(json.dumps({"cost": statistics.median(found)}), flush=True)
    os._exit(0)


TIMED = """
import time
start = time.perf_counter()
{code}
print(time.perf_counter() - start)
"""


def time_import(_make: Make, given: Given) -> None:
    """Run ``code`` in so many fresh ``processes``, and tell the time."""
    command, watch = [sys.executable, "-c", TIMED.format(code=given["code"])], Stopwatch()
    watch.start()
    # The first process may have to compile, and is not counted.
    _, *seconds = [float(subprocess.check_output(command)) for _ in range(1 + given["processes"])]
    watch.stop()
    watch.report({}, figures={"import_ms": statistics.median(seconds) * 1e3})


class Passage:
    """Measures, by one clock, how long each event takes from its `track` to the collector's answer."""

    def __init__(self, events: int) -> None:
        self.left = events
        self.left_at: dict[str, float] = {}
        self.took_ms: list[float] = []
        self.watch = Stopwatch()

    def leave(self, url: str) -> None:
        self.left_at[url] = time.perf_counter()

    def arrive(self, urls: Iterable[str]) -> None:
        now = time.perf_counter()
        for url in urls:
            self.took_ms.append((now - self.left_at[url]) * 1e3)
            self.left -= 1

    def report(self, versions: dict[str, str]) -> None:
        self.watch.stop()
        self.watch.report_all("passed_", self.took_ms, versions)


# A thousand events a second, a few together as the requests of an application make them. Seven divides
# none of the usual batch sizes, so batches do not end where groups do.
GROUP = 7
GROUP_SECONDS = 0.007


async def meet_fault(make: Make, given: Given) -> None:
    """Track at a steady pace, then end as the case says; tell the ``board`` (``faults.py``)."""
    side = make(given)
    print(json.dumps(side.versions), flush=True)
    board, stop = board_in(Path(given["board"])), asyncio.Event()
    if given["ending"] == "stopped":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    board.started_ns = board.last_tick_ns = time.monotonic_ns()
    ticker = asyncio.create_task(note_stalls(board))
    start = time.monotonic()
    for number in range(given["events"]):
        if number % GROUP == 0:
            await asyncio.sleep(max(0.0, start + number / GROUP * GROUP_SECONDS - time.monotonic()))
        if stop.is_set():
            break
        board.tracked += 1
        try:
            await settled(side.track(number))
        except Exception:  # noqa: BLE001 - an application goes on without the event
            board.raised += 1
    # Closing has a time of its own.
    ticker.cancel()
    board.tracking_ended_ns = time.monotonic_ns()
    if given["ending"] == "return":
        return
    told = await settled(side.close())
    board.told = 0 if told is None else told + 1
    board.closed_ns = time.monotonic_ns()


async def note_stalls(board: Any, tick_ns: int = 1_000_000) -> None:
    """Note the longest time for which nothing else could run on the loop."""
    last = time.monotonic_ns()
    while True:
        await asyncio.sleep(tick_ns / 1e9)
        now = time.monotonic_ns()
        board.worst_stall_ns = max(board.worst_stall_ns, now - last - tick_ns)
        board.last_tick_ns = last = now


WORKS = (send, tick_along, queue_up, idle, chunks, time_import, meet_fault)


def main(make: Callable[[Given], Any], *more: Callable[[Any, Given], Any]) -> None:
    """Do the work that the parameters name, one of `WORKS` or of *more*; it may be a coroutine function."""
    given = parameters()
    work: Any = next(one for one in (*WORKS, *more) if one.__name__ == given["work"])
    if not inspect.iscoroutinefunction(work):
        work(make, given)
        return
    # `asyncio` or `uvloop`: both modules make their loops by the same name.
    maker: Any = importlib.import_module(given.get("loop", "asyncio")).new_event_loop
    if work is idle:
        maker = functools.partial(asyncio.SelectorEventLoop, SELECTOR)
    with asyncio.Runner(loop_factory=maker) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(work(make, given))


if __name__ == "__main__":
    main(lambda _: Side(track=nothing, versions={}))
