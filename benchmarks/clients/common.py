"""
What all clients share: their events, their clock and their result line.

A client is a script. It takes its parameters as one JSON object in its first
argument and prints its result as one line of JSON. `Stopwatch` makes sure that
all of them measure the same things in the same way.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import json
import os
import platform
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

PRODUCT_SCHEMA = "iglu:com.acme/product/jsonschema/1-0-0"
VISITOR_SCHEMA = "iglu:com.acme/visitor/jsonschema/2-1-0"
PAGE_TITLE = "Trail running shoes | Acme outdoor shop"
REFERRER = "https://www.example.org/search?q=trail+running+shoes"
USERAGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
# Some 15 ms of plain Python at a time: long against a tick of the clock, short against a repeat.
CALIBRATION_STEPS = 200_000
CALIBRATION_TRIES = 3
# Where a distribution is kept: enough for a picture, the far tail included.
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0)
# A ticker's period; what a loop's callbacks are meant to be on time by.
TICK_SECONDS = 0.001
# Some web service's rate: one event every two milliseconds.
EVENTS_PER_SECOND = 500
# How much longer than asked for a frozen loop is waited for.
FREEZE_SECONDS = 1.0


def page_url(number: int) -> str:
    return f"https://shop.example.com/catalogue/shoes/trail?item={number}&sort=price"


def product(number: int, padding: int = 0) -> dict[str, Any]:
    """
    Return the data of the first entity of event *number*, with a text of *padding* characters.
    """
    text = {"description": "x" * padding} if padding else {}
    return text | {
        "sku": f"SKU-{number}",
        "name": "Trail runner, size 43, blue",
        "category": "shoes/running/trail",
        "price": 129.9,
        "currency": "EUR",
        "stock": 17,
        "brand": "Acme Outdoor",
        "list_price": 149.9,
        "image": f"https://cdn.example.com/products/SKU-{number}/front-1200x900.webp",
        "tags": ["waterproof", "neutral", "8 mm drop"],
    }


def visitor(number: int) -> dict[str, Any]:
    """
    Return the data of the second entity of event *number*.
    """
    return {"visits": number, "tier": "gold", "newsletter": True, "groups": ["beta", "sale-2024"]}


def dress(subject: Any) -> Any:
    """
    Set the fields of *subject*: both libraries have the same methods.
    """
    subject.set_platform("web").set_user_id("u-1").set_lang("en-GB").set_timezone("Europe/London")
    subject.set_screen_resolution(1920, 1080).set_viewport(1280, 720).set_color_depth(24)
    subject.set_ip_address("203.0.113.7").set_useragent(USERAGENT)
    subject.set_domain_user_id("bc2e92ec6c204a14")
    # aio-snowplow-tracker knows no sessions; its events are 60 bytes shorter.
    if hasattr(subject, "set_domain_session_id"):
        subject.set_domain_session_id("9c65e7f3-8e8e-470d-b243-910b5b300da0").set_domain_session_index(3)
    return subject


def parameters() -> dict[str, Any]:
    """
    Return the parameters of this client, which from now on stays on its core.
    """
    given: dict[str, Any] = json.loads(sys.argv[1])
    if given.get("core") is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given["core"]})
    return given


def calibrate() -> float:
    """
    Return the milliseconds that a fixed piece of CPU work takes now.

    The best of several tries: the speed of the core counts here, not what
    else the machine had to do.
    """
    best = float("inf")
    for _ in range(CALIBRATION_TRIES):
        start = time.perf_counter()
        value = 1
        for _ in range(CALIBRATION_STEPS):
            value = (value * 1103515245 + 12345) & 0x7FFFFFFF
        best = min(best, time.perf_counter() - start)
    return best * 1e3


class Stopwatch:
    """
    Times one repeat: from the first `track` to the end of the flush.

    *waits_ns* receives how long each `track` took, the making of its event and
    entities included, as an application writes it in one expression.
    """

    def __init__(self) -> None:
        self.waits_ns: list[int] = []
        self.calibration_before_ms = calibrate()
        # What is left over from imports shall not be collected on our time.
        gc.collect()

    def start(self) -> None:
        self.cpu_start = time.process_time()
        self.started_ns = time.perf_counter_ns()

    def stop(self) -> None:
        self.finished_ns = time.perf_counter_ns()
        self.cpu_seconds = time.process_time() - self.cpu_start
        self.calibration_after_ms = calibrate()

    def report(self, versions: dict[str, str], **more: Any) -> None:
        """
        Print the result line.
        """
        figures: dict[str, float] = {}
        percentiles: list[float] = []
        if self.waits_ns:
            percentiles = [value / 1e3 for value in spread_out(self.waits_ns)]
            at = dict(zip(SHARES, percentiles, strict=True))
            figures = {"p50_us": at[0.5], "p99_us": at[0.99], "max_us": at[1.0]}
        result = {
            "started_ns": self.started_ns,
            "finished_ns": self.finished_ns,
            "cpu_seconds": self.cpu_seconds,
            "calibration_before_ms": self.calibration_before_ms,
            "calibration_after_ms": self.calibration_after_ms,
            "versions": {"python": platform.python_version()} | versions,
            "percentiles": percentiles,
            "details": {},
        }
        result |= more
        result["figures"] = figures | more.get("figures", {})
        print(json.dumps(result), flush=True)


def spread_out(values: Sequence[float]) -> list[float]:
    """
    Return the values at `SHARES` of *values* in order (nearest rank).
    """
    ordered = sorted(values)
    last = len(ordered) - 1
    return [ordered[min(last, int(share * len(ordered)))] for share in SHARES]


class Ticker:
    """
    Measures how late an event loop is, for so many *seconds*.

    A callback is due every millisecond. One that the loop was too busy for is
    late by as much as the loop was, and so are all those that were due meanwhile.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.loop = loop
        self.seconds = seconds
        self.late: list[float] = []
        self.is_over = asyncio.Event()
        self.due = self.end = 0.0

    def start(self) -> None:
        self.due = self.loop.time()
        self.end = self.due + self.seconds
        self.loop.call_at(self.due, self.tick)

    def tick(self) -> None:
        self.late.append(self.loop.time() - self.due)
        self.due += TICK_SECONDS
        if self.due < self.end:
            self.loop.call_at(self.due, self.tick)
        else:
            self.is_over.set()

    def give_up(self) -> None:
        """
        Count what is overdue in a loop that does not come back.
        """
        now = self.loop.time()
        while self.due < min(self.end, now):
            self.late.append(now - self.due)
            self.due += TICK_SECONDS


class LoopWatch:
    """
    Measures how late an event loop is while *track* is awaited 500 times a second.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.tracked = 0

    async def run(self, track: Callable[[int], Awaitable[Any]]) -> None:
        loop = asyncio.get_running_loop()
        self.ticker = ticker = Ticker(loop, self.seconds)
        ticker.start()
        due = ticker.due
        while (due := due + 1 / EVENTS_PER_SECOND) < ticker.end > loop.time():
            await asyncio.sleep(max(0.0, due - loop.time()))
            await track(self.tracked)
            self.tracked += 1
        # The last ticks are due after the last event.
        await ticker.is_over.wait()

    def give_up(self) -> None:
        """
        Count what is overdue in a loop that does not come back.
        """
        self.ticker.give_up()

    def report(self, watch: Stopwatch, versions: dict[str, str]) -> None:
        late_ms = [seconds * 1e3 for seconds in spread_out(self.ticker.late)]
        at = dict(zip(SHARES, late_ms, strict=True))
        figures = {"late_p50_ms": at[0.5], "late_p99_ms": at[0.99], "late_max_ms": at[1.0]}
        figures["cpu_ms_per_second"] = watch.cpu_seconds / self.seconds * 1e3
        watch.report(versions, figures=figures, percentiles=late_ms, details={"tracked": self.tracked})


def watch_loop(seconds: float, track: Callable[[int], Awaitable[Any]], versions: dict[str, str]) -> None:
    """
    Run a loop that tracks for so many *seconds*, print the result and end the process.
    """
    watch, lateness = Stopwatch(), LoopWatch(seconds)
    ending = threading.Lock()

    def finish(*, is_frozen: bool = False) -> None:
        # The alarm and a loop that comes back just then: whoever is second waits for the end of the process.
        ending.acquire()
        if is_frozen:
            lateness.give_up()
        watch.stop()
        lateness.report(watch, versions)
        # What is still waiting for a collector that hangs is not waited for.
        os._exit(0)

    watch.start()
    alarm = threading.Timer(seconds + FREEZE_SECONDS, finish, kwargs={"is_frozen": True})
    alarm.daemon = True
    alarm.start()

    async def run() -> None:
        await lateness.run(track)
        alarm.cancel()
        finish()

    asyncio.run(run())


class Passage:
    """
    Measures how long each event is on its way, from its `track` until its emitter has the sink's answer.

    Both ends are in one process, so that one clock tells.
    """

    def __init__(self, events: int) -> None:
        self.left = events
        self.left_at: dict[str, float] = {}
        self.took_ms: list[float] = []
        self.watch = Stopwatch()

    @property
    def is_over(self) -> bool:
        return not self.left

    def leave(self, url: str) -> None:
        self.left_at[url] = time.perf_counter()

    def arrive(self, urls: Iterable[str]) -> None:
        now = time.perf_counter()
        for url in urls:
            self.took_ms.append((now - self.left_at[url]) * 1e3)
            self.left -= 1

    def report(self, versions: dict[str, str]) -> None:
        if not hasattr(self.watch, "finished_ns"):
            self.watch.stop()
        seconds = (self.watch.finished_ns - self.watch.started_ns) / 1e9
        percentiles = spread_out(self.took_ms)
        at = dict(zip(SHARES, percentiles, strict=True))
        figures = {"passed_p50_ms": at[0.5], "passed_p99_ms": at[0.99], "passed_max_ms": at[1.0]}
        figures["cpu_ms_per_second"] = self.watch.cpu_seconds / seconds * 1e3
        self.watch.report(versions, figures=figures, percentiles=percentiles)


def resident_bytes() -> int | None:
    """
    Return the memory that this process has in use; None where the system does not tell.
    """
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return None
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def queue_up(track: Callable[[int], Any], events: int, json_bytes: float, versions: dict[str, str]) -> None:
    """
    Have *events* wait, and print what each takes of memory beyond its *json_bytes*.
    """
    warm_up = events // 10
    for number in range(warm_up):
        track(number)
    watch = Stopwatch()
    watch.start()
    before = resident_bytes()
    for number in range(warm_up, warm_up + events):
        track(number)
    gc.collect()
    after = resident_bytes()
    watch.stop()
    tracemalloc.start()
    for number in range(warm_up):
        track(number)
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] / max(1, warm_up)
    tracemalloc.stop()
    resident = traced if before is None or after is None else (after - before) / events
    figures = {
        "resident_bytes": resident,
        "traced_bytes": traced,
        "json_bytes": json_bytes,
        "overhead_bytes": resident - json_bytes,
    }
    watch.report(versions, figures=figures)
    # No farewell to events that were never meant to be sent.
    os._exit(0)


def versions_of(*distributions: str) -> dict[str, str]:
    """
    Return the installed version of each distribution that is installed.
    """
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
