"""
Repeats, their statistics, and when no ratio may be printed.

The machines that this runs on are noisy; some flip between two CPU speeds. So
each repeat is bracketed by a calibration loop, only repeats at the same speed
are compared, and a ratio is refused rather than guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

# Median and quartiles of fewer repeats say next to nothing.
MIN_REPEATS = 5
# Calibrations of one CPU speed differ by 5 to 10 %, the two speeds of a flipping CPU by 60 to 75 %.
SPEED_TOLERANCE = 0.15
# Interquartile range over median. Repeats at one speed mostly stay below half of it.
MAX_SPREAD = 0.20
# Repeats of a tail (a 99th percentile, a maximum) lie further apart: few of thousands of values make it.
MAX_TAIL_SPREAD = 0.50


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One figure of a repeat. Repeats whose spread is above *max_spread* are too noisy for a ratio."""

    name: str
    column: str
    more_is_better: bool = False
    max_spread: float = MAX_SPREAD


def metrics(names: str) -> tuple[Metric, ...]:
    """Return costs, those with the limit of a tail whose names tell of one."""

    def column(name: str) -> str:
        return name.replace("_per_second", "/s").replace("_us", " µs").replace("cpu", "CPU").replace("_", " ")

    def limit(name: str) -> float:
        return MAX_TAIL_SPREAD if any(word in name for word in ("p99", "max", "stall")) else MAX_SPREAD

    return tuple(Metric(name=name, column=column(name), max_spread=limit(name)) for name in names.split(", "))


SPEED = Metric(name="events_per_second", column="events/s", more_is_better=True)
# It is to tell five per cent.
RATE = Metric(name="requests_per_second", column="requests/s", more_is_better=True, max_spread=0.05)
CPU, P50, P99 = metrics("cpu_us, p50_us, p99_us")


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """
    One measured run of one client.

    Args:
        round: Clients of one round ran one after the other.

        counted: Events that arrived at the sink.

        figures: By the name of the metric.

        calibration_before_ms: How long a fixed piece of CPU work took just before, on the same core.

        percentiles: Waits or latenesses at `common.SHARES`, for the pictures.
    """

    round: int
    events: int
    counted: int
    figures: dict[str, float]
    calibration_before_ms: float
    calibration_after_ms: float
    percentiles: list[float] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return self.counted == self.events

    @property
    def is_steady(self) -> bool:
        """Whether the CPU kept its speed from before to after."""
        return is_alike(self.calibration_before_ms, self.calibration_after_ms)

    @property
    def calibration_ms(self) -> float:
        return (self.calibration_before_ms + self.calibration_after_ms) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """
    The medians of a client's usable repeats, and how far these lie apart, by metric.

    *is_complete* tells that no repeat, usable or not, lost an event.
    """

    usable: int
    is_complete: bool
    medians: dict[str, float]
    spreads: dict[str, float]
    percentiles: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """How many times better one client is than another; None where *refusal* says why there is no ratio."""

    value: float | None
    refusal: str | None = None


def is_alike(one_ms: float, other_ms: float) -> bool:
    """Whether two calibrations tell the same CPU speed."""
    return max(one_ms, other_ms) <= min(one_ms, other_ms) * (1 + SPEED_TOLERANCE)


def is_at(calibration_ms: float, other_ms: float) -> bool:
    """Whether *other_ms* is of the speed whose fastest calibration is *calibration_ms*."""
    return calibration_ms <= other_ms and is_alike(calibration_ms, other_ms)


def spread(values: Sequence[float]) -> float | None:
    """Return the interquartile range over the median; None for fewer than two values."""
    if len(values) < 2:
        return None
    lower, middle, upper = quantiles(values, n=4, method="inclusive")
    return (upper - lower) / middle if middle else None


def common_calibration(repeats: Iterable[Repeat]) -> float | None:
    """Return the fastest calibration of the speed that most steady repeats have; None without one."""
    steady = sorted(repeat.calibration_ms for repeat in repeats if repeat.is_steady)
    return max(steady, key=lambda one_ms: sum(is_at(one_ms, other) for other in steady), default=None)


def usable(repeats: Iterable[Repeat], calibration_ms: float | None) -> list[Repeat]:
    """Return the repeats that ran steadily at the speed of *calibration_ms*."""
    if calibration_ms is None:
        return []
    return [repeat for repeat in repeats if repeat.is_steady and is_at(calibration_ms, repeat.calibration_ms)]


def summarise(repeats: Sequence[Repeat], calibration_ms: float | None) -> Summary:
    """Return the medians of the *repeats* that are usable at the speed of *calibration_ms*."""
    taken = usable(repeats, calibration_ms)
    values = {name: [one.figures[name] for one in taken] for name in (taken[0].figures if taken else ())}
    spreads = {name: spread(column) for name, column in values.items()}
    return Summary(
        usable=len(taken),
        is_complete=all(repeat.is_complete for repeat in repeats),
        medians={name: median(column) for name, column in values.items()},
        spreads={name: apart for name, apart in spreads.items() if apart is not None},
        percentiles=[median(column) for column in zip(*(one.percentiles for one in taken), strict=True)],
    )


def refuse(metric: Metric, summary: Summary) -> str | None:
    """Return why no ratio may be made of *summary*; None when one may. A client that drops is not fast."""
    if not summary.is_complete:
        return "events lost"
    if summary.usable < MIN_REPEATS:
        return "too few"
    apart = summary.spreads.get(metric.name)
    return "too noisy" if apart is None or apart > metric.max_spread else None


def ratio(metric: Metric, ours: Summary, theirs: Summary) -> Ratio:
    """Return how many times better *ours* is than *theirs*; both must be of the same CPU speed."""
    refusal = refuse(metric, ours) or refuse(metric, theirs)
    if refusal:
        return Ratio(value=None, refusal=refusal)
    mine, its = ours.medians[metric.name], theirs.medians[metric.name]
    more, less = (mine, its) if metric.more_is_better else (its, mine)
    return Ratio(value=more / less if less else float("inf"))
