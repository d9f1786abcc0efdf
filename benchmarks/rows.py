"""
What a row is made of: clients that do the same work, and what is read off them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from measure import CPU, P50, P99, SPEED, Metric

# The events per repeat of a smoke run: some batches, but no time worth measuring.
SMOKE_EVENTS = 120
SMOKE_SECONDS = 0.2
# How long after the end of a load an answer is waited for; in a smoke run, which compares what was answered
# with what was tracked, until the service has handled all.
PATIENCE_SECONDS = 2.0
SMOKE_PATIENCE_SECONDS = 30.0


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
    runs_on: Literal["ours", "core", "peers", "redis_peers", "service_peers", "node"] = "ours"
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

        extra_seconds: After so many for each client, no further round begins.

        queue: Whether there is a Redis, and events are counted in its queue when all are ``written``,
            are taken out of it (``drained``), or both; None: there is none.
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
    extra_seconds: float = 12.0
    queue: Literal["written", "drained", "passed"] | None = None


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


def redis_peer(name: str, title: str, events: int, *, tuned: bool = False, **parameters: Any) -> Client:
    """
    Return a client of snowplow-tracker 0.15.0, the last one that knew Redis.
    """
    client = official(name, title, events, script="official_redis.py", tuned=tuned, **parameters)
    return replace(client, title=f"snowplow-tracker 0.15.0 {title}", runs_on="redis_peers")


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
