"""What our models and the public schemas say about the same data."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from snowplow_aio import FormSubmit, SelfDescribing, entities, events
from snowplow_aio.exceptions import ConfigurationError
from tests.compat.schemas.generate import around, fitting, near
from tests.conformance.oracle import Oracle, for_each_public_schema
from tests.model.sent import data_of

META_SCHEMA = "iglu:com.snowplowanalytics.self-desc/schema/jsonschema/1-0-0"


def _descendants(model: type[SelfDescribing]) -> Iterator[type[SelfDescribing]]:
    for child in model.__subclasses__():
        yield child
        yield from _descendants(child)


def _shipped() -> list[type[SelfDescribing]]:
    packages = (events, entities)
    for package in packages:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    places = tuple(f"{package.__name__}." for package in packages)
    found = {m for m in _descendants(SelfDescribing) if m.__module__.startswith(places)}
    return sorted(found, key=lambda model: model.__name__)


every_model = pytest.mark.parametrize(
    "model", for_each_public_schema(_shipped()), ids=lambda model: model.__name__
)
generated = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def test_the_models_that_are_promised_are_among_those_tried() -> None:
    names = {model.__name__ for model in _shipped()}

    assert names >= {
        "AddToCart",
        "Application",
        "ApplicationError",
        "ClientSession",
        "FormChange",
        "FormSubmit",
        "Geolocation",
        "HttpClientHints",
        "HttpCookie",
        "HttpHeader",
        "LinkClick",
        "MobileApplication",
        "MobileScreenView",
        "RemoveFromCart",
        "ScreenView",
        "SiteSearch",
        "User",
        "WebPage",
    }


@every_model
def test_both_schemas_agree_on_every_single_fault(model: type[SelfDescribing], oracle: Oracle) -> None:
    own, public = model.iglu_schema(), oracle.public_schema(model.schema_uri)
    verdicts = [(oracle.accepts(own, data), oracle.accepts(public, data)) for data in around(public)]

    assert {False, True} == {verdict for verdict, _ in verdicts}
    assert all(ours == theirs for ours, theirs in verdicts)


@every_model
def test_the_model_accepts_no_single_fault(model: type[SelfDescribing], oracle: Oracle) -> None:
    for data in around(oracle.public_schema(model.schema_uri)):
        event, _ = _build(model, data) if isinstance(data, dict) else (None, set())
        assert event is None or oracle.errors(model.schema_uri, data_of(event)) == [], data


@every_model
@generated
@given(choice=st.data())
def test_our_schema_and_the_public_one_give_the_same_verdict(
    model: type[SelfDescribing], oracle: Oracle, choice: st.DataObject
) -> None:
    public = oracle.public_schema(model.schema_uri)
    instance = choice.draw(near(public))

    assert oracle.accepts(model.iglu_schema(), instance) == oracle.accepts(public, instance)


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


@every_model
def test_our_schema_is_a_self_describing_schema_with_the_public_name(
    model: type[SelfDescribing], oracle: Oracle
) -> None:
    schema = model.iglu_schema()
    own_name = schema["self"]

    assert oracle.errors(META_SCHEMA, schema) == []
    assert own_name == oracle.public_schema(model.schema_uri)["self"]


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
@generated
@given(choice=st.data())
def test_what_the_model_accepts_is_valid(
    model: type[SelfDescribing], oracle: Oracle, choice: st.DataObject
) -> None:
    instance = choice.draw(near(oracle.public_schema(model.schema_uri)))
    assume(isinstance(instance, dict))
    try:
        event = model(**_as_python(instance, choice))
    except (ValidationError, TypeError):
        return

    assert oracle.errors(model.schema_uri, data_of(event)) == []


# Where the model says more than the schema: an event that says nothing, a number beyond all floats.
STRICTER = {"must not be empty", "must be 0 or at least 1e-324 in magnitude"}


@every_model
@generated
@given(choice=st.data())
def test_what_is_valid_the_model_accepts_and_sends_unchanged(
    model: type[SelfDescribing], oracle: Oracle, choice: st.DataObject
) -> None:
    instance = choice.draw(fitting(oracle.public_schema(model.schema_uri)))
    assert oracle.errors(model.schema_uri, instance) == []
    event, refusals = _build(model, instance)

    assert refusals <= STRICTER
    assert event is None or data_of(event) == _exact(instance)


def _build(model: type[SelfDescribing], data: dict[str, Any]) -> tuple[SelfDescribing | None, set[str]]:
    """Return the event of *data*, or None, and why not."""
    try:
        return model(**data), set()
    except ValidationError as error:
        return None, {fault["msg"] for fault in error.errors()}


def _exact(data: Any) -> Any:
    """Return *data* with its floats as the numbers that are written."""
    if isinstance(data, float):
        return Decimal(repr(data))
    if isinstance(data, list):
        return [_exact(item) for item in data]
    return {name: _exact(value) for name, value in data.items()} if isinstance(data, dict) else data


class Price(SelfDescribing, schema="iglu:com.acme/price/jsonschema/1-0-0"):
    """
    A price.

    Args:
        amount: What it costs.
    """

    amount: Annotated[Decimal, Field(multiple_of=0.01, ge=0, lt=100)]
    old: Decimal | None = None
    kind: Literal["gross"] = "gross"
    vat: Literal["full", "half"] | None = None
    title: str = ""
    place: tuple[int, str] = (0, "")
    above: Annotated[int, Field(gt=0)] = 1


@pytest.mark.parametrize(
    ("data", "valid"),
    [
        ({"amount": Decimal("19.99")}, True),
        ({"amount": 19.99}, True),
        ({"amount": Decimal("19.999")}, False),
        ({"amount": 100}, False),
        ({"amount": "19.99"}, False),
        ({"amount": 1, "old": None, "vat": None, "kind": "gross", "title": "t"}, True),
        ({"amount": 1, "old": "1"}, False),
        ({"amount": 1, "kind": "net"}, False),
        ({"amount": 1, "vat": "none"}, False),
        ({"amount": 1, "place": [1, "a"]}, True),
        ({"amount": 1, "place": [1, "a", 2]}, False),
        ({"amount": 1, "above": 0}, False),
        ({"amount": 1, "extra": 0}, False),
        ({}, False),
    ],
)
def test_a_models_own_rules_are_in_its_schema(data: dict[str, Any], valid: bool, oracle: Oracle) -> None:
    assert oracle.accepts(Price.iglu_schema(), data) is valid


def test_a_model_of_the_users_has_a_self_describing_schema(conformance: Path, oracle: Oracle) -> None:
    assert oracle.errors(META_SCHEMA, Price.iglu_schema()) == []


def test_a_schema_says_what_the_data_are_and_nothing_of_python() -> None:
    schema = Price.iglu_schema()

    assert schema["description"] == "A price."
    assert "title" in schema["properties"], "a field of that name stays"
    assert "Args" not in str(FormSubmit.iglu_schema()), "nor do the models inside"


class Folder(SelfDescribing, schema="iglu:com.acme/folder/jsonschema/1-0-0"):
    folders: list[Folder] | None = None


class Nameless(SelfDescribing):
    pass


@pytest.mark.parametrize(
    ("model", "rule"), [(Folder, "must not contain itself"), (Nameless, "with a schema")]
)
def test_a_model_that_no_iglu_schema_can_describe_is_refused(model: type[SelfDescribing], rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"model: .*{rule}.*{model.__name__}"):
        model.iglu_schema()
