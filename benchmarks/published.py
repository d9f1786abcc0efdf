"""
The figures that docs/explanation/performance.md publishes, and the limits that the library has set itself.

Each line names the row that it is read from. A run prints the lines of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from measure import RATE, SPEED, RefusedError, Summary, is_rate, ratio, trusted

# The summaries of one row, by the name of the client.
Found = Mapping[str, Summary]


@dataclass(frozen=True, slots=True)
class Line:
    """
    One published figure of a client of ours, and the *limit* that the library has set itself.

    Its *kind* is how many ``times`` better than the fastest of *bases*, how many times what it
    ``costs`` there, how much ``worse`` it is (in per cent, of a rate), or the figure ``itself``.
    """

    kind: str
    text: str
    against: str
    # The row, and after a slash the client, where that is not ``ours``.
    place: str
    bases: str = ""
    limit: float | None = None
    metric: str = SPEED

    @property
    def row(self) -> str:
        return self.place.partition("/")[0]

    @property
    def clients(self) -> tuple[str, ...]:
        return self.place.partition("/")[2] or "ours", *self.bases.split()

    @property
    def unit(self) -> str:
        if self.kind in ("times", "costs"):
            return "×"
        is_share = self.kind == "worse" and is_rate(self.metric)
        return "%" if is_share else UNITS[self.metric.rpartition("_")[2]]

    def value(self, found: Found) -> float:
        client, *bases = self.clients
        if self.kind == "itself":
            return trusted(self.metric, found[client], inf)
        # Whichever is there: each of them is one tuning of the same peer.
        best = max(bases, key=lambda name: found[name].medians.get(SPEED, 0.0) if name in found else -1.0)
        if self.kind == "worse":
            mine, its = trusted(self.metric, found[client]), trusted(self.metric, found[best])
            return (1 - mine / its) * 100 if self.unit == "%" else mine - its
        times = ratio(self.metric, found[client], found[best])
        return times if self.kind == "times" else 1 / times

    def told(self, found: Found) -> dict[str, Any]:
        """Return the line with its limit, and what it says about what was *found* in its row."""
        is_least, limit, is_met = self.kind == "times", self.limit, None
        asked = "" if limit is None else f"{'≥' if is_least else '≤'} {limit:g} {self.unit}"
        try:
            value = self.value(found)
        except (RefusedError, KeyError) as refusal:
            text = "not run" if isinstance(refusal, KeyError) else str(refusal)
        else:
            text = f"{value:{FORMS[self.kind]}} {self.unit}"
            if limit is not None:
                is_met = value >= limit if is_least else value <= limit
        same = {name: getattr(self, name) for name in ("text", "against", "row")}
        return same | {"asked": asked, "found": text, "is_met": is_met}


UNITS = {"us": "µs", "ms": "ms", "bytes": "B", "second": "/s"}
FORMS = {"times": ".1f", "costs": ".2f", "worse": ".2g", "itself": ".3g"}
SHIPPED, TUNED, OLD = "emitter", "emitter-tuned async-emitter-tuned", "official-redis"
AS_SHIPPED, BEST_TUNING = "snowplow-tracker, as shipped", "its best tuning"
STATES = {"answering": "", "refusing": ", collector dead", "slow": ", collector slow", "standard": ", uvloop"}


def of_service(state: str, client: str) -> tuple[Line, ...]:
    """Return what a service loses by one event for each request."""
    row, titles = f"service-{state}", {"served-ours": "CurrentTracker", "served-ours-request": "tracker_of"}
    text, place = f"service{STATES[state]}, {titles[client]}: ", f"{row}/{client}"
    base, rate = "served-alone", f"{text}requests/s"
    return (
        Line("worse", f"{text}CPU of a request", base, place, base, None, "request_cpu_us"),
        Line("worse", rate, base, place, base, 5, RATE),
        Line("times", rate, AS_SHIPPED, place, "served-emitter", None, RATE),
        Line("worse", f"{text}p99", base, place, base, 0.3, "p99_ms"),
        Line("itself", f"{text}longest stall", "", place, "", 5, "stall_ms"),
    )


PAGE_VIEW, STRUCTURED = "page view by POST, events/s", "structured event, events/s"
WAIT, MEMORY = "wait of one `track`, 99th percentile", "memory beyond its JSON, of an event that waits"
REDIS, LATENCY = "into Redis; out of it", "from `track` through Redis to the collector's answer, median"
IMPORTING, WAITING, CONTEXTS = "import and a page view", "memory/ours-waiting", "linear-contexts/contexts"
LINES = (
    Line("times", PAGE_VIEW, AS_SHIPPED, "page_view", SHIPPED, 12),
    Line("times", PAGE_VIEW, BEST_TUNING, "page_view", TUNED, 4),
    Line("times", PAGE_VIEW, "node-tracker, as shipped", "page_view", "node", 8),
    Line("times", PAGE_VIEW, "… in batches of 100", "page_view", "node-tuned", 8),
    Line("times", PAGE_VIEW, "aio-snowplow-tracker, as shipped", "page_view", "aio", 8),
    Line("times", PAGE_VIEW, "… tuned", "page_view", "aio-tuned", 8),
    Line("times", "CPU for each of them", BEST_TUNING, "page_view", TUNED, 4, "cpu_us"),
    Line("times", WAIT, AS_SHIPPED, "page_view", SHIPPED, 40, "p99_us"),
    Line("times", STRUCTURED, BEST_TUNING, "structured", TUNED, 4.5),
    Line("times", "by GET", "its Emitter, as shipped", "get", SHIPPED, 6),
    Line("times", "by GET", "… tuned", "get", "emitter-tuned-get"),
    Line("times", "over TLS", AS_SHIPPED, "tls", SHIPPED, 100),
    Line("times", "over TLS", "… tuned", "tls", "emitter-tuned"),
    Line("times", "50 ms of round trip, defaults on both sides", AS_SHIPPED, "rtt", SHIPPED, 100),
    Line("times", REDIS, "RedisEmitter 0.15.0", "redis-emit/ours-redis", OLD, 10),
    Line("times", REDIS, "RedisWorker 0.15.0", "redis-drain/ours-redis", OLD, 10),
    Line("times", LATENCY, "both of 0.15.0", "redis-latency/ours-redis", OLD, None, "passed_p50_ms"),
    Line("times", MEMORY, "snowplow-tracker", WAITING, "emitter-waiting", None, "overhead_bytes"),
    Line("itself", "… itself", "", WAITING, "", 250, "overhead_bytes"),
    *(
        Line("costs", f"loop late, {state}", "idle loop", f"loop-{state}", "idle", 2, "late_p99_ms")
        for state in ("answering", "refusing", "hanging")
    ),
    Line("times", "without validation", "with it", "building/ours-null-unchecked", "ours-null"),
    Line("times", "10,000 events, events/s", "100,000", "linear-events/events-10k", "events-100k"),
    Line("times", "1,000,000 events, events/s", "100,000", "linear-events/events-1m", "events-100k"),
    Line("times", "10 tasks, events/s", "one", "linear-tasks/tasks-10", "tasks-1"),
    Line("times", "100 tasks, events/s", "one", "linear-tasks/tasks-100", "tasks-1"),
    *(
        Line(
            "worse", f"{more} kB contexts, CPU", "none", f"{CONTEXTS}-{more}k", "contexts-0k", None, "cpu_us"
        )
        for more in (4, 16, 64)
    ),
    Line("itself", "idle tracker, wake-ups", "", "idle", "", 0, "wakeups_per_second"),
    Line("costs", IMPORTING, "from pydantic …", "import/import-ours", "import-pydantic", 1.25, "import_ms"),
    Line("costs", IMPORTING, "one model", "import/import-ours", "import-model", None, "import_ms"),
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
