"""Values that report on events: outcomes for hooks, results of flush and close, statistics and health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from snowplow_aio.runtime.copies import CopiedByFields

if TYPE_CHECKING:
    from snowplow_aio.model.payload import Payload


# --- outcomes, which hooks receive


def _nothing() -> MappingProxyType[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome(CopiedByFields):
    """
    The outcome of one attempt or decision for some events of one emitter.

    Attributes:
        emitter: The emitter's name.

        payloads: The events.

        attempts: The most requests that one of them was part of.

        waited: Seconds since the oldest of them was accepted.

        will_retry: Whether they will be sent again. If not, this is their end.
    """

    will_retry: ClassVar[bool] = False

    emitter: str
    payloads: Sequence[Payload]
    attempts: int
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(_Outcome):
    """
    The destination took the events.

    Attributes:
        status: The HTTP status, or None if there is none.

    Example:
        A hook that counts delivered events::

            def hook(outcome: Outcome) -> None:
                if isinstance(outcome, Delivered):
                    delivered.inc(len(outcome.payloads))
    """

    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(_Outcome):
    """
    The destination refuses the events, and would refuse them again: they are not sent any more.

    Attributes:
        reason: ``refused`` or ``too_large``.

        status: The HTTP status, or None if there is none.

    Example:
        A hook that keeps rejected events for a person to look at::

            def hook(outcome: Outcome) -> None:
                if isinstance(outcome, Rejected):
                    refused.extend(payload.fields() for payload in outcome.payloads)
    """

    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(_Outcome):
    """
    The events were given up.

    Attributes:
        reason: ``queue_full`` (no room), ``expired`` (older than `Retry.max_age`),
            ``not_retried`` (failed, with `Retry.never`), or ``closed`` (the
            emitter was closed before they were delivered).

        status: The HTTP status of the last answer, with ``not_retried``; None if there was none.

    Example:
        A hook that raises an alarm when memory was too small::

            def hook(outcome: Outcome) -> None:
                if isinstance(outcome, Dropped) and outcome.reason == "queue_full":
                    alarm(f"{len(outcome.payloads)} events lost")
    """

    reason: str
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(_Outcome):
    """
    The events were not delivered and will be sent again.

    Attributes:
        reason: The cause: an HTTP status or the name of an error.

        status: The HTTP status, or None if there was no answer.

        pause: Seconds until the destination is tried again.

    Example:
        A hook that shows the pause::

            def hook(outcome: Outcome) -> None:
                if isinstance(outcome, Retried):
                    print(f"{outcome.reason}: next attempt in {outcome.pause:.1f} s")
    """

    will_retry: ClassVar[bool] = True

    reason: str
    pause: float
    status: int | None = None


Outcome = Delivered | Rejected | Dropped | Retried


# --- results and statistics

State = Literal["ok", "backing_off", "misconfigured", "stalled", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult(CopiedByFields):
    """
    How the events that were tracked before a flush left.

    Events that an earlier flush has reported are left out, unless some of them
    were pending then.

    Attributes:
        delivered: Events that the destination took.

        rejected: Events that it refuses.

        dropped: Events that were given up.

        pending: Events that are still to be delivered.

        by_emitter: The same numbers for each emitter, by its name, in the result of a tracker.

    Example:
        >>> FlushResult.of({"http": FlushResult(delivered=2), "file": FlushResult(delivered=2)}).delivered
        4
    """

    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    pending: int = 0
    by_emitter: Mapping[str, FlushResult] = field(default_factory=_nothing)

    @classmethod
    def of(cls, results: Mapping[str, FlushResult]) -> FlushResult:
        """Return the totals of *results*, the results of emitters by their names."""
        totals = {
            name: sum(getattr(result, name) for result in results.values())
            for name in ("delivered", "rejected", "dropped", "pending")
        }
        return cls(**totals, by_emitter=MappingProxyType(dict(results)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitterStats(CopiedByFields):
    """
    An emitter's numbers since it was made.

    At every moment
    ``accepted == pending + leased + delivered + sum(rejected.values()) + sum(dropped.values())``.

    Attributes:
        accepted: Events taken from the application.

        pending: Events that wait.

        leased: Events that are being sent.

        delivered: Events that the destination took.

        rejected: Events that it refuses, by reason.

        dropped: Events that were given up, by reason.

        bytes: Bytes of the events that wait or are being sent, as JSON.

        requests: Attempts to send.

        retries: Attempts that failed and were repeated, by reason.

        restarts: How often a task of the delivery failed, or was cancelled from outside, and started again.

        hook_errors: Exceptions of hooks and callbacks, and calls that were not made because
            others take too long.

        oldest_age: Seconds that the oldest waiting event has waited, or None.

        last_success_age: Seconds since the destination last took events, or None.

        next_attempt: Seconds until a destination that failed is tried again, or None.

        last_error: The latest failure, or None.

        state: ``ok``; ``backing_off`` after a failure that may pass;
            ``misconfigured`` when everything is refused, so that events are
            kept and one is tried now and then; ``stalled`` when nothing is tried,
            because no event loop runs the delivery or the delivery itself fails
            again and again; or ``closed``.

    Example:
        >>> EmitterStats(accepted=3, delivered=2, pending=1).summary
        'ok; 1 waiting; 2 delivered'
    """

    accepted: int = 0
    pending: int = 0
    leased: int = 0
    delivered: int = 0
    rejected: Mapping[str, int] = field(default_factory=_nothing)
    dropped: Mapping[str, int] = field(default_factory=_nothing)
    bytes: int = 0
    requests: int = 0
    retries: Mapping[str, int] = field(default_factory=_nothing)
    restarts: int = 0
    hook_errors: int = 0
    oldest_age: float | None = None
    last_success_age: float | None = None
    next_attempt: float | None = None
    last_error: str | None = None
    state: State = "ok"

    @property
    def summary(self) -> str:
        """One line with the state and its reason, the events that wait and those that were lost."""
        state = self.state.replace("_", " ")
        if self.state in ("backing_off", "misconfigured"):
            state += f" ({self.last_error}; next attempt in {self.next_attempt or 0:.0f} s)"
        elif self.state == "stalled":
            state += f" ({self.last_error})"
        waiting = f"{self.pending + self.leased} waiting"
        if self.oldest_age is not None:
            waiting += f", the oldest for {self.oldest_age:.0f} s"
        parts = [state, waiting, f"{self.delivered} delivered"]
        if self.last_success_age is not None:
            parts[-1] += f", the last {self.last_success_age:.0f} s ago"
        for way, counts in (("rejected", self.rejected), ("dropped", self.dropped)):
            parts += [f"{count} {way} ({reason})" for reason, count in counts.items()]
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """
    The health of a tracker. It is true if every emitter's state is ``ok``; as text it is its summary.

    Attributes:
        is_ok: Whether every emitter's state is ``ok``.

        summary: One line with the state of each emitter and its reason.

    Example:
        >>> str(Health.of({"http": EmitterStats(accepted=2, delivered=2)}))
        'http: ok; 0 waiting; 2 delivered'
    """

    is_ok: bool
    summary: str

    @classmethod
    def of(cls, stats: Mapping[str, EmitterStats]) -> Health:
        """Return the health that *stats* show, the statistics of emitters by their names."""
        summary = " | ".join(f"{name}: {numbers.summary}" for name, numbers in stats.items())
        return cls(is_ok=all(numbers.state == "ok" for numbers in stats.values()), summary=summary)

    def __bool__(self) -> bool:
        return self.is_ok

    def __str__(self) -> str:
        return self.summary
