"""
The figures that docs/explanation/performance.md publishes, and the limits that the library has set itself.

Each line names the row that it is read from. A run prints the lines of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from measure import CPU, MIN_REPEATS, P99, RATE, SPEED, Metric, Summary, metrics, ratio, refuse

# The summaries of one row, by the name of the client.
Found = Mapping[str, Summary]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a run says; *is_met* is None where there is no limit, or nothing can be said."""

    found: str
    is_met: bool | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One published figure: of the first of *clients* of *row*, which is ours; the limit in words."""

    text: str
    against: str
    row: str
    metric: Metric
    clients: tuple[str, ...]
    asked: str
    judge: Callable[[Found], Verdict]


def times(
    text: str,
    against: str,
    place: str,
    peers: str,
    least: float | None = None,
    *,
    metric: Metric = SPEED,
    is_cost: bool = False,
) -> Line:
    """
    Return how many times better a client is than the fastest of *peers*, and whether that is *least* or more.

    *place* is a row, with a client after a slash where that is not ``ours``. A cost is
    written the other way round, and may be 1/*least* times theirs.
    """
    row, _, client = place.partition("/")
    client, names = client or "ours", tuple(peers.split())

    def judge(found: Found) -> Verdict:
        there = [found[name] for name in names if name in found and found[name].medians]
        theirs = max(there, key=lambda one: one.medians.get(SPEED.name, 0.0), default=None)
        if client not in found or theirs is None:
            return Verdict(found="not run")
        made = ratio(metric, found[client], theirs)
        if made.value is None:
            return Verdict(found=made.refusal or "")
        shown = f"{1 / made.value:.2f} ×" if is_cost else f"{made.value:.1f} ×"
        return Verdict(found=shown, is_met=None if least is None else made.value >= least)

    asked = "" if least is None else f"≤ {1 / least:g} ×" if is_cost else f"≥ {least:g} ×"
    return Line(text, against, row, metric, (client, *names), asked, judge)


def at_most(text: str, row: str, name: str, most: float, *, unit: str, client: str = "ours") -> Line:
    """Return the figure *name* of a client, and whether it is *most* at most."""

    def judge(found: Found) -> Verdict:
        if client not in found or not found[client].medians:
            return Verdict(found="not run")
        if not found[client].is_complete or found[client].usable < MIN_REPEATS:
            return Verdict(found="too few")
        value = found[client].medians[name]
        return Verdict(found=f"{value:.3g} {unit}", is_met=value <= most)

    asked = f"≤ {most:g} {unit}"
    return Line(text, "", row, metrics(name)[0], (client,), asked, judge)


def loss(
    text: str, place: str, metric: Metric, base: str, *, most: float | None = None, unit: str = "%"
) -> Line:
    """
    Return by how much a figure is worse than that of the client *base*, and whether that is *most* at most.

    The loss of a rate is a share, told in per cent; that of a cost has the *unit* of the figure.
    """
    row, _, client = place.partition("/")
    scale = 100 if metric.more_is_better else 1

    def judge(found: Found) -> Verdict:
        if client not in found or base not in found:
            return Verdict(found="not run")
        refusal = refuse(metric, found[client]) or refuse(metric, found[base])
        if refusal is not None:
            return Verdict(found=refusal)
        mine, its = found[client].medians[metric.name], found[base].medians[metric.name]
        lost = 1 - mine / its if metric.more_is_better else mine - its
        return Verdict(found=f"{lost * scale:.2g} {unit}", is_met=None if most is None else lost <= most)

    words = "less" if metric.more_is_better else "more"
    asked = "" if most is None else f"≤ {most * scale:g} {unit} {words}"
    return Line(text, base, row, metric, (client, base), asked, judge)


SHIPPED, TUNED = "emitter", "emitter-tuned async-emitter-tuned"
AS_SHIPPED, BEST_TUNING = "snowplow-tracker, as shipped", "its best tuning"
LATE_P99, PASSED_P50, IMPORT, OVERHEAD = metrics("late_p99_ms, passed_p50_ms, import_ms, overhead_bytes")
REQUEST_CPU, ANSWER_P99 = metrics("request_cpu_us, p99_ms")
STATES = {"answering": "", "refusing": ", collector dead", "slow": ", collector slow", "standard": ", uvloop"}


def of_service(state: str, client: str) -> tuple[Line, ...]:
    """Return what a service loses by one event for each request."""
    row, titles = f"service-{state}", {"ours": "CurrentTracker", "ours-request": "tracker_of"}
    text, place = f"service{STATES[state]}, {titles[client]}: ", f"{row}/{client}"
    return (
        loss(f"{text}CPU of a request", place, REQUEST_CPU, "alone", unit="µs"),
        loss(f"{text}requests/s", place, RATE, "alone", most=0.05),
        times(f"{text}requests/s", AS_SHIPPED, place, SHIPPED, metric=RATE),
        loss(f"{text}p99", place, ANSWER_P99, "alone", most=0.3, unit="ms"),
        at_most(f"{text}longest stall", row, "stall_ms", 5, unit="ms", client=client),
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
    times("CPU for each of them", BEST_TUNING, "page_view", TUNED, 4, metric=CPU),
    times("wait of one `track`, 99th percentile", AS_SHIPPED, "page_view", SHIPPED, 40, metric=P99),
    times(STRUCTURED, BEST_TUNING, "structured", TUNED, 4.5),
    times("by GET", "its Emitter, as shipped", "get", SHIPPED, 6),
    times("by GET", "… tuned", "get", "emitter-tuned-get"),
    times("over TLS", AS_SHIPPED, "tls", SHIPPED, 100),
    times("over TLS", "… tuned", "tls", "emitter-tuned"),
    times("50 ms of round trip, defaults on both sides", AS_SHIPPED, "rtt", SHIPPED, 100),
    times(REDIS, "RedisEmitter 0.15.0", "redis-emit", SHIPPED, 10),
    times(REDIS, "RedisWorker 0.15.0", "redis-drain", "worker", 10),
    times(LATENCY, "both of 0.15.0", "redis-latency", "worker", metric=PASSED_P50),
    times(MEMORY, "snowplow-tracker", "memory", SHIPPED, metric=OVERHEAD),
    at_most("… itself", "memory", OVERHEAD.name, 250, unit="B"),
    *(
        times(f"loop late, {state}", "idle loop", f"loop-{state}", "idle", 0.5, metric=LATE_P99, is_cost=True)
        for state in ("answering", "refusing", "hanging")
    ),
    times("building, null emitter", "its track", "building/ours-null", "null", 2),
    times("building, accepting", "its track", "building/ours-store", "null", 2),
    times("… without validation", "validating", "building/ours-null-unchecked", "ours-null"),
    times("10,000 events, events/s", "100,000", "linear-events/10k", "100k"),
    times("1,000,000 events, events/s", "100,000", "linear-events/1m", "100k"),
    *(times(f"{tasks} tasks, events/s", "one", f"linear-tasks/{tasks}", "1") for tasks in (10, 100)),
    *(
        loss(f"{more} kB more of contexts, CPU", f"linear-contexts/{more}k", CPU, "0k", unit="µs")
        for more in (4, 16, 64)
    ),
    at_most("idle tracker, wake-ups", "idle", "wakeups_per_second", 0, unit="/s"),
    times(IMPORTING, "from pydantic …", "import", "pydantic", 0.8, metric=IMPORT, is_cost=True),
    times(IMPORTING, "one model", "import", "model", metric=IMPORT, is_cost=True),
    at_most("aiohttp, redis, celery imported", "import", "heavy_modules", 0, unit="modules"),
    *(line for state in STATES for client in ("ours-request", "ours") for line in of_service(state, client)),
)


def judged(found: Mapping[str, Found]) -> list[tuple[Line, Verdict]]:
    """Return what was *found*, by row, about each line whose row was run."""
    return [(line, line.judge(found[line.row])) for line in LINES if line.row in found]


def table(found: Mapping[str, Found]) -> str:
    met = {True: "yes", False: "NO", None: "–"}
    lines = ["", f"  {'published':<64}{'against':<34}{'found':>24}{'asked':>16}{'met':>6}"]
    lines += [
        f"  {line.text:<64}{line.against:<34}{verdict.found:>24}{line.asked:>16}{met[verdict.is_met]:>6}"
        for line, verdict in judged(found)
    ]
    return "\n".join(lines)


def as_json(found: Mapping[str, Found]) -> list[dict[str, Any]]:
    return [
        {name: getattr(line, name) for name in ("text", "against", "row", "asked")}
        | {"found": verdict.found, "is_met": verdict.is_met}
        for line, verdict in judged(found)
    ]
