"""
Repeats, their statistics, and when no ratio may be printed.

Plain functions over frozen values. The machines that this runs on are noisy:
some flip between two CPU speeds. So each repeat is bracketed by a calibration
loop, only repeats at the same speed are compared, and a ratio is refused
rather than guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

# Median and quartiles of fewer repeats say next to nothing.
MIN_REPEATS = 5
# Calibrations of one CPU speed differ by 5 to 10 %, the two speeds of a flipping CPU by 60 to 75 %.
SPEED_TOLERANCE = 0.15
# Interquartile range over median. Repeats at one speed mostly stay below half of it.
MAX_SPREAD = 0.20

# Metric of a repeat -> whether more of it is better.
METRICS = {"events_per_second": True, "cpu_us": False, "p50_us": False, "p99_us": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """
    One measured run of one client.

    Args:
        round: Which turn it was; clients of one round ran one after the other.

        counted: Events that arrived at the sink.

        seconds: From the first `track` to the last event counted.

        cpu_us: CPU time of the client, per event.

        p50_us: Median wait of one `track`, the making of its event included.

        calibration_before_ms: How long a fixed piece of CPU work took just
            before, on the same core.

        bytes_at_sink: Requests with their heads; like *requests* and *connections*
            it is 0 where nothing is sent.
    """

    round: int
    events: int
    counted: int
    seconds: float
    cpu_us: float
    p50_us: float
    p99_us: float
    max_us: float
    calibration_before_ms: float
    calibration_after_ms: float
    requests: int = 0
    connections: int = 0
    bytes_at_sink: int = 0

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds

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
    """

    usable: int
    is_complete: bool
    medians: dict[str, float]
    spreads: dict[str, float]


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
    for metric in METRICS if taken else ():
        values = [getattr(repeat, metric) for repeat in taken]
        medians[metric] = median(values)
        apart = spread(values)
        if apart is not None:
            spreads[metric] = apart
    return Summary(
        usable=len(taken),
        is_complete=all(repeat.is_complete for repeat in repeats),
        medians=medians,
        spreads=spreads,
    )


def ratio(metric: str, ours: Summary, theirs: Summary) -> Ratio:
    """
    Return how many times better *ours* is than *theirs* in *metric*.

    Both summaries must be of the same speed. There is no ratio when an event got
    lost (a client that drops is not fast), with fewer than five usable repeats,
    or when these lie too far apart.
    """
    refusal = refuse(metric, ours) or refuse(metric, theirs)
    value = None if refusal else better_by(metric, ours, theirs)
    return Ratio(value=value, refusal=refusal)


def better_by(metric: str, ours: Summary, theirs: Summary) -> float:
    mine, its = ours.medians[metric], theirs.medians[metric]
    more, less = (mine, its) if METRICS[metric] else (its, mine)
    return more / less if less else float("inf")


def refuse(metric: str, summary: Summary) -> str | None:
    """
    Return why no ratio may be made of *summary*; None when one may.
    """
    if not summary.is_complete:
        return "events lost"
    if summary.usable < MIN_REPEATS:
        return "too few"
    apart = summary.spreads.get(metric)
    if apart is None or apart > MAX_SPREAD:
        return "too noisy"
    return None
