"""
Repeats, their statistics, and when no ratio may be printed.

Plain functions over frozen values. The machines that this runs on are noisy:
some flip between two CPU speeds. So each repeat is bracketed by a calibration
loop, only repeats at the same speed are compared, and a ratio is refused
rather than guessed.
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
# Repeats of a tail (a 99th percentile) lie further apart, whatever runs: few of thousands of values make it.
MAX_TAIL_SPREAD = 0.50


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """
    One figure of a repeat.

    Args:
        column: Its name and unit as the table says them.

        max_spread: Above it the repeats are too noisy for a ratio.
    """

    name: str
    column: str
    more_is_better: bool = False
    max_spread: float = MAX_SPREAD


SPEED = Metric(name="events_per_second", column="events/s", more_is_better=True)
CPU = Metric(name="cpu_us", column="CPU µs")
P50 = Metric(name="p50_us", column="p50 µs")
P99 = Metric(name="p99_us", column="p99 µs", max_spread=MAX_TAIL_SPREAD)


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """
    One measured run of one client.

    Args:
        round: Which turn it was; clients of one round ran one after the other.

        counted: Events that arrived at the sink.

        figures: What was measured, by the name of the metric.

        calibration_before_ms: How long a fixed piece of CPU work took just
            before, on the same core.

        percentiles: Waits or latenesses at `common.SHARES`, for the pictures.

        details: What the sink saw, and other things worth keeping.
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
        """
        Whether the CPU kept its speed from before to after.
        """
        return is_alike(self.calibration_before_ms, self.calibration_after_ms)

    @property
    def calibration_ms(self) -> float:
        return (self.calibration_before_ms + self.calibration_after_ms) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """
    The medians of a client's usable repeats, and how far these lie apart.

    Args:
        is_complete: Whether no repeat, usable or not, lost an event.

        medians: By metric; empty when no repeat was usable.

        spreads: By metric; empty when fewer than two repeats were usable.

        percentiles: The median of each; empty where there are none.
    """

    usable: int
    is_complete: bool
    medians: dict[str, float]
    spreads: dict[str, float]
    percentiles: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """
    How many times better one client is than another, in one metric.

    Args:
        value: Above 1 means better; None when *refusal* says why there is none.
    """

    value: float | None
    refusal: str | None = None


def is_alike(one_ms: float, other_ms: float) -> bool:
    """
    Whether two calibrations tell the same CPU speed.
    """
    return max(one_ms, other_ms) <= min(one_ms, other_ms) * (1 + SPEED_TOLERANCE)


def spread(values: Sequence[float]) -> float | None:
    """
    Return the interquartile range over the median; None for fewer than two values.
    """
    if len(values) < 2:
        return None
    lower, middle, upper = quantiles(values, n=4, method="inclusive")
    return (upper - lower) / middle if middle else None


def common_calibration(repeats: Iterable[Repeat]) -> float | None:
    """
    Return the fastest calibration of the commonest speed; None without a steady repeat.

    Every steady repeat may stand for its speed; the one that most others are alike to, wins.
    """
    steady = sorted(repeat.calibration_ms for repeat in repeats if repeat.is_steady)
    return max(steady, key=lambda one_ms: sum(is_at(one_ms, other) for other in steady), default=None)


def is_at(calibration_ms: float, other_ms: float) -> bool:
    """
    Whether *other_ms* is of the speed whose fastest calibration is *calibration_ms*.
    """
    return calibration_ms <= other_ms and is_alike(calibration_ms, other_ms)


def usable(repeats: Iterable[Repeat], calibration_ms: float | None) -> list[Repeat]:
    """
    Return the repeats that ran steadily at the speed of *calibration_ms*.
    """
    if calibration_ms is None:
        return []
    return [repeat for repeat in repeats if repeat.is_steady and is_at(calibration_ms, repeat.calibration_ms)]


def summarise(repeats: Sequence[Repeat], calibration_ms: float | None) -> Summary:
    """
    Return the medians of the *repeats* that are usable at the speed of *calibration_ms*.
    """
    taken = usable(repeats, calibration_ms)
    medians, spreads = {}, {}
    for name in taken[0].figures if taken else ():
        values = [repeat.figures[name] for repeat in taken]
        medians[name] = median(values)
        apart = spread(values)
        if apart is not None:
            spreads[name] = apart
    return Summary(
        usable=len(taken),
        is_complete=all(repeat.is_complete for repeat in repeats),
        medians=medians,
        spreads=spreads,
        percentiles=[
            median(column) for column in zip(*(repeat.percentiles for repeat in taken), strict=True)
        ],
    )


def ratio(metric: Metric, ours: Summary, theirs: Summary) -> Ratio:
    """
    Return how many times better *ours* is than *theirs* in *metric*.

    Both summaries must be of the same speed. There is no ratio when an event got
    lost (a client that drops is not fast), with fewer than five usable repeats,
    or when these lie too far apart.
    """
    refusal = refuse(metric, ours) or refuse(metric, theirs)
    value = None if refusal else better_by(metric, ours, theirs)
    return Ratio(value=value, refusal=refusal)


def better_by(metric: Metric, ours: Summary, theirs: Summary) -> float:
    mine, its = ours.medians[metric.name], theirs.medians[metric.name]
    more, less = (mine, its) if metric.more_is_better else (its, mine)
    return more / less if less else float("inf")


def refuse(metric: Metric, summary: Summary) -> str | None:
    """
    Return why no ratio may be made of *summary*; None when one may.
    """
    if not summary.is_complete:
        return "events lost"
    if summary.usable < MIN_REPEATS:
        return "too few"
    apart = summary.spreads.get(metric.name)
    if apart is None or apart > metric.max_spread:
        return "too noisy"
    return None
