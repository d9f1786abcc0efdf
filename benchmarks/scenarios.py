"""
What is measured: which client does what, how often.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from typing import Any, Literal

# The events per repeat of a smoke run: some batches, but no time worth measuring.
SMOKE_EVENTS = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """
    One client with its parameters.

    Args:
        role: ``shipped`` and ``tuned`` are a peer as it comes and at its best;
            each of ``ours`` is compared with every shipped and the best tuned one.

        events: Per repeat, chosen so that a repeat takes about half a second:
            many short ones tell more than a few long ones where the CPU changes its speed.
    """

    name: str
    title: str
    role: Literal["shipped", "tuned", "ours"]
    script: Literal["official.py", "ours.py"]
    events: int
    parameters: dict[str, Any] = field(default_factory=dict)
    needs: str | None = None

    @property
    def is_ours(self) -> bool:
        return self.role == "ours"

    @property
    def is_missing_something(self) -> bool:
        """
        Whether it needs a package that is not installed here.
        """
        return self.needs is not None and importlib.util.find_spec(self.needs) is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """
    Clients that do the same work and take turns.

    Args:
        at_sink: Whether events go to the sink; otherwise they are only built.
    """

    name: str
    title: str
    event: Literal["page_view", "structured"]
    clients: tuple[Client, ...]
    method: Literal["post", "get"] = "post"
    at_sink: bool = True


TUNED = {"batch_size": 100, "session": True, "quiet": True}


def official(name: str, title: str, events: int, *, tuned: bool = False, **parameters: Any) -> Client:
    """
    Return a client of snowplow-tracker 1.1.0.
    """
    return Client(
        name=name,
        title=f"snowplow-tracker {title}",
        role="tuned" if tuned else "shipped",
        script="official.py",
        events=events,
        parameters=(TUNED if tuned else {}) | parameters,
    )


def ours(
    name: str,
    title: str,
    events: int,
    *,
    emitter: str = "http",
    entities: str = "json",
    loop: str = "asyncio",
    validation: bool = True,
) -> Client:
    """
    Return a client of this library.
    """
    return Client(
        name=name,
        title=f"snowplow-aio {title}",
        role="ours",
        script="ours.py",
        events=events,
        parameters={"emitter": emitter, "entities": entities, "loop": loop, "validation": validation},
        needs="uvloop" if loop == "uvloop" else None,
    )


SCENARIOS = (
    Scenario(
        name="page_view",
        title="Page view with subject and two entities, base64, POST",
        event="page_view",
        clients=(
            official("emitter", "Emitter, as shipped", 4_000, emitter="Emitter"),
            official("emitter-tuned", "Emitter, tuned", 10_000, emitter="Emitter", tuned=True),
            official("async-emitter", "AsyncEmitter, as shipped", 4_000, emitter="AsyncEmitter"),
            official(
                "async-emitter-tuned", "AsyncEmitter, tuned", 10_000, emitter="AsyncEmitter", tuned=True
            ),
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
        event="page_view",
        method="get",
        clients=(
            official("emitter", "Emitter, as shipped", 400, emitter="Emitter"),
            official("emitter-tuned", "Emitter, tuned", 500, emitter="Emitter", tuned=True, batch_size=1),
            ours("ours", "defaults", 2_000),
        ),
    ),
    Scenario(
        name="building",
        title="Building only: page view with subject and two entities, base64, nothing sent",
        event="page_view",
        at_sink=False,
        clients=(
            official("null", "null emitter", 25_000, emitter="null"),
            ours("ours-null", "null emitter", 25_000, emitter="null"),
            ours("ours-null-models", "null emitter, entity models", 25_000, emitter="null", entities="model"),
            ours(
                "ours-null-unchecked", "null emitter, no validation", 25_000, emitter="null", validation=False
            ),
            ours("ours-memory", "MemoryEmitter", 25_000, emitter="memory"),
        ),
    ),
)


def chosen(names: list[str], only: list[str]) -> list[Scenario]:
    """
    Return the scenarios called *names* (all, if none) with the clients that *only* lets in.

    *only* holds names of clients, ``ours`` for all of this library's or
    ``peers`` for all others.
    """
    found = []
    for scenario in SCENARIOS:
        clients = tuple(client for client in scenario.clients if is_let_in(client, only))
        if clients and (not names or scenario.name in names):
            found.append(replace(scenario, clients=clients))
    return found


def is_let_in(client: Client, only: list[str]) -> bool:
    group = "ours" if client.is_ours else "peers"
    return (not only or group in only or client.name in only) and not client.is_missing_something
