"""
What is measured: which client does what, how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from measure import CPU, MAX_TAIL_SPREAD, P50, P99, SPEED, Metric
from rows import Client, Scenario, aio, node, official, ours, redis_peer

SENDING = (
    Scenario(
        name="page_view",
        title="Page view with subject and two entities, base64, POST",
        clients=(
            official("emitter", "Emitter, as shipped", 4_000, emitter="Emitter"),
            official("emitter-tuned", "Emitter, tuned", 10_000, emitter="Emitter", tuned=True),
            official("async-emitter", "AsyncEmitter, as shipped", 4_000, emitter="AsyncEmitter"),
            official(
                "async-emitter-tuned", "AsyncEmitter, tuned", 10_000, emitter="AsyncEmitter", tuned=True
            ),
            node("node", "as shipped", 20_000),
            node("node-tuned", "batches of 100", 20_000, tuned=True),
            aio("aio", "as shipped, by POST", 1_500),
            aio("aio-tuned", "tuned", 8_000, tuned=True),
            ours("ours", "defaults", 50_000),
            ours("ours-models", "defaults, entity models", 50_000, entities="model"),
            ours("ours-uvloop", "defaults, uvloop", 50_000, loop="uvloop"),
        ),
    ),
    Scenario(
        name="structured",
        title="Structured event with subject, no entities, POST",
        event="structured",
        clients=(
            official("emitter", "Emitter, as shipped", 4_000, emitter="Emitter"),
            official("emitter-tuned", "Emitter, tuned", 12_000, emitter="Emitter", tuned=True),
            official(
                "async-emitter-tuned", "AsyncEmitter, tuned", 12_000, emitter="AsyncEmitter", tuned=True
            ),
            ours("ours", "defaults", 80_000),
        ),
    ),
    Scenario(
        name="get",
        title="Page view with subject and two entities, base64, GET",
        method="get",
        clients=(
            official("emitter", "Emitter, as shipped", 400, emitter="Emitter"),
            official("emitter-tuned", "Emitter, tuned", 500, emitter="Emitter", tuned=True, batch_size=1),
            ours("ours", "defaults", 2_000),
        ),
    ),
    Scenario(
        name="tls",
        title="The page view by POST over TLS",
        scheme="https",
        clients=(
            official("emitter", "Emitter, as shipped", 200, emitter="Emitter"),
            official("emitter-tuned", "Emitter, tuned", 8_000, emitter="Emitter", tuned=True),
            ours("ours", "defaults", 50_000),
            ours("ours-uvloop", "defaults, uvloop", 50_000, loop="uvloop"),
        ),
    ),
    Scenario(
        name="rtt",
        title="The page view by POST, 50 ms of round trip",
        delay=0.05,
        clients=(
            official("emitter", "Emitter, as shipped", 300, emitter="Emitter"),
            official(
                "async-emitter-tuned",
                "AsyncEmitter, tuned, 4 threads",
                4_000,
                emitter="AsyncEmitter",
                tuned=True,
                threads=4,
            ),
            node("node", "as shipped", 1_000),
            ours("ours", "defaults", 50_000),
            ours("ours-uvloop", "defaults, uvloop", 50_000, loop="uvloop"),
        ),
    ),
    Scenario(
        name="building",
        title="Building and accepting only: the page view, nothing sent",
        at_sink=False,
        clients=(
            official("null", "null emitter", 25_000, emitter="null"),
            ours("ours-null", "null emitter", 25_000, emitter="null"),
            ours("ours-store", "HttpEmitter without delivery", 25_000, emitter="store"),
            ours("ours-null-models", "null emitter, entity models", 25_000, emitter="null", entities="model"),
            ours(
                "ours-null-unchecked", "null emitter, no validation", 25_000, emitter="null", validation=False
            ),
            ours("ours-memory", "MemoryEmitter", 25_000, emitter="memory"),
        ),
    ),
)

LATE = (
    Metric(name="late_p99_ms", column="late p99 ms", max_spread=MAX_TAIL_SPREAD),
    Metric(name="late_p50_ms", column="p50 ms"),
    Metric(name="late_max_ms", column="max ms", max_spread=MAX_TAIL_SPREAD),
    Metric(name="cpu_ms_per_second", column="CPU ms/s"),
)
LOOP_SECONDS = 2.0


def in_a_loop(state: Literal["answering", "refusing", "hanging"], title: str, delay: float = 0.0) -> Scenario:
    """
    Return the scenario of an event loop with 500 events a second and a ticker.
    """
    given: dict[str, Any] = {"seconds": LOOP_SECONDS}
    official_loop = {"script": "official_loop.py", "events": 0} | given
    return Scenario(
        name=f"loop-{state}",
        title=f"How late a loop is that tracks 500 events a second, {title}",
        at_sink=False,
        is_timed=False,
        metrics=LATE,
        state=state,
        delay=delay,
        clients=(
            Client(
                name="idle", title="a loop that tracks nothing", role="baseline", script="idle.py", **given
            ),
            official("emitter", "Emitter, as shipped", emitter="Emitter", **official_loop),
            official("async-emitter", "AsyncEmitter, as shipped", emitter="AsyncEmitter", **official_loop),
            ours("ours", "defaults", script="ours_loop.py", **given),
        ),
    )


RATE = Metric(
    name="requests_per_second",
    column="requests/s",
    more_is_better=True,
    # What it is to tell is five per cent.
    max_spread=0.05,
)
SERVING = (
    RATE,
    Metric(name="request_cpu_us", column="CPU µs"),
    Metric(name="p50_ms", column="p50 ms"),
    Metric(name="p99_ms", column="p99 ms", max_spread=MAX_TAIL_SPREAD),
    Metric(name="stall_ms", column="stall ms", max_spread=MAX_TAIL_SPREAD),
)


def in_a_service(
    name: str,
    title: str,
    *,
    state: Literal["answering", "refusing"] = "answering",
    delay: float = 0.0,
    loop: str = "asyncio",
    http: str = "h11",
) -> Scenario:
    """
    Return the scenario of a FastAPI service under uvicorn that tracks one event for each request.
    """
    # With a collector that fails, nobody waits until the last event is there.
    is_flushed = state == "answering" and not delay
    load: dict[str, Any] = {"rate": 500, "connections": 32, "loop": loop, "http": http}
    given: dict[str, Any] = {"seconds": 2.0, "needs": "httptools" if http == "httptools" else "fastapi"}
    peer: dict[str, Any] = given | {"role": "baseline", "script": "official_service.py", "family": "official"}
    peer["runs_on"] = "service_peers"
    tracking = load | {"is_flushed": is_flushed}
    return Scenario(
        name=f"service-{name}",
        title=f"A FastAPI service that tracks one event for each request, {title}",
        at_sink=is_flushed,
        is_timed=False,
        metrics=SERVING,
        state=state,
        delay=delay,
        # Fewer rounds than five tell nothing, and these are long.
        extra_seconds=60.0,
        clients=(
            Client(
                name="alone",
                title="a service that tracks nothing",
                role="baseline",
                script="service_alone.py",
                family="none",
                parameters=load | {"is_flushed": False},
                **given,
            ),
            Client(
                name="emitter",
                title="snowplow-tracker Emitter, as shipped",
                parameters=tracking | {"emitter": "Emitter"},
                **peer,
            ),
            Client(
                name="async-emitter",
                title="snowplow-tracker AsyncEmitter, as shipped",
                parameters=tracking | {"emitter": "AsyncEmitter"},
                **peer,
            ),
            Client(
                name="ours",
                title="snowplow-aio, CurrentTracker",
                role="ours",
                script="ours_service.py",
                parameters=tracking | {"found": "dependency"},
                **given,
            ),
            Client(
                name="ours-request",
                title="snowplow-aio, tracker_of(request)",
                role="ours",
                script="ours_service.py",
                parameters=tracking | {"found": "request"},
                **given,
            ),
        ),
    )


SERVICES = (
    in_a_service("answering", "collector answers"),
    in_a_service("refusing", "connections refused", state="refusing"),
    in_a_service("slow", "collector answers after 2 s", delay=2.0),
    in_a_service("standard", "uvloop and httptools, collector answers", loop="uvloop", http="httptools"),
)


def importing(name: str, code: str, *, role: Literal["baseline", "ours"]) -> Client:
    return Client(
        name=name,
        title=code,
        role=role,
        script="imports.py",
        runs_on="core",
        parameters={"code": code, "processes": 5},
    )


IDLE: dict[str, Any] = {"script": "ours_idle.py", "seconds": 5.0, "is_scaled": False}
RESOURCES = (
    in_a_loop("answering", "collector answers after 50 ms", 0.05),
    in_a_loop("refusing", "connections refused"),
    in_a_loop("hanging", "collector never answers"),
    Scenario(
        name="memory",
        title="Memory of the page view while it waits",
        at_sink=False,
        is_timed=False,
        metrics=(
            Metric(name="overhead_bytes", column="beyond JSON B"),
            Metric(name="resident_bytes", column="resident B"),
            Metric(name="traced_bytes", column="allocated B"),
            Metric(name="json_bytes", column="JSON B"),
        ),
        clients=(
            official(
                "emitter", "Emitter", 20_000, script="official_memory.py", is_scaled=False, emitter="Emitter"
            ),
            ours("ours", "HttpEmitter", 50_000, script="ours_memory.py", is_scaled=False),
        ),
    ),
    Scenario(
        name="idle",
        title="A loop with nothing to do",
        at_sink=False,
        is_timed=False,
        metrics=(
            Metric(name="wakeups_per_second", column="wake-ups/s"),
            Metric(name="switches_per_second", column="switches/s"),
            Metric(name="cpu_us_per_second", column="CPU µs/s"),
        ),
        clients=(
            ours(
                "none",
                "not used",
                1_000,
                role="baseline",
                tracks=False,
                **IDLE,
            ),
            ours("ours", "after a thousand events", 1_000, tracks=True, **IDLE),
        ),
    ),
    Scenario(
        name="import",
        title="Import in a fresh process",
        at_sink=False,
        is_timed=False,
        metrics=(
            Metric(name="import_ms", column="ms"),
            Metric(name="heavy_modules", column="of aiohttp …"),
        ),
        clients=(
            importing("pydantic", "import asyncio; from pydantic import BaseModel", role="baseline"),
            importing(
                "model",
                "import pydantic; pydantic.create_model('M', x=int)(x=1)",
                role="baseline",
            ),
            importing(
                "ours",
                "import snowplow_aio; snowplow_aio.PageView(page_url='/')",
                role="ours",
            ),
        ),
    ),
)

BYTES = Metric(name="bytes_per_event", column="B at sink")

GROWTH = (
    Scenario(
        name="linear-events",
        title="More events",
        clients=(
            ours("10k", "10,000 events", 10_000, role="baseline"),
            ours("100k", "100,000 events", 100_000),
            ours("1m", "1,000,000 events", 1_000_000),
        ),
    ),
    Scenario(
        name="linear-tasks",
        title="More tasks that track at the same time, 50,000 events in all",
        clients=(
            ours("1", "1 task", 50_000, role="baseline"),
            ours("10", "10 tasks", 50_000, tasks=10),
            ours("100", "100 tasks", 50_000, tasks=100),
        ),
    ),
    Scenario(
        name="linear-contexts",
        title="Larger contexts",
        metrics=(CPU, SPEED, BYTES, P50, P99),
        clients=(
            ours("0k", "as ever", 30_000, role="baseline"),
            ours("4k", "4 kB more", 20_000, padding=4_000),
            ours("16k", "16 kB more", 8_000, padding=16_000),
            ours("64k", "64 kB more", 2_500, padding=64_000),
        ),
    ),
)

# The old worker sleeps for five seconds when it finds nothing.
PASSING: dict[str, Any] = {"seconds": 5.0, "is_scaled": False}
WORKER: dict[str, Any] = {"work": "drain", "emitter": "Emitter"}

QUEUES = (
    Scenario(
        name="redis-emit",
        title="The page view into Redis",
        at_sink=False,
        queue="written",
        clients=(
            redis_peer("emitter", "RedisEmitter, as shipped", 4_000, work="emit"),
            redis_peer("emitter-tuned", "RedisEmitter, quiet", 4_000, work="emit", tuned=True),
            ours("ours", "RedisEmitter, defaults: a list", 50_000, emitter="redis"),
            ours("ours-plain", "without deduplication", 50_000, emitter="redis", deduplicate=False),
            ours("ours-stream", "a stream", 50_000, emitter="redis", mode="stream"),
        ),
    ),
    Scenario(
        name="redis-drain",
        title="The page view out of Redis, where all wait already, and to the sink",
        metrics=(SPEED, CPU),
        queue="drained",
        clients=(
            redis_peer("worker", "RedisWorker, Emitter as shipped", 3_000, **WORKER),
            redis_peer("worker-tuned", "RedisWorker, Emitter tuned", 6_000, tuned=True, **WORKER),
            redis_peer(
                "worker-async-tuned",
                "RedisWorker, AsyncEmitter tuned",
                6_000,
                tuned=True,
                **WORKER | {"emitter": "AsyncEmitter"},
            ),
            ours("ours", "RedisWorker, defaults: a list", 40_000, script="ours_drain.py", emitter="redis"),
            ours("ours-stream", "a stream", 40_000, script="ours_drain.py", emitter="redis", mode="stream"),
        ),
    ),
    Scenario(
        name="redis-latency",
        title="From one track through Redis to the sink's answer, 20 events a second, batches of one",
        queue="passed",
        is_timed=False,
        metrics=(
            Metric(name="passed_p50_ms", column="p50 ms"),
            Metric(name="passed_p99_ms", column="p99 ms", max_spread=MAX_TAIL_SPREAD),
            Metric(name="passed_max_ms", column="max ms", max_spread=MAX_TAIL_SPREAD),
            Metric(name="cpu_ms_per_second", column="CPU ms/s"),
        ),
        clients=(
            redis_peer("worker", "RedisEmitter and RedisWorker", 100, work="pass", batch_size=1, **PASSING),
            ours("ours", "a list", 100, script="ours_passing.py", emitter="redis", **PASSING),
            ours(
                "ours-stream",
                "a stream",
                100,
                script="ours_passing.py",
                emitter="redis",
                mode="stream",
                **PASSING,
            ),
        ),
    ),
)

SCENARIOS = (*SENDING, *RESOURCES, *GROWTH, *QUEUES, *SERVICES)


def chosen(names: Sequence[str], clients: Sequence[str]) -> list[Scenario]:
    """
    Return the scenarios called *names* (all, if none) with those of their clients that *clients* lets in.

    ``loop`` stands for all whose names begin with ``loop-``. *clients* holds names
    of clients, ``ours`` for what needs no other library, or ``peers`` for all others.
    """
    found = []
    for scenario in SCENARIOS:
        kept = tuple(client for client in scenario.clients if is_let_in(client, clients))
        is_named = any(scenario.name == name or scenario.name.startswith(f"{name}-") for name in names)
        if kept and (is_named or not names):
            found.append(replace(scenario, clients=kept))
    return found


def is_let_in(client: Client, names: Sequence[str]) -> bool:
    group = "ours" if client.runs_on in ("ours", "core") else "peers"
    return not names or group in names or client.name in names
