"""What our models and the public schemas say about the same data, made by chance."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from snowplow_aio import SelfDescribing
from tests.compat.schemas.generate import fitting, near
from tests.compat.schemas.models import build, every_model
from tests.conformance.oracle import Oracle
from tests.model.sent import data_of
from tests.scale import scale

generated = settings(
    max_examples=scale(75, 150),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@every_model
def test_our_schema_and_the_public_one_give_the_same_verdict(
    model: type[SelfDescribing], oracle: Oracle
) -> None:
    own, public = model.iglu_schema(), oracle.public_schema(model.schema_uri)

    @generated
    @given(near(public))
    def check(instance: Any) -> None:
        assert oracle.accepts(own, instance) == oracle.accepts(public, instance)

    check()


# Of what was found, which may hold a text of any length.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@every_model
@pytest.mark.parametrize("verdict", [True, False], ids=["valid", "invalid"])
def test_the_generated_data_are_of_both_kinds(
    model: type[SelfDescribing], oracle: Oracle, verdict: bool
) -> None:
    public = oracle.public_schema(model.schema_uri)

    found = find(
        near(public),
        lambda data: isinstance(data, dict) and oracle.accepts(public, data) is verdict,
        # `find` has as many by itself; a hundred are too few for the rarer kind.
        settings=settings(phases=[Phase.generate], deadline=None, max_examples=2000),
    )

    assert oracle.accepts(public, found) is verdict


def _as_python(data: Any, choice: st.DataObject) -> Any:
    """Return *data* with other Python objects that mean the same."""
    if isinstance(data, list):
        items = [_as_python(item, choice) for item in data]
        return tuple(items) if choice.draw(st.booleans()) else items
    if isinstance(data, dict):
        return {name: _as_python(value, choice) for name, value in data.items()}
    if isinstance(data, str) and len(data) == 36 and choice.draw(st.booleans()):
        try:
            return UUID(data)
        except ValueError:
            return data
    return data


@every_model
def test_what_the_model_accepts_is_valid(model: type[SelfDescribing], oracle: Oracle) -> None:
    @generated
    @given(near(oracle.public_schema(model.schema_uri)), st.data())
    def check(instance: Any, choice: st.DataObject) -> None:
        assume(isinstance(instance, dict))
        try:
            event = model(**_as_python(instance, choice))
        except (ValidationError, TypeError):
            return
        assert oracle.errors(model.schema_uri, data_of(event)) == []

    check()


# Where the model says more than the schema: an event that says nothing, a number beyond all floats, seconds.
STRICTER = {
    "must not be empty",
    "must be 0 or at least 1e-324 in magnitude",
    "must be milliseconds since the epoch; this looks like seconds, or is before March 1973",
}


@every_model
def test_what_is_valid_the_model_accepts_and_sends_unchanged(
    model: type[SelfDescribing], oracle: Oracle
) -> None:
    @generated
    @given(fitting(oracle.public_schema(model.schema_uri)))
    def check(instance: dict[str, Any]) -> None:
        assert oracle.errors(model.schema_uri, instance) == []
        event, refusals = build(model, instance)
        assert refusals <= STRICTER
        assert event is None or data_of(event) == _exact(instance)

    check()


def _exact(data: Any) -> Any:
    """Return *data* with its floats as the numbers that are written."""
    if isinstance(data, float):
        return Decimal(repr(data))
    if isinstance(data, list):
        return [_exact(item) for item in data]
    return {name: _exact(value) for name, value in data.items()} if isinstance(data, dict) else data
