"""
What is measured: which client does what, how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from measure import CPU, MAX_TAIL_SPREAD, P50, P99, SPEED, Metric

# The events per repeat of a smoke run: some batches, but no time worth measuring.
SMOKE_EVENTS = 120
SMOKE_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """
    One client with its parameters.

    Args:
        role: Each of ``ours`` is compared with every ``baseline`` (a peer as it
            comes, or something else to hold against) and with the best ``tuned`` client of each family.

        events: Per repeat, chosen so that a repeat takes about half a second:
            many short ones tell more than a few long ones where the CPU changes its speed.

        seconds: How long a repeat takes, where that is not up to the events.

        is_scaled: Whether a quick run has less of both.

        needs: What must be installed for it beside its own environment.
    """

    name: str
    title: str
    role: Literal["baseline", "tuned", "ours"]
    script: str
    runs_on: Literal["ours", "peers", "node"] = "ours"
    family: str = "ours"
    events: int = 0
    seconds: float = 0.0
    is_scaled: bool = True
    parameters: dict[str, Any] = field(default_factory=dict)
    needs: str | None = None

    @property
    def is_ours(self) -> bool:
        return self.role == "ours"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """
    Clients that do the same work and take turns.

    Args:
        at_sink: Whether events go to the sink and are counted there.

        metrics: The figures that the table shows, the first one with its spread.

        is_timed: Whether the time from the first `track` to the last event is a figure.

        state: What the collector does.

        delay: Seconds until it answers.
    """

    name: str
    title: str
    clients: tuple[Client, ...]
    event: Literal["page_view", "structured"] = "page_view"
    method: Literal["post", "get"] = "post"
    scheme: Literal["http", "https"] = "http"
    at_sink: bool = True
    metrics: tuple[Metric, ...] = (SPEED, CPU, P50, P99)
    is_timed: bool = True
    state: Literal["answering", "refusing", "hanging"] = "answering"
    delay: float = 0.0


TUNED = {"batch_size": 100, "session": True, "quiet": True}


def official(
    name: str, title: str, events: int, *, script: str = "official.py", tuned: bool = False, **parameters: Any
) -> Client:
    """
    Return a client of snowplow-tracker 1.1.0.
    """
    return Client(
        name=name,
        title=f"snowplow-tracker {title}",
        role="tuned" if tuned else "baseline",
        script=script,
        runs_on="peers",
        family="official",
        events=events,
        seconds=parameters.pop("seconds", 0.0),
        is_scaled=parameters.pop("is_scaled", True),
        parameters=(TUNED if tuned else {}) | parameters,
    )


def aio(name: str, title: str, events: int, *, tuned: bool = False, **parameters: Any) -> Client:
    """
    Return a client of aio-snowplow-tracker 1.0.2.
    """
    return Client(
        name=name,
        title=f"aio-snowplow-tracker {title}",
        role="tuned" if tuned else "baseline",
        script="aio.py",
        runs_on="peers",
        family="aio",
        events=events,
        parameters=(TUNED if tuned else {}) | parameters,
    )


def node(name: str, title: str, events: int, *, tuned: bool = False) -> Client:
    """
    Return a client of @snowplow/node-tracker.
    """
    return Client(
        name=name,
        title=f"@snowplow/node-tracker {title}",
        role="tuned" if tuned else "baseline",
        script="node.cjs",
        runs_on="node",
        family="node",
        events=events,
        # Its engine compiles what has run some thousand times.
        is_scaled=False,
        # With 40,000 bytes, its default, no batch would have more than some 27 events.
        parameters={"batch_size": 100, "max_post_bytes": 500_000} if tuned else {},
    )


def ours(
    name: str,
    title: str,
    events: int = 0,
    *,
    script: str = "ours.py",
    role: Literal["baseline", "ours"] = "ours",
    seconds: float = 0.0,
    is_scaled: bool = True,
    **parameters: Any,
) -> Client:
    """
    Return a client of this library.
    """
    defaults = {
        "emitter": "http",
        "entities": "json",
        "loop": "asyncio",
        "validation": True,
        "padding": 0,
        "tasks": 1,
    }
    return Client(
        name=name,
        title=f"snowplow-aio {title}",
        role=role,
        script=script,
        events=events,
        seconds=seconds,
        is_scaled=is_scaled,
        parameters=defaults | parameters,
        needs="uvloop" if parameters.get("loop") == "uvloop" else None,
    )


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


def importing(name: str, code: str, *, role: Literal["baseline", "ours"]) -> Client:
    return Client(
        name=name,
        title=code,
        role=role,
        script="imports.py",
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

SCENARIOS = (*SENDING, *RESOURCES, *GROWTH)


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
    group = "ours" if client.runs_on == "ours" else "peers"
    return not names or group in names or client.name in names
