"""
Repeats, their statistics, and when no ratio may be printed.

The machines that this runs on are noisy; some flip between two CPU speeds. So
each repeat is bracketed by a calibration loop, only repeats at the same speed
are compared, and a ratio is refused rather than guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median, quantiles

# Median and quartiles of fewer repeats say next to nothing.
MIN_REPEATS = 5
# Calibrations of one CPU speed differ by 5 to 10 %, the two speeds of a flipping CPU by 60 to 75 %.
SPEED_TOLERANCE = 0.15
SPEED, RATE = "events_per_second", "requests_per_second"


def is_rate(metric: str) -> bool:
    """Whether more is better; of all other figures, less is."""
    return metric in (SPEED, RATE)


def max_spread(metric: str) -> float:
    """Return the interquartile range over the median above which repeats are too noisy for a ratio."""
    if metric == RATE:
        # It is to tell five per cent.
        return 0.05
    # Repeats of a tail lie further apart: few of thousands of values make it.
    return 0.50 if any(word in metric for word in ("p99", "max", "stall")) else 0.20


class RefusedError(Exception):
    """No ratio may be made; the message says why in two words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """
    One measured run of one client, and how long a fixed piece of CPU work took before and after.

    *percentiles* are waits or latenesses at `common.SHARES`, for the pictures.
    """

    events: int
    counted: int
    figures: dict[str, float]
    calibration_before_ms: float
    calibration_after_ms: float
    percentiles: list[float] = field(default_factory=list)

    @property
    def is_steady(self) -> bool:
        """Whether the CPU kept its speed from before to after."""
        return is_alike(self.calibration_before_ms, self.calibration_after_ms)

    @property
    def calibration_ms(self) -> float:
        return (self.calibration_before_ms + self.calibration_after_ms) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The medians and spreads of a client's usable repeats, by metric, and what all repeats lost."""

    usable: int
    lost: int
    medians: dict[str, float]
    spreads: dict[str, float]
    percentiles: list[float]


def is_alike(one_ms: float, other_ms: float) -> bool:
    """Whether two calibrations tell the same CPU speed."""
    return max(one_ms, other_ms) <= min(one_ms, other_ms) * (1 + SPEED_TOLERANCE)


def spread(values: Sequence[float]) -> float:
    """Return the interquartile range over the median; infinite where there is nothing to tell it by."""
    if len(values) < 2:
        return inf
    lower, middle, upper = quantiles(values, n=4, method="inclusive")
    return 0.0 if upper == lower else (upper - lower) / middle if middle else inf


def common_calibration(repeats: Iterable[Repeat]) -> float:
    """Return the fastest calibration of the speed that most steady repeats have; infinite without one."""
    steady = sorted(repeat.calibration_ms for repeat in repeats if repeat.is_steady)
    return max(steady, key=lambda one_ms: sum(is_at(one_ms, other) for other in steady), default=inf)


def is_at(calibration_ms: float, other_ms: float) -> bool:
    """Whether *other_ms* is of the speed whose fastest calibration is *calibration_ms*."""
    return calibration_ms <= other_ms and is_alike(calibration_ms, other_ms)


def summarise(repeats: dict[str, list[Repeat]]) -> dict[str, Summary]:
    """Return the summary of each client's *repeats*, all at the speed that is the commonest among them."""
    calibration_ms = common_calibration(one for made in repeats.values() for one in made)
    return {name: summary(made, calibration_ms) for name, made in repeats.items()}


def summary(repeats: Sequence[Repeat], calibration_ms: float) -> Summary:
    """Return the medians of the *repeats* that ran steadily at the speed of *calibration_ms*."""
    usable = [one for one in repeats if one.is_steady and is_at(calibration_ms, one.calibration_ms)]
    values = {name: [one.figures[name] for one in usable] for name in (usable[0].figures if usable else ())}
    return Summary(
        usable=len(usable),
        lost=sum(one.events - one.counted for one in repeats),
        medians={name: median(column) for name, column in values.items()},
        spreads={name: spread(column) for name, column in values.items()},
        percentiles=[median(column) for column in zip(*(one.percentiles for one in usable), strict=True)],
    )


def trusted(metric: str, found: Summary, most: float | None = None) -> float:
    """Return the median of *metric*, unless a spread above *most* (or the usual one) or a loss forbids it."""
    # A client that drops events is not fast.
    if found.lost:
        raise RefusedError("events lost")
    if found.usable < MIN_REPEATS:
        raise RefusedError("too few")
    if found.spreads[metric] > (max_spread(metric) if most is None else most):
        raise RefusedError("too noisy")
    return found.medians[metric]


def ratio(metric: str, ours: Summary, theirs: Summary) -> float:
    """Return how many times better *ours* is than *theirs*, if both are trusted."""
    mine, its = trusted(metric, ours), trusted(metric, theirs)
    more, less = (mine, its) if is_rate(metric) else (its, mine)
    return more / less if less else inf
