"""
The numbers of a worker, each defined once: its name, its description and how it is read.

`METRICS` has no format. `metrics` writes it as Prometheus reads it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from snowplow_aio.outcomes import EmitterStats

_PREFIX = "snowplow_worker_"


class ObservedWorker(Protocol):
    """The part of a worker that probes and metrics look at. Reading it is cheap and never waits."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether the worker runs."""

    @property
    @abstractmethod
    def is_ready(self) -> bool:
        """Whether Redis answers and the destination takes events."""

    @property
    @abstractmethod
    def is_redis_answering(self) -> bool:
        """Whether Redis has answered the latest command."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """The state of the worker in one line."""

    @property
    @abstractmethod
    def queue_length(self) -> int:
        """How many events waited in Redis when it was last asked."""

    @property
    @abstractmethod
    def taken_over(self) -> int:
        """How many events of dead workers were taken over."""

    @property
    @abstractmethod
    def trimmed(self) -> int:
        """How many dead letters were deleted to make room for newer ones."""

    @abstractmethod
    def stats(self) -> EmitterStats:
        """Return the numbers that workers and emitters have in common."""


class Sample(NamedTuple):
    """A value of a metric, and the labels that tell it from the metric's other values."""

    value: float
    labels: Mapping[str, str] = {}


Read = Callable[[ObservedWorker, EmitterStats], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Metric:
    """
    A number that operators look at.

    Args:
        name: Its name without a prefix. One that ends in ``_total`` only grows.

        description: What it counts or measures.

        read: Returns the values from the worker and its `stats()`; none if there is no value now.
    """

    name: str
    description: str
    read: Read

    @property
    def kind(self) -> Literal["counter", "gauge"]:
        """A counter only grows; a gauge goes up and down."""
        return "counter" if self.name.endswith("_total") else "gauge"


def _by_reason(counts: Mapping[str, int], **labels: str) -> list[Sample]:
    return [Sample(count, {**labels, "reason": reason}) for reason, count in counts.items()]


def _if_known(value: float | None) -> list[Sample]:
    return [] if value is None else [Sample(value)]


def _settled(_worker: ObservedWorker, stats: EmitterStats) -> list[Sample]:
    delivered = Sample(stats.delivered, {"outcome": "delivered"})
    rejected = _by_reason(stats.rejected, outcome="rejected")
    return [delivered, *rejected, *_by_reason(stats.dropped, outcome="dropped")]


def _held(_worker: ObservedWorker, stats: EmitterStats) -> list[Sample]:
    return [Sample(stats.pending, {"state": "pending"}), Sample(stats.leased, {"state": "leased"})]


METRICS: tuple[Metric, ...] = (
    Metric("events_total", "Events that have left Redis, by outcome and reason.", _settled),
    Metric("events_held", "Events that the worker holds: they wait, or are being sent.", _held),
    Metric(
        "queue_length",
        "Events that waited in Redis when it was last asked.",
        lambda worker, _stats: [Sample(worker.queue_length)],
    ),
    Metric("requests_total", "Attempts to send.", lambda _worker, stats: [Sample(stats.requests)]),
    Metric(
        "retries_total",
        "Attempts that failed and are repeated, by reason.",
        lambda _worker, stats: _by_reason(stats.retries),
    ),
    Metric(
        "taken_over_total",
        "Events of dead workers that were taken over.",
        lambda worker, _stats: [Sample(worker.taken_over)],
    ),
    Metric(
        "dead_letters_deleted_total",
        "Dead letters that made room for newer ones.",
        lambda worker, _stats: [Sample(worker.trimmed)],
    ),
    Metric(
        "restarts_total",
        "Parts of the worker that failed and were started again.",
        lambda _worker, stats: [Sample(stats.restarts)],
    ),
    Metric("hook_errors_total", "Exceptions of hooks.", lambda _worker, stats: [Sample(stats.hook_errors)]),
    Metric(
        "oldest_age_seconds",
        "How long the oldest held event has been held.",
        lambda _worker, stats: _if_known(stats.oldest_age),
    ),
    Metric(
        "last_success_age_seconds",
        "Seconds since the destination last took events.",
        lambda _worker, stats: _if_known(stats.last_success_age),
    ),
    Metric(
        "redis_up",
        "Whether Redis has answered the latest command.",
        lambda worker, _stats: [Sample(worker.is_redis_answering)],
    ),
    Metric(
        "ready",
        "Whether Redis answers and the destination takes events.",
        lambda worker, _stats: [Sample(worker.is_ready)],
    ),
)
"""Every number that is published of a worker."""


def metrics(worker: ObservedWorker) -> str:
    """Return the numbers of *worker* in the text format of Prometheus."""
    stats = worker.stats()
    return "".join(f"{line}\n" for metric in METRICS for line in _lines(metric, metric.read(worker, stats)))


def _lines(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    name = _PREFIX + metric.name
    yield f"# HELP {name} {metric.description}"
    yield f"# TYPE {name} {metric.kind}"
    for value, labels in samples:
        yield f"{name}{_labels(labels)} {float(value):.15g}"


def _labels(labels: Mapping[str, str]) -> str:
    """Return *labels* as they stand behind a name, or an empty string if there are none."""
    if not labels:
        return ""
    # A reason may be a text of a server's.
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
