"""
What to do about the answer to one request: a plain function from values to one of a few decisions.

`decide` changes nothing and asks nobody. The delivery loop carries the decision out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from snowplow_aio.abc import Response
from snowplow_aio.policies import Retry

# A destination that refuses two single events of a request is taken to refuse everything.
TRIALS = 2

# So is one that has refused this many events in a row, without a delivery between them.
MOST_REFUSALS = 20

# Statuses about the bytes of a request. All others from 300 to 499 (a redirect, a wrong
# path, missing rights) are about the destination, except those that pass by themselves.
_ABOUT_THE_EVENTS = frozenset([400, 413, 414, 422, 431])
_PASSING = frozenset([408, 425, 429])


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """
    The state of a batch when a request for a part of it was answered.

    Args:
        part_size: Events in that part, from 1.

        has_other_parts: Whether other parts of the batch are still to be sent.

        trials: Single events of the batch that were refused so far without proof whose fault it was.

        is_proven: Whether the destination has taken an event of the batch, so
            that a refusal is the fault of the refused event.
    """

    part_size: int
    has_other_parts: bool = False
    trials: int = 0
    is_proven: bool = False


class Ending(Enum):
    """The three ways in which an event leaves."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Settle:
    """The events of the part are settled: they leave the store and are counted under *reason*."""

    ending: Ending
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Split:
    """Send the part again as two halves: one of its events is refused, not yet known which."""


@dataclass(frozen=True, slots=True)
class Isolate:
    """Send *count* events of the part alone before the rest: single refusals tell whose fault it is."""

    count: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """Keep the single event of the part aside until the destination has taken another one."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Send the single event of the part once more: no other event can tell whose fault the refusal is."""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Keep the events and pause: the failure may pass. *retry_after* is what the destination asked for."""

    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """Keep the events and send only a probe now and then: the destination refuses everything."""


Decision = Settle | Split | Isolate | SetAside | TryAgain | BackOff | OpenCircuit

_NOT_RETRIED = Settle(Ending.DROPPED, "not_retried")


def decide(response: Response, batch: BatchState, retry: Retry, *, is_probe: bool, refusals: int) -> Decision:
    """
    Return what to do about *response*, the answer to a request with one part of a batch.

    Args:
        response: The answer.

        batch: The state of the batch at that moment.

        retry: The emitter's policy.

        is_probe: Whether the destination is known to refuse everything, so that the request was a probe.

        refusals: Events that were rejected in a row since the last delivery.
    """
    meaning = _meaning(response, batch, retry)
    # 1. The destination has taken the events.
    if meaning is _Meaning.TAKEN:
        return Settle(Ending.DELIVERED)
    # 2. It was not reached, or cannot take anything at the moment.
    if meaning is _Meaning.UNAVAILABLE:
        return _NOT_RETRIED if retry.gives_up else BackOff(response.retry_after)
    if meaning is _Meaning.EVENTS_REFUSED:
        # 3. It refuses one of several events.
        if batch.part_size > 1:
            return Split()
        # 4. It refuses this event. Twenty of them in a row may mean the destination after all,
        #    unless that is proven to take events, or the user has named the status.
        if batch.is_proven or response.status in retry.retry_codes or refusals < MOST_REFUSALS:
            return rejection(response)
    # 5. It refuses more than single events.
    if retry.gives_up:
        return _NOT_RETRIED
    is_certain = response.is_misconfigured or is_probe or refusals >= MOST_REFUSALS
    return OpenCircuit() if is_certain else _decide_on_trials(batch)


def _decide_on_trials(batch: BatchState) -> Decision:
    """Return what to do where the destination seems to refuse everything: single events tell."""
    if batch.part_size > 1:
        return Isolate(TRIALS)
    if batch.trials + 1 >= TRIALS:
        return OpenCircuit()
    return SetAside() if batch.has_other_parts else TryAgain()


def rejection(response: Response) -> Settle:
    """Return how an event ends that the destination refuses with *response*."""
    return Settle(Ending.REJECTED, "too_large" if response.status == 413 else "refused")


class _Meaning(Enum):
    """What a response says, whatever was sent before."""

    TAKEN = "taken"
    UNAVAILABLE = "unavailable"
    EVENTS_REFUSED = "events refused"
    DESTINATION_REFUSES = "destination refuses"


def _meaning(response: Response, batch: BatchState, retry: Retry) -> _Meaning:
    """
    Return what *response* says.

    The status line decides about success. The user's `retry_codes` come before
    the rules for statuses (docs/explanation/protocol.md, "The collector: requests, sizes and answers").
    """
    status = response.status
    if response.is_misconfigured:
        return _Meaning.DESTINATION_REFUSES
    if 200 <= status < 300:
        return _Meaning.TAKEN
    passes = status in _PASSING or not 300 <= status < 500
    if retry.retry_codes.get(status, passes):
        return _Meaning.UNAVAILABLE
    if batch.is_proven or status in _ABOUT_THE_EVENTS or status in retry.retry_codes:
        return _Meaning.EVENTS_REFUSED
    return _Meaning.DESTINATION_REFUSES
