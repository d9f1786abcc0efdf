"""What our models and the public schemas say about the same data."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from snowplow_aio import FormSubmit, SelfDescribing
from snowplow_aio.exceptions import ConfigurationError
from tests.compat.schemas.generate import around
from tests.compat.schemas.models import build, every_model, shipped
from tests.conformance.oracle import Oracle
from tests.model.sent import data_of

META_SCHEMA = "iglu:com.snowplowanalytics.self-desc/schema/jsonschema/1-0-0"


def test_the_models_that_are_promised_are_among_those_tried() -> None:
    names = {model.__name__ for model in shipped()}

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
        event, _ = build(model, data) if isinstance(data, dict) else (None, set())
        assert event is None or oracle.errors(model.schema_uri, data_of(event)) == [], data


@every_model
def test_our_schema_is_a_self_describing_schema_with_the_public_name(
    model: type[SelfDescribing], oracle: Oracle
) -> None:
    schema = model.iglu_schema()
    own_name = schema["self"]

    assert oracle.errors(META_SCHEMA, schema) == []
    assert own_name == oracle.public_schema(model.schema_uri)["self"]


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
