"""
The figures that docs/explanation/performance.md publishes, and the limits that the library has set itself.

Each line names the row that it is read from. A run prints the lines of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from measure import RATE, SPEED, RefusedError, Summary, ratio, trusted

# The summaries of one row, by the name of the client.
Found = Mapping[str, Summary]


@dataclass(frozen=True, slots=True)
class Line:
    """One published figure: of the first of *clients* of *row*, which is ours, as it is *shown*."""

    text: str
    against: str
    row: str
    metric: str
    clients: tuple[str, ...]
    value: Callable[[Found], float]
    shown: str
    least: float | None = None
    most: float | None = None

    def told(self, found: Found) -> dict[str, Any]:
        """Return the line with its limit, and what it says about what was *found* in its row."""
        asked, is_met, unit = "", None, self.shown.partition("}")[2]
        if self.least is not None or self.most is not None:
            asked = f"≤ {self.most:g}{unit}" if self.least is None else f"≥ {self.least:g}{unit}"
        try:
            value = self.value(found)
        except (RefusedError, KeyError) as refusal:
            text = "not run" if isinstance(refusal, KeyError) else str(refusal)
        else:
            text = self.shown.format(value)
            if asked:
                is_met = value <= self.most if self.least is None else value >= self.least
        same = {name: getattr(self, name) for name in ("text", "against", "row")}
        return same | {"asked": asked, "found": text, "is_met": is_met}


def parts(place: str) -> tuple[str, str]:
    """Return the row that *place* names, and the client: after a slash, where it is not ``ours``."""
    row, _, client = place.partition("/")
    return row, client or "ours"


def times(
    text: str, against: str, place: str, peers: str, least: float | None = None, *, metric: str = SPEED
) -> Line:
    """Return how many times better a client is than the fastest of *peers*, which is to be *least*."""
    (row, client), names = parts(place), tuple(peers.split())

    def value(found: Found) -> float:
        # Whichever is there: each of them is one tuning of the same peer.
        best = max(names, key=lambda name: found[name].medians.get(SPEED, 0.0) if name in found else -1.0)
        return ratio(metric, found[client], found[best])

    return Line(text, against, row, metric, (client, *names), value, "{:.1f} ×", least=least)


def costs(text: str, against: str, place: str, base: str, *, metric: str, most: float | None = None) -> Line:
    """Return how many times the cost of *base* a client's is, which is to be *most* at most."""
    row, client = parts(place)

    def value(found: Found) -> float:
        return 1 / ratio(metric, found[client], found[base])

    return Line(text, against, row, metric, (client, base), value, "{:.2f} ×", most=most)


def at_most(text: str, place: str, metric: str, most: float, unit: str) -> Line:
    """Return a figure of a client, which is to be *most* at most."""
    row, client = parts(place)

    def value(found: Found) -> float:
        return trusted(metric, found[client], inf)

    return Line(text, "", row, metric, (client,), value, f"{{:.3g}} {unit}", most=most)


def loss(text: str, place: str, metric: str, base: str, *, unit: str, most: float | None = None) -> Line:
    """Return by how much (in per cent, of a rate) a figure is worse than that of the client *base*."""
    row, client = parts(place)

    def value(found: Found) -> float:
        mine, its = trusted(metric, found[client]), trusted(metric, found[base])
        return (1 - mine / its) * 100 if unit == "%" else mine - its

    return Line(text, base, row, metric, (client, base), value, f"{{:.2g}} {unit}", most=most)


SHIPPED, TUNED = "emitter", "emitter-tuned async-emitter-tuned"
AS_SHIPPED, BEST_TUNING = "snowplow-tracker, as shipped", "its best tuning"
STATES = {"answering": "", "refusing": ", collector dead", "slow": ", collector slow", "standard": ", uvloop"}


def of_service(state: str, client: str) -> tuple[Line, ...]:
    """Return what a service loses by one event for each request."""
    row, titles = f"service-{state}", {"served-ours": "CurrentTracker", "served-ours-request": "tracker_of"}
    text, place = f"service{STATES[state]}, {titles[client]}: ", f"{row}/{client}"
    return (
        loss(f"{text}CPU of a request", place, "request_cpu_us", "served-alone", unit="µs"),
        loss(f"{text}requests/s", place, RATE, "served-alone", unit="%", most=5),
        times(f"{text}requests/s", AS_SHIPPED, place, "served-emitter", metric=RATE),
        loss(f"{text}p99", place, "p99_ms", "served-alone", unit="ms", most=0.3),
        at_most(f"{text}longest stall", place, "stall_ms", 5, "ms"),
    )


PAGE_VIEW, STRUCTURED = "page view by POST, events/s", "structured event, events/s"
REDIS, LATENCY = "into Redis; out of it", "from `track` through Redis to the collector's answer, median"
MEMORY, IMPORTING = "memory beyond its JSON, of an event that waits", "import and a page view"
LINES = (
    times(PAGE_VIEW, AS_SHIPPED, "page_view", SHIPPED, 12),
    times(PAGE_VIEW, BEST_TUNING, "page_view", TUNED, 4),
    times(PAGE_VIEW, "node-tracker, as shipped", "page_view", "node", 8),
    times(PAGE_VIEW, "… in batches of 100", "page_view", "node-tuned", 8),
    times(PAGE_VIEW, "aio-snowplow-tracker, as shipped", "page_view", "aio", 8),
    times(PAGE_VIEW, "… tuned", "page_view", "aio-tuned", 8),
    times("CPU for each of them", BEST_TUNING, "page_view", TUNED, 4, metric="cpu_us"),
    times("wait of one `track`, 99th percentile", AS_SHIPPED, "page_view", SHIPPED, 40, metric="p99_us"),
    times(STRUCTURED, BEST_TUNING, "structured", TUNED, 4.5),
    times("by GET", "its Emitter, as shipped", "get", SHIPPED, 6),
    times("by GET", "… tuned", "get", "emitter-tuned-get"),
    times("over TLS", AS_SHIPPED, "tls", SHIPPED, 100),
    times("over TLS", "… tuned", "tls", "emitter-tuned"),
    times("50 ms of round trip, defaults on both sides", AS_SHIPPED, "rtt", SHIPPED, 100),
    times(REDIS, "RedisEmitter 0.15.0", "redis-emit/ours-redis", "official-redis", 10),
    times(REDIS, "RedisWorker 0.15.0", "redis-drain/ours-redis", "official-redis", 10),
    times(LATENCY, "both of 0.15.0", "redis-latency/ours-redis", "official-redis", metric="passed_p50_ms"),
    times(MEMORY, "snowplow-tracker", "memory/ours-waiting", "emitter-waiting", metric="overhead_bytes"),
    at_most("… itself", "memory/ours-waiting", "overhead_bytes", 250, "B"),
    *(
        costs(f"loop late, {state}", "idle loop", f"loop-{state}", "idle", metric="late_p99_ms", most=2)
        for state in ("answering", "refusing", "hanging")
    ),
    times("without validation", "with it", "building/ours-null-unchecked", "ours-null"),
    times("10,000 events, events/s", "100,000", "linear-events/events-10k", "events-100k"),
    times("1,000,000 events, events/s", "100,000", "linear-events/events-1m", "events-100k"),
    *(
        times(f"{tasks} tasks, events/s", "one", f"linear-tasks/tasks-{tasks}", "tasks-1")
        for tasks in (10, 100)
    ),
    *(
        loss(
            f"{more} kB more of contexts, CPU",
            f"linear-contexts/contexts-{more}k",
            "cpu_us",
            "contexts-0k",
            unit="µs",
        )
        for more in (4, 16, 64)
    ),
    at_most("idle tracker, wake-ups", "idle", "wakeups_per_second", 0, "/s"),
    costs(
        IMPORTING, "from pydantic …", "import/import-ours", "import-pydantic", metric="import_ms", most=1.25
    ),
    costs(IMPORTING, "one model", "import/import-ours", "import-model", metric="import_ms"),
    *(
        line
        for state in STATES
        for client in ("served-ours-request", "served-ours")
        for line in of_service(state, client)
    ),
)


def told(found: Mapping[str, Found]) -> list[dict[str, Any]]:
    return [line.told(found[line.row]) for line in LINES if line.row in found]


def table(lines: list[dict[str, Any]]) -> str:
    met = {True: "yes", False: "NO", None: "–"}
    heading = {"text": "published", "against": "against", "found": "found", "asked": "asked"}
    rows = [(heading, "met"), *((line, met[line["is_met"]]) for line in lines)]
    return "".join(
        f"\n  {line['text']:<64}{line['against']:<34}{line['found']:>24}{line['asked']:>16}{is_met:>6}"
        for line, is_met in rows
    )
