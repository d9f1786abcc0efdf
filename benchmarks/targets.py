"""
What the library has set itself, line by line, and whether a run shows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from measure import CPU, MIN_REPEATS, P99, SPEED, Metric, Summary, ratio, refuse
from scenarios import RATE, SCENARIOS, SERVICES

# The summaries of one scenario, by the name of the client.
Found = Mapping[str, Summary]

WAIT_P99 = Metric(name="p99_ms", column="", max_spread=0.5)
LATE_P99 = Metric(name="late_p99_ms", column="", max_spread=0.5)
IMPORT = Metric(name="import_ms", column="")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """
    What a run says about one line.

    Args:
        is_met: None where *found* says why nothing can be said.
    """

    found: str
    is_met: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    what: str
    against: str
    asked: str
    scenario: str
    judge: Callable[[Found], Verdict]


def best(found: Found, names: Sequence[str]) -> Summary | None:
    """
    Return the fastest of the clients called *names*.
    """
    there = [found[name] for name in names if name in found and found[name].medians]
    return max(there, key=lambda one: one.medians.get(SPEED.name, 0.0), default=None)


def times(
    what: str, against: str, scenario: str, names: Sequence[str], least: float, **more: object
) -> Target:
    """
    Return the target to be *least* times better than the fastest of the clients called *names*.

    With ``cost`` the figure is a cost that may be up to 1/*least* times theirs, and is written so.
    """
    metric, client, cost = more.get("metric", SPEED), more.get("client", "ours"), more.get("cost")
    assert isinstance(metric, Metric)

    def judge(found: Found) -> Verdict:
        ours, theirs = found.get(str(client)), best(found, names)
        if ours is None or theirs is None:
            return Verdict(found="not run")
        made = ratio(metric, ours, theirs)
        if made.value is None:
            return Verdict(found=made.refusal or "")
        text = f"{1 / made.value:.2f} ×" if cost else f"{made.value:.1f} ×"
        return Verdict(found=text, is_met=made.value >= least)

    asked = f"≤ {1 / least:g} ×" if cost else f"≥ {least:g} ×"
    return Target(what=what, against=against, asked=asked, scenario=scenario, judge=judge)


def at_most(what: str, scenario: str, name: str, most: float, unit: str) -> Target:
    """
    Return the target that the figure *name* is *most* at most, whatever others do.
    """

    def judge(found: Found) -> Verdict:
        ours = found.get("ours")
        if ours is None or not ours.medians:
            return Verdict(found="not run")
        if not ours.is_complete or ours.usable < MIN_REPEATS:
            return Verdict(found="too few")
        value = ours.medians[name]
        return Verdict(found=f"{value:.3g} {unit}", is_met=value <= most)

    return Target(what=what, against="", asked=f"≤ {most:g} {unit}", scenario=scenario, judge=judge)


def not_above(what: str, scenario: str, metric: Metric, *, name: str, most: float, unit: str = "%") -> Target:
    """
    Return the target that the figure of *metric* lies *most* above that of the client called *name*, at most.

    For a rate, which is better when it is higher, *most* is a share by which it lies below.
    """
    scale = 100 if metric.more_is_better else 1

    def judge(found: Found) -> Verdict:
        ours, theirs = found.get("ours"), found.get(name)
        if ours is None or theirs is None:
            return Verdict(found="not run")
        refusal = refuse(metric, ours) or refuse(metric, theirs)
        if refusal is not None:
            return Verdict(found=refusal)
        mine, its = ours.medians[metric.name], theirs.medians[metric.name]
        loss = 1 - mine / its if metric.more_is_better else mine - its
        return Verdict(found=f"{loss * scale:.2g} {unit}", is_met=loss <= most)

    asked = f"≤ {most * scale:g} {unit} {'less' if metric.more_is_better else 'more'}"
    return Target(what=what, against="without tracking", asked=asked, scenario=scenario, judge=judge)


def service_targets(scenario: str) -> tuple[Target, ...]:
    """
    Return what a service may lose by one event for each request.
    """
    state = scenario.removeprefix("service-")
    return (
        not_above(f"service, {state}: requests/s", scenario, RATE, name="alone", most=0.05),
        not_above(f"service, {state}: p99", scenario, WAIT_P99, name="alone", most=0.3, unit="ms"),
        at_most(f"service, {state}: longest stall", scenario, "stall_ms", 5, "ms"),
    )


def alike(what: str, scenario: str, share: float) -> Target:
    """
    Return the target that the rates of all clients of *scenario* lie within *share* of the first one's.
    """

    def judge(found: Found) -> Verdict:
        refusals = [why for one in found.values() if (why := refuse(SPEED, one))]
        if refusals or len(found) < 2:
            return Verdict(found=refusals[0] if refusals else "not run")
        base, *others = (one.medians[SPEED.name] for one in found.values())
        apart = max((abs(other / base - 1) for other in others), default=0.0)
        return Verdict(found=f"{apart:.0%} apart", is_met=apart <= share)

    return Target(
        what=what, against="the fewest", asked=f"within {share:.0%}", scenario=scenario, judge=judge
    )


def by_the_byte(what: str, scenario: str, most: float) -> Target:
    """
    Return the target that each kilobyte more costs *most* times what the first ones did, at most.
    """

    def judge(found: Found) -> Verdict:
        points = [
            (one.medians["bytes_per_event"], one.medians[CPU.name])
            for one in found.values()
            if one.medians and not refuse(CPU, one)
        ]
        if len(points) < 3:
            return Verdict(found="too few")
        costs = [
            (later[1] - earlier[1]) / (later[0] - earlier[0]) * 1e3
            for earlier, later in itertools.pairwise(points)
        ]
        text = ", ".join(f"{cost:.2f}" for cost in costs)
        return Verdict(found=f"{text} µs/kB", is_met=max(costs[1:]) <= most * costs[0])

    return Target(
        what=what, against="the first kB", asked=f"≤ {most:g} × per kB", scenario=scenario, judge=judge
    )


TUNED = ("emitter-tuned", "async-emitter-tuned")
SHIPPED = ("emitter",)
AS_SHIPPED, BEST_TUNING = "snowplow-tracker Emitter as shipped", "its best tuning"
REDIS_AS_SHIPPED, WORKER_AS_SHIPPED = "RedisEmitter of 0.15.0", "RedisWorker of 0.15.0"

TARGETS = (
    times("events/s, page view", AS_SHIPPED, "page_view", SHIPPED, 12),
    times("events/s, page view", BEST_TUNING, "page_view", TUNED, 4),
    times("events/s, structured event", BEST_TUNING, "structured", TUNED, 4.5),
    times("events/s by GET", "its Emitter by GET", "get", SHIPPED, 6),
    times("events/s over TLS", AS_SHIPPED, "tls", SHIPPED, 100),
    times("events/s with 50 ms of round trip", AS_SHIPPED, "rtt", SHIPPED, 100),
    times("events/s, page view", "@snowplow/node-tracker", "page_view", ("node", "node-tuned"), 8),
    times("events/s, page view", "aio-snowplow-tracker", "page_view", ("aio", "aio-tuned"), 8),
    times("wait of one track, p99", AS_SHIPPED, "page_view", SHIPPED, 40, metric=P99),
    times("loop late, p99, 50 ms", "idle loop", "loop-answering", ("idle",), 0.5, metric=LATE_P99, cost=True),
    times(
        "loop late, p99, refusing", "idle loop", "loop-refusing", ("idle",), 0.5, metric=LATE_P99, cost=True
    ),
    times("loop late, p99, hanging", "idle loop", "loop-hanging", ("idle",), 0.5, metric=LATE_P99, cost=True),
    times("building, null emitter", "its track", "building", ("null",), 2, client="ours-null"),
    times("building, accepting", "its track", "building", ("null",), 2, client="ours-store"),
    times("events/s into Redis", REDIS_AS_SHIPPED, "redis-emit", SHIPPED, 10),
    times("events/s out of Redis", WORKER_AS_SHIPPED, "redis-drain", ("worker",), 10),
    at_most("memory beyond the JSON", "memory", "overhead_bytes", 250, "B"),
    times("CPU per event, page view", BEST_TUNING, "page_view", TUNED, 4, metric=CPU),
    at_most("idle tracker, wake-ups", "idle", "wakeups_per_second", 0, "/s"),
    times("import and one event", "pydantic", "import", ("pydantic",), 0.8, metric=IMPORT, cost=True),
    at_most("of aiohttp, redis, celery imported", "import", "heavy_modules", 0, "modules"),
    alike("10,000 to 1,000,000 events", "linear-events", 0.1),
    alike("1 to 100 tasks", "linear-tasks", 0.1),
    by_the_byte("larger contexts, CPU", "linear-contexts", 1.25),
    *(target for one in SERVICES for target in service_targets(one.name)),
)

assert {target.scenario for target in TARGETS} <= {scenario.name for scenario in SCENARIOS}
