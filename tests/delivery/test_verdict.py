"""What is decided about each answer, as a table: `decide` is a plain function."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_aio import Retry
from snowplow_aio.abc import Response
from snowplow_aio.delivery.verdict import (
    MOST_REFUSALS,
    BackOff,
    BatchState,
    Decision,
    Ending,
    Isolate,
    OpenCircuit,
    SetAside,
    Settle,
    Split,
    TryAgain,
    decide,
)

# --- batches

MANY = BatchState(part_size=10)
MANY_PROVEN = BatchState(part_size=10, is_proven=True)
HALF = BatchState(part_size=5, has_other_parts=True)
# A single event, with and without others that are still to be sent.
ONE_OF_MANY = BatchState(part_size=1, has_other_parts=True)
ONE_OF_MANY_PROVEN = BatchState(part_size=1, has_other_parts=True, is_proven=True)
SECOND_OF_MANY = BatchState(part_size=1, has_other_parts=True, trials=1)
ALONE = BatchState(part_size=1)
ALONE_AGAIN = BatchState(part_size=1, trials=1)
# What is left after a first trial, with many events.
REST = BatchState(part_size=8, trials=1)

# --- policies

USUAL = Retry()
NEVER = Retry.never()


def codes(status: int, *, is_retried: bool) -> Retry:
    return Retry(retry_codes={status: is_retried})


# --- decisions

DELIVERED = Settle(Ending.DELIVERED)
REFUSED = Settle(Ending.REJECTED, "refused")
TOO_LARGE = Settle(Ending.REJECTED, "too_large")
NOT_RETRIED = Settle(Ending.DROPPED, "not_retried")
WRONG_SETTING = Response(status=0, is_misconfigured=True)


# fmt: off
ANSWERS: list[tuple[Any, ...]] = [
    # 1. Taken.
    (200, MANY,               USUAL,           DELIVERED),
    (204, ALONE,              USUAL,           DELIVERED),
    (299, MANY,               NEVER,           DELIVERED),
    (200, MANY,               codes(200, is_retried=False), DELIVERED),
    # 2. Unavailable: it may pass.
    (0,   MANY,               USUAL,           BackOff()),
    (0,   ALONE,              USUAL,           BackOff()),
    (199, MANY,               USUAL,           BackOff()),
    (408, MANY,               USUAL,           BackOff()),
    (425, MANY,               USUAL,           BackOff()),
    (429, MANY,               USUAL,           BackOff()),
    (500, ONE_OF_MANY_PROVEN, USUAL,           BackOff()),
    (503, ALONE,              USUAL,           BackOff()),
    (599, MANY,               USUAL,           BackOff()),
    (0,   MANY,               NEVER,           NOT_RETRIED),
    (503, ALONE,              NEVER,           NOT_RETRIED),
    (400, MANY,               codes(400, is_retried=True), BackOff()),
    (404, ALONE,              codes(404, is_retried=True), BackOff()),
    # 3. One of several events is refused.
    (400, MANY,               USUAL,           Split()),
    (413, HALF,               USUAL,           Split()),
    (414, REST,               USUAL,           Split()),
    (422, MANY_PROVEN,        USUAL,           Split()),
    (431, MANY,               NEVER,           Split()),
    (404, MANY_PROVEN,        USUAL,           Split()),
    (503, MANY,               codes(503, is_retried=False), Split()),
    # 4. A single event is refused.
    (400, ALONE,              USUAL,           REFUSED),
    (422, ONE_OF_MANY,        USUAL,           REFUSED),
    (431, ONE_OF_MANY,        NEVER,           REFUSED),
    (414, ALONE_AGAIN,        USUAL,           REFUSED),
    (413, ALONE,              USUAL,           TOO_LARGE),
    (413, ONE_OF_MANY_PROVEN, NEVER,           TOO_LARGE),
    (404, ONE_OF_MANY_PROVEN, USUAL,           REFUSED),
    (301, ONE_OF_MANY_PROVEN, USUAL,           REFUSED),
    (503, ALONE,              codes(503, is_retried=False), REFUSED),
    (404, ALONE,              codes(404, is_retried=False), REFUSED),
    # 5. The destination refuses, or seems to refuse, everything.
    (301, MANY,               USUAL,           Isolate(2)),
    (401, HALF,               USUAL,           Isolate(2)),
    (404, REST,               USUAL,           Isolate(2)),
    (404, ONE_OF_MANY,        USUAL,           SetAside()),
    (404, ALONE,              USUAL,           TryAgain()),
    (404, SECOND_OF_MANY,     USUAL,           OpenCircuit()),
    (404, ALONE_AGAIN,        USUAL,           OpenCircuit()),
    (404, MANY,               NEVER,           NOT_RETRIED),
    (404, ALONE,              NEVER,           NOT_RETRIED),
]
# fmt: on


@pytest.mark.parametrize(("status", "batch", "retry", "decision"), ANSWERS)
def test_each_answer_has_its_decision(
    status: int, batch: BatchState, retry: Retry, decision: Decision
) -> None:
    assert decide(Response(status=status), batch, retry, is_probe=False, refusals=0) == decision


# fmt: off
PROBES: list[tuple[Any, ...]] = [
    (200, ALONE,              DELIVERED),
    (503, ALONE,              BackOff()),
    (400, ALONE,              REFUSED),
    (404, ALONE,              OpenCircuit()),
    (404, ONE_OF_MANY,        OpenCircuit()),
    (404, REST,               OpenCircuit()),
    (404, ONE_OF_MANY_PROVEN, REFUSED),
]
# fmt: on


@pytest.mark.parametrize(("status", "batch", "decision"), PROBES)
def test_a_probe_that_is_refused_needs_no_trials(status: int, batch: BatchState, decision: Decision) -> None:
    assert decide(Response(status=status), batch, USUAL, is_probe=True, refusals=0) == decision


# fmt: off
REFUSALS: list[tuple[Any, ...]] = [
    (400, ALONE,              USUAL,             REFUSED,   OpenCircuit()),
    (413, ONE_OF_MANY,        USUAL,             TOO_LARGE, OpenCircuit()),
    (400, ALONE,              NEVER,             REFUSED,   NOT_RETRIED),
    # As long as there are several, one of them may be taken.
    (400, MANY,               USUAL,             Split(),   Split()),
    # The destination has taken others, or the user is sure.
    (400, ONE_OF_MANY_PROVEN, USUAL,             REFUSED,   REFUSED),
    (400, ALONE,              codes(400, is_retried=False), REFUSED,   REFUSED),
    # What is not about the events needs no trials any more.
    (404, MANY,               USUAL,             Isolate(2), OpenCircuit()),
    (200, MANY,               USUAL,             DELIVERED, DELIVERED),
    (503, MANY,               USUAL,             BackOff(), BackOff()),
]
# fmt: on


@pytest.mark.parametrize(("status", "batch", "retry", "before", "after"), REFUSALS)
def test_twenty_refusals_in_a_row_mean_the_destination(
    status: int, batch: BatchState, retry: Retry, before: Decision, after: Decision
) -> None:
    decisions = [
        decide(Response(status=status), batch, retry, is_probe=False, refusals=refusals)
        for refusals in (MOST_REFUSALS - 1, MOST_REFUSALS)
    ]
    assert decisions == [before, after]


@pytest.mark.parametrize("batch", [MANY, MANY_PROVEN, ALONE, ONE_OF_MANY, ONE_OF_MANY_PROVEN], ids=str)
def test_a_wrong_setting_refuses_everything_at_once(batch: BatchState) -> None:
    assert decide(WRONG_SETTING, batch, USUAL, is_probe=False, refusals=0) == OpenCircuit()
    assert decide(WRONG_SETTING, batch, NEVER, is_probe=False, refusals=0) == NOT_RETRIED


def test_a_pause_knows_what_the_destination_asked_for() -> None:
    response = Response(status=503, retry_after=7.0)
    assert decide(response, MANY, USUAL, is_probe=False, refusals=0) == BackOff(7.0)


statuses = st.sampled_from([0, 100, 200, 204, 301, 400, 401, 404, 408, 413, 422, 429, 431, 500, 503, 599])
batches = st.builds(
    BatchState,
    part_size=st.integers(1, 500),
    has_other_parts=st.booleans(),
    trials=st.integers(0, 1),
    is_proven=st.booleans(),
)
policies = st.builds(
    Retry,
    gives_up=st.booleans(),
    retry_codes=st.dictionaries(statuses.filter(lambda status: status >= 100), st.booleans()),
)
responses = st.builds(
    Response,
    status=statuses,
    is_misconfigured=st.booleans(),
    retry_after=st.none() | st.floats(min_value=0, allow_nan=False),
)


@given(responses, batches, policies, st.booleans(), st.integers(0, 40))
def test_every_answer_has_exactly_one_decision(
    response: Response, batch: BatchState, retry: Retry, is_probe: bool, refusals: int
) -> None:
    """The function is total, and pure: the same values give the same decision."""
    state: dict[str, Any] = {"is_probe": is_probe, "refusals": refusals}
    decision = decide(response, batch, retry, **state)
    assert isinstance(decision, typing.get_args(Decision))
    assert decide(response, batch, retry, **state) == decision
    # A decision can be carried out with such a part.
    if isinstance(decision, Split | Isolate):
        assert batch.part_size > 1
    if isinstance(decision, SetAside):
        assert (batch.part_size, batch.has_other_parts) == (1, True)
    if isinstance(decision, TryAgain):
        assert (batch.part_size, batch.has_other_parts) == (1, False)
    if retry.gives_up:
        assert isinstance(decision, Settle | Split)


def test_the_table_has_every_decision() -> None:
    decisions = [decision for *_, decision in ANSWERS]
    assert {type(decision) for decision in decisions} == set(typing.get_args(Decision))
    assert {decision.ending for decision in decisions if isinstance(decision, Settle)} == set(Ending)
