"""
The rows: which clients do which work, how often, and which figures are read off them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from collector import WORKING, Fault


@dataclass(frozen=True, slots=True)
class Client:
    """A script with its parameters; *runs_on* is the environment of its interpreter (`environments.py`)."""

    title: str
    script: str
    runs_on: str
    parameters: dict[str, Any]

    @property
    def family(self) -> str:
        """The library: ``ours``, ``official``, ``aio`` or ``node``; ``none`` where nothing tracks."""
        is_bare = self.script == "works.py" or self.parameters.get("tracked_by") == "nobody"
        return "none" if is_bare else self.runs_on.partition("-")[0]


# By environment: the library's name, and the script that drives it.
LIBRARIES = {
    "ours": ("snowplow-aio", "ours.py"),
    "official": ("snowplow-tracker", "official.py"),
    "official-redis": ("snowplow-tracker 0.15.0", "official_redis.py"),
    "aio": ("aio-snowplow-tracker", "aio.py"),
    "node": ("@snowplow/node-tracker", "node.cjs"),
}


def tracking(runs_on: str, title: str, **parameters: Any) -> Client:
    name, script = LIBRARIES[runs_on]
    return Client(f"{name} {title}", script, runs_on, parameters)


def ours(title: str, emitter: str = "http", **parameters: Any) -> Client:
    return tracking("ours", title, emitter=emitter, **parameters)


def official(title: str, emitter: str = "Emitter", **parameters: Any) -> Client:
    return tracking("official", title, emitter=emitter, **parameters)


def served(title: str, tracked_by: str, runs_on: str = "ours", **parameters: Any) -> Client:
    load = {"tracked_by": tracked_by, "rate": 500, "connections": 32}
    return Client(title, "service.py", runs_on, load | parameters)


def served_by_official(emitter: str) -> Client:
    title = f"snowplow-tracker {emitter}, as shipped"
    return served(title, "official", "official-service", emitter=emitter)


TUNED: dict[str, Any] = {"batch_size": 100, "session": True, "quiet": True}
ENDLESS = 10**9
IMPORTS = {
    "import-pydantic": "import asyncio; from pydantic import BaseModel",
    "import-model": "import pydantic; pydantic.create_model('M', x=int)(x=1)",
    "import-ours": "import snowplow_aio; snowplow_aio.PageView(page_url='/')",
}
CLIENTS = {
    "emitter": official("Emitter, as shipped"),
    "emitter-tuned": official("Emitter, tuned", **TUNED),
    # By GET a batch is one event, however it is tuned.
    "emitter-tuned-get": official("Emitter, tuned", **TUNED | {"batch_size": 1}),
    "emitter-waiting": official("Emitter", batch_size=ENDLESS, buffer_capacity=ENDLESS),
    "async-emitter": official("AsyncEmitter, as shipped", "AsyncEmitter"),
    "async-emitter-tuned": official("AsyncEmitter, tuned", "AsyncEmitter", **TUNED),
    "async-emitter-threads": official("AsyncEmitter, tuned, 4 threads", "AsyncEmitter", **TUNED, threads=4),
    "official-redis": tracking("official-redis", "by Redis, as shipped"),
    "node": tracking("node", "as shipped"),
    # With 40,000 bytes, its default, no batch would have more than some 27 events.
    "node-tuned": tracking("node", "batches of 100", batch_size=100, max_post_bytes=500_000),
    "aio": tracking("aio", "as shipped, by POST"),
    "aio-tuned": tracking("aio", "tuned", **TUNED),
    "ours": ours("defaults"),
    "ours-models": ours("defaults, entity models", entities="model"),
    "ours-uvloop": ours("defaults, uvloop", loop="uvloop"),
    "ours-null": ours("null emitter", "null"),
    "ours-null-unchecked": ours("null emitter, no validation", "null", validation=False),
    "ours-waiting": ours("HttpEmitter", "store"),
    "ours-redis": ours("by Redis", "redis"),
    **{f"tasks-{count}": ours(f"tasks: {count}", tasks=count) for count in (1, 10, 100)},
    **{f"events-{count}": ours(f"{count} events") for count in ("10k", "100k", "1m")},
    **{f"contexts-{more}k": ours(f"{more} kB more", padding=more * 1000) for more in (0, 4, 16, 64)},
    "idle": Client("a loop that tracks nothing", "works.py", "ours", {}),
    **{name: Client(code, "works.py", "core", {"code": code}) for name, code in IMPORTS.items()},
    "served-alone": served("a service that tracks nothing", "nobody"),
    "served-emitter": served_by_official("Emitter"),
    "served-async-emitter": served_by_official("AsyncEmitter"),
    "served-ours": served("snowplow-aio, CurrentTracker", "ours", found="dependency"),
    "served-ours-request": served("snowplow-aio, tracker_of(request)", "ours", found="request"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """Clients that do the same *work* (`clients/works.py`) and take turns."""

    name: str
    title: str
    # Clients, each with its events per repeat. A repeat takes about half a second: many short ones
    # tell more than a few long ones where the CPU changes its speed.
    counts: dict[str, int]
    work: str = "send"
    # The figures that the table shows, the first one with its spread.
    metrics: str = "events_per_second cpu_us p50_us p99_us"
    # How long a repeat takes, where that does not depend on the events.
    seconds: float = 0.0
    event: str = "page_view"
    method: str = "post"
    scheme: str = "http"
    fault: Fault = WORKING
    # Where the events are counted: at the ``collector``, in ``redis``, or by the ``client``.
    counted_at: str = "collector"
    # After so many for each client, no further round begins.
    extra_seconds: float = 12.0
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def clients(self) -> dict[str, Client]:
        return {name: CLIENTS[name] for name in self.counts}


def row(name: str, title: str, words: str, work: str = "send", *more: Any, **changes: Any) -> Row:
    """Return a row of the clients that stand in *words*, each followed by its events per repeat."""
    names, numbers = words.split()[::2], words.split()[1::2]
    counts = {one: int(number) for one, number in zip(names, numbers, strict=True)}
    return Row(name, title, counts, work, *more, **changes)


def in_a_loop(state: str, title: str, fault: Fault) -> Row:
    """Return the row of an event loop with 500 events a second and a ticker."""
    return row(
        f"loop-{state}",
        f"How late a loop is that tracks 500 events a second, {title}",
        "idle 0 emitter 0 async-emitter 0 ours 0",
        "tick_along",
        "late_p99_ms late_p50_ms late_max_ms cpu_ms_per_second",
        seconds=2.0,
        fault=fault,
        counted_at="client",
    )


def in_a_service(state: str, title: str, fault: Fault = WORKING, **server: str) -> Row:
    """Return the row of a FastAPI service under uvicorn that tracks one event for each request."""
    is_flushed = fault == WORKING
    # Seconds after a load for which its last answers are waited for: all of them, where events are counted.
    patience = 30.0 if is_flushed else 2.0
    parameters = {"loop": "asyncio", "http": "h11", "is_flushed": is_flushed, "patience": patience}
    return row(
        f"service-{state}",
        f"A FastAPI service that tracks one event for each request, {title}",
        "served-alone 0 served-emitter 0 served-async-emitter 0 served-ours 0 served-ours-request 0",
        "serve",
        "requests_per_second request_cpu_us p50_ms p99_ms stall_ms",
        seconds=2.0,
        fault=fault,
        # Where the collector fails, the last event is not waited for.
        counted_at="collector" if is_flushed else "client",
        # Fewer rounds than five tell nothing, and these are long.
        extra_seconds=60.0,
        parameters=parameters | server,
    )


DEAD = Fault(refused_for=inf)
ROWS = (
    # Where it is not said otherwise, a page view has a subject and two entities, and goes in base64 by POST.
    row(
        "page_view",
        "Page view",
        "emitter 4000 emitter-tuned 10000 async-emitter 4000 async-emitter-tuned 10000 node 20000 "
        "node-tuned 20000 aio 1500 aio-tuned 8000 ours 50000 ours-models 50000 ours-uvloop 50000",
    ),
    row(
        "structured",
        "Structured event with subject, no entities",
        "emitter 4000 emitter-tuned 12000 async-emitter-tuned 12000 ours 80000",
        event="structured",
    ),
    row("get", "Page view by GET", "emitter 400 emitter-tuned-get 500 ours 2000", method="get"),
    row(
        "tls",
        "Page view over TLS",
        "emitter 200 emitter-tuned 8000 ours 50000 ours-uvloop 50000",
        scheme="https",
    ),
    row(
        "rtt",
        "Page view, 50 ms of round trip",
        "emitter 300 async-emitter-threads 4000 node 1000 ours 50000 ours-uvloop 50000",
        fault=Fault(delay=0.05),
    ),
    row(
        "building", "Page view, built only", "ours-null 25000 ours-null-unchecked 25000", counted_at="client"
    ),
    in_a_loop("answering", "collector answers after 50 ms", Fault(delay=0.05)),
    in_a_loop("refusing", "connections refused", DEAD),
    in_a_loop("hanging", "collector never answers", Fault(hangs=True)),
    row(
        "memory",
        "Memory of the page view while it waits",
        "emitter-waiting 50000 ours-waiting 50000",
        "queue_up",
        "overhead_bytes resident_bytes json_bytes",
        counted_at="client",
    ),
    row("idle", "A loop after a thousand events", "ours 1000", "idle", "wakeups_per_second", 5.0),
    row(
        "import",
        "Import in a fresh process",
        "import-pydantic 0 import-model 0 import-ours 0",
        "time_import",
        "import_ms",
        counted_at="client",
    ),
    row("linear-events", "More events", "events-10k 10000 events-100k 100000 events-1m 1000000"),
    row("linear-tasks", "More tasks that track at a time", "tasks-1 50000 tasks-10 50000 tasks-100 50000"),
    row(
        "linear-contexts",
        "Larger contexts",
        "contexts-0k 30000 contexts-4k 20000 contexts-16k 8000 contexts-64k 2500",
        metrics="cpu_us events_per_second p50_us p99_us",
    ),
    row("redis-emit", "Page view into Redis", "official-redis 4000 ours-redis 50000", counted_at="redis"),
    row(
        "redis-drain",
        "Page view out of Redis, where all wait already, and to the collector",
        "official-redis 3000 ours-redis 40000",
        "drain",
        "events_per_second cpu_us",
    ),
    row(
        "redis-latency",
        "From one track through Redis to the collector's answer, 20 events a second, batches of one",
        # The old worker sleeps for five seconds when it finds nothing.
        "official-redis 100 ours-redis 100",
        "pass_on",
        "passed_p50_ms passed_p99_ms passed_max_ms cpu_ms_per_second",
        5.0,
    ),
    in_a_service("answering", "collector answers"),
    in_a_service("refusing", "connections refused", DEAD),
    in_a_service("slow", "collector answers after 2 s", Fault(delay=2.0)),
    in_a_service("standard", "uvloop and httptools, collector answers", loop="uvloop", http="httptools"),
)


def chosen(names: Sequence[str], clients: Sequence[str]) -> list[Row]:
    """
    Return the rows called *names* (all, if none) with those of their clients that *clients* admits.

    ``loop`` stands for all rows whose names begin with ``loop-``. *clients* holds names of
    clients, ``own`` for those that need no other library, or ``peers`` for all others.
    """

    def is_admitted(name: str) -> bool:
        group = "own" if CLIENTS[name].runs_on in ("ours", "core") else "peers"
        return not clients or group in clients or name in clients

    named = [row for row in ROWS if not names or {row.name, row.name.partition("-")[0]} & {*names}]
    rows = [
        replace(row, counts={one: row.counts[one] for one in row.counts if is_admitted(one)}) for row in named
    ]
    return [row for row in rows if row.counts]
