"""What became of events: what a hook receives, and what flush, close and statistics say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snowplow_aio.payload import Payload


def _nothing() -> MappingProxyType[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """
    What happened to some events of one emitter.

    Attributes:
        emitter: The emitter's name.

        payloads: The events.

        attempts: How often the oldest of them was sent.

        waited: Seconds since the oldest of them was accepted.
    """

    emitter: str
    payloads: Sequence[Payload]
    attempts: int
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(_Outcome):
    """
    The destination took the events.

    Attributes:
        status: The HTTP status, or None where there is none.
    """

    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(_Outcome):
    """
    The destination refuses the events, and would again: they are not sent any more.

    Attributes:
        reason: ``refused`` or ``too_large``.

        status: The HTTP status, or None where there is none.
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
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(_Outcome):
    """
    The events were not delivered and will be sent again.

    Attributes:
        reason: What went wrong: an HTTP status or the name of an error.

        status: The HTTP status, or None where there was no answer.

        pause: Seconds until the destination is tried again.
    """

    reason: str
    pause: float
    status: int | None = None


Outcome = Delivered | Rejected | Dropped | Retried


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult:
    """
    What became of the events that were tracked before a flush.

    Those that an earlier flush has reported are left out, unless some of them
    were pending then.

    Attributes:
        delivered: How many the destination took.

        rejected: How many it refuses.

        dropped: How many were given up.

        pending: How many are still to be delivered.

        by_emitter: The same for each emitter, where there are several.
    """

    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    pending: int = 0
    by_emitter: Mapping[str, FlushResult] = field(default_factory=_nothing)

    @classmethod
    def of(cls, results: Mapping[str, FlushResult]) -> FlushResult:
        """Return the totals of the emitters' *results*."""
        totals = {
            name: sum(getattr(result, name) for result in results.values())
            for name in ("delivered", "rejected", "dropped", "pending")
        }
        return cls(**totals, by_emitter=MappingProxyType(dict(results)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitterStats:
    """
    An emitter's numbers since it was made.

    At every moment ``accepted == pending + leased + delivered + sum(rejected) + sum(dropped)``.

    Attributes:
        accepted: Events taken at the door.

        pending: Events that wait.

        leased: Events that are being sent.

        delivered: Events that the destination took.

        rejected: Events that it refuses, by reason.

        dropped: Events that were given up, by reason.

        bytes: Bytes of the events that wait or are being sent, as JSON.

        requests: Attempts to send.

        retries: Attempts that failed and were repeated, by reason.

        restarts: How often the delivery was cancelled from outside and went on.

        hook_errors: Exceptions of hooks and callbacks.

        last_error: The latest failure, or None.

        state: ``ok``, ``backing_off`` or ``closed``.
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
    last_error: str | None = None
    state: str = "ok"
