"""
The rows: which clients do which work, how often, and which figures are read off them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from measure import CPU, P50, P99, RATE, SPEED, Metric, metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """
    One client with its parameters.

    Args:
        runs_on: The environment of its interpreter, a name of `environments.py`;
            ``ours`` is the interpreter that runs the benchmarks.

        events: Per repeat, chosen so that a repeat takes about half a second: many short
            ones tell more than a few long ones where the CPU changes its speed.

        seconds: How long a repeat takes, where that does not depend on the events.

        is_scaled: Whether a quick run has less of both.

        needs: A module that must be installed beside those of its environment.
    """

    title: str
    script: str
    runs_on: str = "ours"
    name: str = ""
    events: int = 0
    seconds: float = 0.0
    is_scaled: bool = True
    parameters: dict[str, Any] = field(default_factory=dict)
    needs: str | None = None

    @property
    def family(self) -> str:
        """The library: ``ours``, ``official``, ``aio`` or ``node``; ``none`` where nothing tracks."""
        is_bare = self.script == "works.py" or self.parameters.get("tracked_by") == "nobody"
        return "none" if is_bare else self.runs_on.partition("-")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """
    Clients that do the same *work* (`clients/works.py`) and take turns.

    Args:
        at_sink: Whether events go to the sink and are counted there.

        metrics: The figures that the table shows, the first one with its spread.

        is_timed: Whether the time from the first `track` to the last event is a figure.

        state: ``answering`` (after *delay* seconds), ``refusing`` or ``hanging``: the collector.

        extra_seconds: After so many for each client, no further round begins.

        queue: Whether there is a Redis, and events are counted in its queue when all are
            ``written``, or go through it (``drained``).
    """

    name: str
    title: str
    clients: tuple[Client, ...]
    work: str = "send"
    event: str = "page_view"
    method: str = "post"
    scheme: str = "http"
    at_sink: bool = True
    metrics: tuple[Metric, ...] = (SPEED, CPU, P50, P99)
    is_timed: bool = True
    state: str = "answering"
    delay: float = 0.0
    extra_seconds: float = 12.0
    queue: str | None = None


def official(title: str, emitter: str = "Emitter", **parameters: Any) -> Client:
    """Return a client of snowplow-tracker 1.1.0."""
    parameters = {"emitter": emitter} | parameters
    return Client(
        title=f"snowplow-tracker {title}", script="official.py", runs_on="official", parameters=parameters
    )


def official_redis(title: str, **parameters: Any) -> Client:
    """Return a client of the last snowplow-tracker that knew Redis."""
    made = official(f"0.15.0 {title}", **parameters)
    return replace(made, script="official_redis.py", runs_on="official-redis")


def node(title: str, **parameters: Any) -> Client:
    # Its engine compiles code that has run some thousand times, so a quick run has no fewer events.
    title = f"@snowplow/node-tracker {title}"
    return Client(title=title, script="node.cjs", runs_on="node", is_scaled=False, parameters=parameters)


def aio(title: str, **parameters: Any) -> Client:
    title = f"aio-snowplow-tracker {title}"
    return Client(title=title, script="aio.py", runs_on="aio", parameters=parameters)


def ours(title: str, *, needs: str | None = None, **parameters: Any) -> Client:
    parameters = {"emitter": "http"} | parameters
    return Client(title=f"snowplow-aio {title}", script="ours.py", parameters=parameters, needs=needs)


TUNED: dict[str, Any] = {"batch_size": 100, "session": True, "quiet": True}
# Clients that send, by the name that they have in every row.
SENDERS = {
    "emitter": official("Emitter, as shipped"),
    "emitter-tuned": official("Emitter, tuned", **TUNED),
    # By GET a batch is one event, however it is tuned.
    "emitter-tuned-get": official("Emitter, tuned", **TUNED | {"batch_size": 1}),
    "async-emitter": official("AsyncEmitter, as shipped", "AsyncEmitter"),
    "async-emitter-tuned": official("AsyncEmitter, tuned", "AsyncEmitter", **TUNED),
    "async-emitter-threads": official("AsyncEmitter, tuned, 4 threads", "AsyncEmitter", **TUNED, threads=4),
    "node": node("as shipped"),
    # With 40,000 bytes, its default, no batch would have more than some 27 events.
    "node-tuned": node("batches of 100", batch_size=100, max_post_bytes=500_000),
    "aio": aio("as shipped, by POST"),
    "aio-tuned": aio("tuned", **TUNED),
    "ours": ours("defaults"),
    "ours-models": ours("defaults, entity models", entities="model"),
    "ours-uvloop": ours("defaults, uvloop", loop="uvloop", needs="uvloop"),
}


def counted(clients: dict[str, Client], counts: str) -> tuple[Client, ...]:
    """Return those of *clients* that *counts* names, each followed by its number of events."""
    words = counts.split()
    numbers = zip(words[::2], words[1::2], strict=True)
    return tuple(replace(clients[name], name=name, events=int(count)) for name, count in numbers)


def alike(clients: dict[str, Client], **changes: Any) -> tuple[Client, ...]:
    """Return all *clients* with the same *changes*."""
    return tuple(replace(client, name=name, **changes) for name, client in clients.items())


SENDING = (
    Row(
        name="page_view",
        title="Page view with subject and two entities, base64, POST",
        clients=counted(
            SENDERS,
            "emitter 4000 emitter-tuned 10000 async-emitter 4000 async-emitter-tuned 10000 node 20000 "
            "node-tuned 20000 aio 1500 aio-tuned 8000 ours 50000 ours-models 50000 ours-uvloop 50000",
        ),
    ),
    Row(
        name="structured",
        title="Structured event with subject, no entities, POST",
        event="structured",
        clients=counted(SENDERS, "emitter 4000 emitter-tuned 12000 async-emitter-tuned 12000 ours 80000"),
    ),
    Row(
        name="get",
        title="Page view with subject and two entities, base64, GET",
        method="get",
        clients=counted(SENDERS, "emitter 400 emitter-tuned-get 500 ours 2000"),
    ),
    Row(
        name="tls",
        title="The page view by POST over TLS",
        scheme="https",
        clients=counted(SENDERS, "emitter 200 emitter-tuned 8000 ours 50000 ours-uvloop 50000"),
    ),
    Row(
        name="rtt",
        title="The page view by POST, 50 ms of round trip",
        delay=0.05,
        clients=counted(
            SENDERS, "emitter 300 async-emitter-threads 4000 node 1000 ours 50000 ours-uvloop 50000"
        ),
    ),
    Row(
        name="building",
        title="Building and accepting only: the page view, nothing sent",
        at_sink=False,
        clients=alike(
            {
                "null": official("null emitter", "null"),
                "ours-null": ours("null emitter", emitter="null"),
                "ours-store": ours("HttpEmitter without delivery", emitter="store"),
                "ours-null-unchecked": ours("null emitter, no validation", emitter="null", validation=False),
            },
            events=25_000,
        ),
    ),
)

NOTHING_TRACKED = Client(title="a loop that tracks nothing", script="works.py")


def in_a_loop(state: str, title: str, delay: float = 0.0) -> Row:
    """Return the row of an event loop with 500 events a second and a ticker."""
    compared = ("emitter", "async-emitter", "ours")
    return Row(
        name=f"loop-{state}",
        title=f"How late a loop is that tracks 500 events a second, {title}",
        work="tick_along",
        at_sink=False,
        is_timed=False,
        metrics=metrics("late_p99_ms, late_p50_ms, late_max_ms, cpu_ms_per_second"),
        state=state,
        delay=delay,
        clients=alike({"idle": NOTHING_TRACKED} | {name: SENDERS[name] for name in compared}, seconds=2.0),
    )


def importing(code: str) -> Client:
    parameters = {"code": code, "processes": 5}
    return replace(NOTHING_TRACKED, title=code, runs_on="core", parameters=parameters)


ENDLESS = 10**9
RESOURCES = (
    in_a_loop("answering", "collector answers after 50 ms", 0.05),
    in_a_loop("refusing", "connections refused"),
    in_a_loop("hanging", "collector never answers"),
    Row(
        name="memory",
        title="Memory of the page view while it waits",
        work="queue_up",
        at_sink=False,
        is_timed=False,
        metrics=metrics("overhead_bytes, resident_bytes, traced_bytes, json_bytes"),
        clients=alike(
            {
                "emitter": official("Emitter", batch_size=ENDLESS, buffer_capacity=ENDLESS),
                "ours": ours("HttpEmitter", emitter="store"),
            },
            events=50_000,
            is_scaled=False,
        ),
    ),
    Row(
        name="idle",
        title="A loop with nothing to do, after a thousand events",
        work="idle",
        at_sink=False,
        is_timed=False,
        metrics=metrics("wakeups_per_second, cpu_us_per_second"),
        clients=alike(
            {"none": NOTHING_TRACKED, "ours": ours("defaults")}, events=1_000, seconds=5.0, is_scaled=False
        ),
    ),
    Row(
        name="import",
        title="Import in a fresh process",
        work="time_import",
        at_sink=False,
        is_timed=False,
        metrics=metrics("import_ms, heavy_modules"),
        clients=alike(
            {
                "pydantic": importing("import asyncio; from pydantic import BaseModel"),
                "model": importing("import pydantic; pydantic.create_model('M', x=int)(x=1)"),
                "ours": importing("import snowplow_aio; snowplow_aio.PageView(page_url='/')"),
            }
        ),
    ),
    Row(
        name="linear-events",
        title="More events",
        clients=counted(
            {name: ours(f"{name} events") for name in ("10k", "100k", "1m")},
            "10k 10000 100k 100000 1m 1000000",
        ),
    ),
    Row(
        name="linear-tasks",
        title="More tasks that track at the same time, 50,000 events in all",
        clients=alike(
            {str(count): ours(f"tasks: {count}", tasks=count) for count in (1, 10, 100)}, events=50_000
        ),
    ),
    Row(
        name="linear-contexts",
        title="Larger contexts",
        metrics=(CPU, SPEED, *metrics("bytes_per_event"), P50, P99),
        clients=counted(
            {f"{more}k": ours(f"{more} kB more", padding=more * 1000) for more in (0, 4, 16, 64)},
            "0k 30000 4k 20000 16k 8000 64k 2500",
        ),
    ),
)

OURS_REDIS = {
    "ours": ours("Redis list, the default", emitter="redis"),
    "ours-stream": ours("Redis stream", emitter="redis", mode="stream"),
}
QUEUES = (
    Row(
        name="redis-emit",
        title="The page view into Redis",
        at_sink=False,
        queue="written",
        clients=counted(
            {"emitter": official_redis("RedisEmitter, as shipped")}
            | {"emitter-tuned": official_redis("RedisEmitter, quiet", **TUNED)}
            | OURS_REDIS,
            "emitter 4000 emitter-tuned 4000 ours 50000 ours-stream 50000",
        ),
    ),
    Row(
        name="redis-drain",
        title="The page view out of Redis, where all wait already, and to the sink",
        work="drain",
        metrics=(SPEED, CPU),
        queue="drained",
        clients=counted(
            {"worker": official_redis("RedisWorker, Emitter as shipped")}
            | {"worker-tuned": official_redis("RedisWorker, Emitter tuned", **TUNED)}
            | {"worker-async": official_redis("… AsyncEmitter tuned", **TUNED, emitter="AsyncEmitter")}
            | OURS_REDIS,
            "worker 3000 worker-tuned 6000 worker-async 6000 ours 40000 ours-stream 40000",
        ),
    ),
    Row(
        name="redis-latency",
        title="From one track through Redis to the sink's answer, 20 events a second, batches of one",
        work="pass_on",
        queue="drained",
        is_timed=False,
        metrics=metrics("passed_p50_ms, passed_p99_ms, passed_max_ms, cpu_ms_per_second"),
        clients=alike(
            {"worker": official_redis("RedisEmitter and RedisWorker", batch_size=1)} | OURS_REDIS,
            # The old worker sleeps for five seconds when it finds nothing.
            events=100,
            seconds=5.0,
            is_scaled=False,
        ),
    ),
)


def served(title: str, runs_on: str = "ours", **parameters: Any) -> Client:
    return Client(title=title, script="service.py", runs_on=runs_on, parameters=parameters, seconds=2.0)


def served_by_official(emitter: str) -> Client:
    title = f"snowplow-tracker {emitter}, as shipped"
    return served(title, "official-service", tracked_by="official", emitter=emitter)


SERVED = {
    "alone": served("a service that tracks nothing", tracked_by="nobody", is_flushed=False),
    "emitter": served_by_official("Emitter"),
    "async-emitter": served_by_official("AsyncEmitter"),
    "ours": served("snowplow-aio, CurrentTracker", tracked_by="ours", found="dependency"),
    "ours-request": served("snowplow-aio, tracker_of(request)", tracked_by="ours", found="request"),
}


def in_a_service(
    name: str,
    title: str,
    *,
    loop: str = "asyncio",
    http: str = "h11",
    state: str = "answering",
    delay: float = 0.0,
) -> Row:
    """Return the row of a FastAPI service under uvicorn that tracks one event for each request."""
    # Where the collector fails, the last event is not waited for.
    is_flushed = state == "answering" and not delay
    load = {"rate": 500, "connections": 32, "loop": loop, "http": http, "is_flushed": is_flushed}
    needs = "httptools" if http == "httptools" else "fastapi"
    return Row(
        name=f"service-{name}",
        title=f"A FastAPI service that tracks one event for each request, {title}",
        work="serve",
        at_sink=is_flushed,
        is_timed=False,
        metrics=(RATE, *metrics("request_cpu_us, p50_ms, p99_ms, stall_ms")),
        state=state,
        delay=delay,
        # Fewer rounds than five tell nothing, and these are long.
        extra_seconds=60.0,
        clients=tuple(
            replace(client, name=name, needs=needs, parameters=load | client.parameters)
            for name, client in SERVED.items()
        ),
    )


SERVICES = (
    in_a_service("answering", "collector answers"),
    in_a_service("refusing", "connections refused", state="refusing"),
    in_a_service("slow", "collector answers after 2 s", delay=2.0),
    in_a_service("standard", "uvloop and httptools, collector answers", loop="uvloop", http="httptools"),
)

ROWS = (*SENDING, *RESOURCES, *QUEUES, *SERVICES)


def chosen(names: Sequence[str], clients: Sequence[str]) -> list[Row]:
    """
    Return the rows called *names* (all, if none) with those of their clients that *clients* admits.

    ``loop`` stands for all rows whose names begin with ``loop-``. *clients* holds names of
    clients, ``ours`` for those that need no other library, or ``peers`` for all others.
    """
    found = []
    for row in ROWS:
        is_named = any(row.name == name or row.name.startswith(f"{name}-") for name in names)
        kept = tuple(client for client in row.clients if is_admitted(client, clients))
        if kept and (is_named or not names):
            found.append(replace(row, clients=kept))
    return found


def is_admitted(client: Client, names: Sequence[str]) -> bool:
    group = "ours" if client.runs_on in ("ours", "core") else "peers"
    return not names or group in names or client.name in names
