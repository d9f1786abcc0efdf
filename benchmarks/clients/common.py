"""
What all clients share: their events, their clock and their result line.

A client is a script. It takes its parameters as one JSON object in its first
argument and prints its result as one line of JSON. `Stopwatch` makes sure that
all of them measure the same things in the same way.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
from typing import Any

PRODUCT_SCHEMA = "iglu:com.acme/product/jsonschema/1-0-0"
VISITOR_SCHEMA = "iglu:com.acme/visitor/jsonschema/2-1-0"
PAGE_TITLE = "Trail running shoes | Acme outdoor shop"
REFERRER = "https://www.example.org/search?q=trail+running+shoes"
USERAGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
# Some 15 ms of plain Python at a time: long against a tick of the clock, short against a repeat.
CALIBRATION_STEPS = 200_000
CALIBRATION_TRIES = 3


def page_url(number: int) -> str:
    return f"https://shop.example.com/catalogue/shoes/trail?item={number}&sort=price"


def product(number: int) -> dict[str, Any]:
    """
    Return the data of the first entity of event *number*.
    """
    return {
        "sku": f"SKU-{number}",
        "name": "Trail runner, size 43, blue",
        "category": "shoes/running/trail",
        "price": 129.9,
        "currency": "EUR",
        "stock": 17,
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
    subject.set_domain_user_id("bc2e92ec6c204a14").set_domain_session_id(
        "9c65e7f3-8e8e-470d-b243-910b5b300da0"
    )
    return subject.set_domain_session_index(3)


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
        waits = sorted(self.waits_ns)
        result = {
            "started_ns": self.started_ns,
            "finished_ns": self.finished_ns,
            "cpu_seconds": self.cpu_seconds,
            "p50_us": quantile(waits, 0.50) / 1e3,
            "p99_us": quantile(waits, 0.99) / 1e3,
            "max_us": waits[-1] / 1e3,
            "calibration_before_ms": self.calibration_before_ms,
            "calibration_after_ms": self.calibration_after_ms,
            "versions": {"python": platform.python_version()} | versions,
        }
        print(json.dumps(result | more), flush=True)


def quantile(ordered: list[int], share: float) -> int:
    """
    Return the value below which *share* of the *ordered* ones lie (nearest rank).
    """
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


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
