"""
The things that all clients share: the events, the clock and the result line.

A client is a script. Its first argument is a JSON object with its parameters, and it prints its
result as one line of JSON. All clients track the same data and are timed by the same `Stopwatch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib.metadata
import json
import logging
import mmap
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
# The points at which a distribution is kept: enough for a picture, the far tail included.
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0)
TICK_SECONDS = 0.001
# Larger than the collector of the fault `too_large` takes.
LARGE_TEXT = 80_000


def page_url(number: int) -> str:
    return f"https://shop.example.com/catalogue/shoes/trail?item={number}&sort=price"


def product(number: int, padding: int = 0) -> dict[str, Any]:
    """Return the data of the first entity of event *number*, with a text of *padding* characters."""
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
    return {"visits": number, "tier": "gold", "newsletter": True, "groups": ["beta", "sale-2024"]}


def entities(make: Callable[[str, dict[str, Any]], Any], number: int) -> list[Any]:
    """Return both entities of event *number*, each made by the tracker's own class."""
    return [make(PRODUCT_SCHEMA, product(number)), make(VISITOR_SCHEMA, visitor(number))]


def dress(subject: Any) -> Any:
    """Set the fields of *subject*; the classes of all Python trackers have the same methods."""
    subject.set_platform("web").set_user_id("u-1").set_lang("en-GB").set_timezone("Europe/London")
    subject.set_screen_resolution(1920, 1080).set_viewport(1280, 720).set_color_depth(24)
    subject.set_ip_address("203.0.113.7").set_useragent(USERAGENT)
    subject.set_domain_user_id("bc2e92ec6c204a14")
    # aio-snowplow-tracker knows no sessions; its events are 60 bytes shorter.
    if hasattr(subject, "set_domain_session_id"):
        subject.set_domain_session_id("9c65e7f3-8e8e-470d-b243-910b5b300da0").set_domain_session_index(3)
    return subject


def is_poison(number: int, every: int) -> bool:
    """Whether event *number* is the one in *every* that the collector of a fault refuses."""
    return every > 0 and number % every == every // 2


def fault_event(make: Callable[..., Any], number: int, given: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return the label and the entity of event *number* in a trial with a fault."""
    poison = given["poison"] if is_poison(number, given["poison_every"]) else ""
    entity = product(number) | {"name": "x" * LARGE_TEXT if poison == "text" else "Trail runner"}
    return "poison" if poison == "label" else f"SKU-{number}", [make(PRODUCT_SCHEMA, entity)]


class NullEmitter:
    """Takes every event and keeps only the last: an event then costs nothing but its building."""

    def __init__(self) -> None:
        self.last: Mapping[str, Any] = {}

    def input(self, payload: Mapping[str, Any]) -> None:
        self.last = payload

    def sync_flush(self) -> None:
        pass


def parameters() -> dict[str, Any]:
    return dict(json.loads(sys.argv[1]))


def silence(*loggers: str) -> None:
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)


def versions_of(*distributions: str) -> dict[str, str]:
    """Return the version of each of *distributions* that is installed."""
    found = {}
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def burn(steps: int, clock: Callable[[], float]) -> float:
    """Return the seconds by *clock* that a fixed piece of CPU work takes."""
    start, value = clock(), 1
    for _ in range(steps):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    return clock() - start


def calibrate() -> float:
    """Return the milliseconds that a fixed piece of CPU work takes now."""
    # The best of several tries tells the speed of the core, not the other work of the machine.
    return min(burn(CALIBRATION_STEPS, time.perf_counter) for _ in range(CALIBRATION_TRIES)) * 1e3


def spread_out(values: Sequence[float]) -> list[float]:
    """Return the values at `SHARES` of *values* in order (nearest rank)."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [ordered[min(last, int(share * len(ordered)))] for share in SHARES]


def tails(name: str, percentiles: Sequence[float], unit: str) -> dict[str, float]:
    """Return median, 99th percentile and maximum as figures, such as ``late_p99_ms``."""
    at = dict(zip(SHARES, percentiles, strict=True))
    return {f"{name}p50_{unit}": at[0.5], f"{name}p99_{unit}": at[0.99], f"{name}max_{unit}": at[1.0]}


class Stopwatch:
    """
    Times one repeat: from the first `track` to the end of the flush.

    *waits_ns* receives how long each `track` took. Making the event and its
    entities belongs to it, as an application writes both in one expression.
    """

    def __init__(self) -> None:
        self.waits_ns: list[int] = []
        self.calibration_before_ms = calibrate()
        # The garbage of imports must not be collected while time is taken.
        gc.collect()

    def start(self) -> None:
        self.cpu_start = time.process_time()
        self.started_ns = time.perf_counter_ns()

    def stop(self) -> None:
        self.finished_ns = time.perf_counter_ns()
        self.cpu_seconds = time.process_time() - self.cpu_start
        self.calibration_after_ms = calibrate()

    def report(self, versions: dict[str, str], **more: Any) -> None:
        """Print the result line."""
        result = {name: value for name, value in vars(self).items() if name != "waits_ns"}
        result["versions"] = {"python": platform.python_version()} | versions
        result |= {"figures": {}, "percentiles": []}
        if self.waits_ns:
            waits_us = [value / 1e3 for value in spread_out(self.waits_ns)]
            result |= {"figures": tails("", waits_us, "us"), "percentiles": waits_us}
        print(json.dumps(result | more), flush=True)

    def report_all(self, name: str, values_ms: Sequence[float], versions: dict[str, str]) -> None:
        """Print the result line of *values_ms*, which are called *name*."""
        percentiles = spread_out(values_ms)
        cpu_ms_per_second = self.cpu_seconds / (self.finished_ns - self.started_ns) * 1e12
        figures = tails(name, percentiles, "ms") | {"cpu_ms_per_second": cpu_ms_per_second}
        self.report(versions, figures=figures, percentiles=percentiles)


class Ticker:
    """
    Measures for so many *seconds* how late an event loop is.

    A callback is due every millisecond. Where one runs late, the loop was busy, and all that were due
    meanwhile are late too.
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
        """Count the ticks that are overdue in a loop that does not come back."""
        now = self.loop.time()
        while self.due < min(self.end, now):
            self.late.append(now - self.due)
            self.due += TICK_SECONDS


class Board(ctypes.Structure):
    """
    A small file of whole numbers that two processes share.

    The harness of the fault trials reads it even after the client was killed. Moments are those of
    `time.monotonic_ns`; 0 means "not yet". ``told`` is one more than the events that the shutdown call
    says it did not deliver; 0 means that it said nothing.
    """

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("started_ns", "tracking_ended_ns", "closed_ns", "last_tick_ns", "worst_stall_ns"),
            *("tracked", "raised", "told"),
        )
    ]


def board_in(path: Path) -> Any:
    """Return the `Board` in the file at *path*."""
    with path.open("r+b") as file:
        file.truncate(ctypes.sizeof(Board))
        return Board.from_buffer(mmap.mmap(file.fileno(), 0))
