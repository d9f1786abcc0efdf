"""Models with a schema of their own, and plain self-describing data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    ValidationError,
    computed_field,
    field_serializer,
    model_serializer,
)

from snowplow_aio import (
    FormChange,
    FormElement,
    FormSubmit,
    InvalidEventError,
    SchemaKey,
    SelfDescribing,
    SelfDescribingJson,
)
from snowplow_aio.exceptions import ConfigurationError
from tests.model.sent import data_of, read_base64, sent

URI = "iglu:com.acme/save_game/jsonschema/1-0-2"


class SaveGame(SelfDescribing, schema=URI):
    save_id: str
    level: int = 1
    difficulty: str | None = None


def test_a_class_carries_its_schema() -> None:
    assert str(SaveGame.schema_key) == URI
    assert read_base64(sent(SaveGame(save_id="4321"))["ue_px"])["data"]["schema"] == URI


def test_a_schema_key_is_as_good_as_a_uri() -> None:
    class Loaded(SelfDescribing, schema=SchemaKey.parse(URI)):
        pass

    assert Loaded.schema_key == SaveGame.schema_key


def test_a_subclass_has_its_parents_schema_or_its_own() -> None:
    class Autosave(SaveGame):
        automatic: bool = True

    class Quicksave(SaveGame, schema="iglu:com.acme/quick_save/jsonschema/1-0-0"):
        pass

    assert Autosave.schema_key == SaveGame.schema_key
    assert str(Quicksave.schema_key) == "iglu:com.acme/quick_save/jsonschema/1-0-0"
    assert data_of(Autosave(save_id="a", automatic=False)) == {"save_id": "a", "level": 1, "automatic": False}


T = TypeVar("T")


def test_a_generic_model_has_one_schema_for_all_its_kinds() -> None:
    class Scored(SelfDescribing, Generic[T], schema=URI):
        score: T

    assert data_of(Scored[int](score=3)) == {"score": 3}
    with pytest.raises(ValidationError):
        Scored[int](score="3")  # type: ignore[arg-type]


def test_a_class_with_a_wrong_schema_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match=r"^class Wrong: schema: must be an Iglu URI .*got 'acme/x'"):

        class Wrong(SelfDescribing, schema="acme/x"):  # pyright: ignore[reportUnusedClass]
            pass


def test_an_event_of_a_class_without_schema_is_refused() -> None:
    class Nameless(SelfDescribing):
        a: int = 1

    with pytest.raises(InvalidEventError, match=r"^event: must be of a class with a schema.*'Nameless'"):
        sent(Nameless())


def test_a_default_is_sent_unless_it_is_none_and_an_explicit_none_is_null() -> None:
    assert data_of(SaveGame(save_id="a")) == {"save_id": "a", "level": 1}
    assert data_of(SaveGame(save_id="a", difficulty=None)) == {"save_id": "a", "level": 1, "difficulty": None}
    assert data_of(SaveGame(save_id="a", level=2)) == {"save_id": "a", "level": 2}


def test_a_field_with_a_name_of_pydantic_travels_by_its_alias() -> None:
    class Answer(SelfDescribing, schema=URI):
        json_: str = Field(alias="json")
        schema_: str = Field(alias="schema")

    by_alias = Answer(json="a", schema="b")
    by_name = Answer(json_="a", schema_="b")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

    assert by_alias == by_name
    assert data_of(by_name) == {"json": "a", "schema": "b"}


def test_a_field_may_leave_under_another_name_than_it_came() -> None:
    class Renamed(SelfDescribing, schema=URI):
        a: int = Field(validation_alias="came", serialization_alias="left")
        b: int = Field(default=0, validation_alias="only_came")

    assert data_of(Renamed.model_validate({"came": 1, "only_came": 2})) == {"left": 1, "b": 2}


def test_an_unknown_field_is_refused_by_its_name() -> None:
    with pytest.raises(ValidationError, match=r"lvl"):
        SaveGame(save_id="a", lvl=3)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_an_instance_cannot_be_changed() -> None:
    event = SaveGame(save_id="a")

    with pytest.raises(ValidationError, match=r"frozen"):
        event.level = 5  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("values", [{"level": "23"}, {"level": True}, {"level": 2.0}, {"save_id": 1}])
def test_kinds_are_not_mixed(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        SaveGame.model_validate({"save_id": "a", **values})


def test_a_number_that_json_cannot_say_is_refused_when_the_model_is_built() -> None:
    class Score(SelfDescribing, schema=URI):
        value: float

    with pytest.raises(ValidationError, match=r"finite"):
        Score(value=float("nan"))


class Place(BaseModel):
    city: str
    zip_code: str | None = Field(default=None, alias="zipCode")


def test_models_nest_and_each_leaves_out_what_was_not_set() -> None:
    class Trip(SelfDescribing, schema=URI):
        start: Place
        stops: list[Place] = Field(default_factory=list)
        by_name: dict[str, Place] | None = None

    trip = Trip(
        start=Place(city="a"), stops=[Place(city="b", zipCode=None)], by_name={"end": Place(city="c")}
    )

    assert data_of(trip) == {
        "start": {"city": "a"},
        "stops": [{"city": "b", "zipCode": None}],
        "by_name": {"end": {"city": "c"}},
    }


def test_a_models_own_serializers_are_heard() -> None:
    class Custom(SelfDescribing, schema=URI):
        when: datetime
        amount: Annotated[Decimal, PlainSerializer(str)]
        secret: str = Field(default="", exclude=True)

        @field_serializer("when")
        def _day(self, when: datetime) -> str:
            return when.date().isoformat()

    event = Custom(when=datetime(2024, 2, 29, tzinfo=UTC), amount=Decimal("1.50"), secret="x")

    assert data_of(event) == {"when": "2024-02-29", "amount": "1.50"}


def test_a_models_whole_serializer_is_heard() -> None:
    class Whole(SelfDescribing, schema=URI):
        a: int

        @model_serializer
        def _all(self) -> dict[str, Any]:
            return {"b": self.a + 1, "amount": Decimal("0.10")}

    assert data_of(Whole(a=1)) == {"b": 2, "amount": Decimal("0.10")}


def test_a_serializer_of_a_model_inside_is_heard() -> None:
    class Inner(BaseModel):
        a: int

        @model_serializer
        def _all(self) -> str:
            return f"a{self.a}"

    class Outer(SelfDescribing, schema=URI):
        one: Inner
        many: Sequence[Inner]
        anything: Any

    assert data_of(Outer(one=Inner(a=1), many=[Inner(a=2)], anything=Inner(a=3))) == {
        "one": "a1",
        "many": ["a2"],
        "anything": "a3",
    }


def test_a_computed_field_is_sent() -> None:
    class Box(SelfDescribing, schema=URI):
        side: int
        note: str | None = None

        @computed_field
        def area(self) -> int:
            return self.side**2

    assert data_of(Box(side=3)) == {"side": 3, "area": 9}


def test_a_root_model_is_what_is_in_it() -> None:
    class Tags(RootModel[list[str]]):
        pass

    class Tagged(SelfDescribing, schema=URI):
        tags: Tags
        anything: Any = None

    assert data_of(Tagged(tags=Tags(["a"]), anything=Tags(["b"]))) == {"tags": ["a"], "anything": ["b"]}


def test_a_model_that_allows_extra_fields_sends_them() -> None:
    class Open(SelfDescribing, schema=URI):
        model_config = ConfigDict(extra="allow")
        a: int = 0

    assert data_of(Open.model_validate({"b": Decimal("1.0"), "c": None})) == {
        "a": 0,
        "b": Decimal("1.0"),
        "c": None,
    }


def test_the_same_model_is_an_event_and_an_entity() -> None:
    game = SaveGame(save_id="a")
    contexts = read_base64(sent(game, context=[game])["cx"])

    assert contexts["data"] == [{"schema": URI, "data": {"save_id": "a", "level": 1}}]


def test_elements_of_a_form_may_be_models_or_dicts_with_either_names() -> None:
    elements = [
        FormElement(name="a", value=None, node_name="INPUT"),
        {"name": "b", "value": "x", "nodeName": "SELECT", "type": "email"},
        {"name": "c", "value": "y", "node_name": "TEXTAREA", "type_": "text"},
    ]

    assert data_of(FormSubmit(form_id="f", elements=elements))["elements"] == [  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        {"name": "a", "value": None, "nodeName": "INPUT"},
        {"name": "b", "value": "x", "nodeName": "SELECT", "type": "email"},
        {"name": "c", "value": "y", "nodeName": "TEXTAREA", "type": "text"},
    ]


def test_a_none_that_the_public_schema_refuses_is_left_out() -> None:
    change = FormChange(form_id="f", element_id="e", node_name="INPUT", value=None, type_=None)

    assert data_of(change) == {"formId": "f", "elementId": "e", "nodeName": "INPUT", "value": None}


# --- SelfDescribingJson


def test_plain_data_go_out_verbatim() -> None:
    data = {"a": None, "b": [1, {"c": "x"}], "": ""}

    assert data_of(SelfDescribingJson(URI, data)) == data


@pytest.mark.parametrize("data", [{}, [], None, "text", 0, False])
def test_data_may_be_any_json(data: Any) -> None:
    assert data_of(SelfDescribingJson(URI, data)) == data


def test_plain_data_take_a_schema_key_and_keep_its_uri() -> None:
    assert SelfDescribingJson(SchemaKey.parse(URI), {}).schema == URI
    assert SelfDescribingJson(schema=URI, data={}) == SelfDescribingJson(URI, {})


def test_plain_data_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        SelfDescribingJson(URI, {}).schema = "other"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


def test_a_wrong_schema_is_refused_at_once() -> None:
    with pytest.raises(InvalidEventError, match=r"^schema: must be an Iglu URI .*got 'com.acme/x'"):
        SelfDescribingJson("com.acme/x", {})


def test_a_cached_property_is_no_data() -> None:
    class Cart(SelfDescribing, schema="iglu:com.acme/cart/jsonschema/1-0-0"):
        prices: list[int]

        @cached_property
        def total(self) -> int:
            return sum(self.prices)

    cart = Cart(prices=[1, 2])
    assert cart.total == 3
    assert data_of(cart) == {"prices": [1, 2]}
