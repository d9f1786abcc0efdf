"""A default that is not None is sent, wherever the model stands; a None only if it was set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_serializer

from snowplow_aio import (
    AddToCart,
    ApplicationError,
    FormElement,
    FormSubmit,
    InvalidEventError,
    LinkClick,
    MobileScreenView,
    ScreenView,
    SelfDescribing,
    SelfDescribingJson,
    SiteSearch,
    changed,
)
from snowplow_aio.entities.web_page import WebPage
from snowplow_aio.model.fields import ABSENT, OrAbsent
from tests.model.sent import data_of, read, sent

URI = "iglu:com.acme/game/jsonschema/1-0-0"


class Player(BaseModel):
    name: str = "Ada"
    team: str | None = None


class Game(SelfDescribing, schema=URI):
    hard: bool = False
    level: int = 1
    note: str | None = None
    secret: str = ABSENT
    tags: Sequence[str] = Field(default_factory=list)
    player: Player = Player()
    friend: Player | None = None


class Sequel(Game):
    number: int = 2
    hard: bool = True


ALL = {"hard": False, "level": 1, "tags": [], "player": {"name": "Ada"}}


def test_a_default_of_a_model_is_sent_and_a_none_is_not() -> None:
    assert data_of(Game()) == ALL
    assert data_of(Game(hard=False, note=None, player=Player(team=None))) == {
        **ALL,
        "note": None,
        "player": {"name": "Ada", "team": None},
    }


def test_a_default_of_an_entity_is_sent() -> None:
    fields = sent(SelfDescribingJson(URI, {}), context=[Game()], tracker={"encode_base64": False})

    assert read(fields["co"])["data"] == [{"schema": URI, "data": ALL}]


def test_a_subclass_sends_its_own_defaults_and_those_of_its_parent() -> None:
    assert data_of(Sequel()) == {**ALL, "hard": True, "number": 2}


def test_models_inside_plain_data_send_their_defaults() -> None:
    assert data_of(SelfDescribingJson(URI, {"players": [Player(), {"one": Player(team="red")}]})) == {
        "players": [{"name": "Ada"}, {"one": {"name": "Ada", "team": "red"}}]
    }


class Loud(SelfDescribing, schema=URI):
    """Serialises a field by itself."""

    name: str = "ada"
    note: str | None = None
    players: Sequence[Player] = (Player(),)
    by_name: Mapping[str, Player | None] = Field(default_factory=lambda: {"a": Player(), "b": None})

    @field_serializer("name")
    def _loud(self, name: str) -> str:
        return name.upper()


def test_a_model_with_a_serializer_of_its_own_sends_the_same_fields() -> None:
    assert data_of(Loud()) == {
        "name": "ADA",
        "players": [{"name": "Ada"}],
        "by_name": {"a": {"name": "Ada"}, "b": None},
    }
    assert data_of(Loud(note=None))["note"] is None
    assert data_of(Loud(players=[Player(team=None)]))["players"] == [{"name": "Ada", "team": None}]


class Players(RootModel[list[Player]]):
    pass


class Open(SelfDescribing, schema=URI):
    model_config = ConfigDict(extra="allow")
    level: int = 1
    note: str | None = None
    players: Players = Players([Player()])


def test_a_model_with_extra_fields_and_one_without_names_send_them_likewise() -> None:
    assert data_of(Open.model_validate({"more": None})) == {
        "level": 1,
        "players": [{"name": "Ada"}],
        "more": None,
    }


def test_a_default_that_a_function_makes_is_made_once() -> None:
    class Order(SelfDescribing, schema=URI):
        id_: UUID = Field(default_factory=uuid4, alias="id")
        paid: bool = False

    order = Order()

    assert data_of(order) == data_of(order) == {"id": str(order.id_), "paid": False}
    assert changed(order, paid=True).id_ == order.id_


def test_a_field_that_may_be_absent_is_never_null() -> None:
    class Named(SelfDescribing, schema=URI):
        name: OrAbsent[Annotated[str, Field(min_length=1)]] = ABSENT
        note: str | None = None

    assert data_of(Named(name=None, note=None)) == {"note": None}
    assert data_of(Named(name="a")) == {"name": "a"}
    properties: Mapping[str, Any] = Named.iglu_schema()["properties"]
    assert properties == {"name": {"type": "string", "minLength": 1}, "note": {"type": ["string", "null"]}}


NOTHING: list[tuple[Any, dict[str, Any]]] = [
    (ScreenView(name=None, id_="x"), {"id": "x"}),
    (ScreenView(name="x", id_=None), {"name": "x"}),
    (LinkClick(target_url="u", element_id=None, element_classes=None), {"targetUrl": "u"}),
    (AddToCart(sku="s", quantity=1, name=None, unit_price=None), {"sku": "s", "quantity": 1}),
    (SiteSearch(terms=["t"], filters=None, total_results=None), {"terms": ["t"]}),
    (FormSubmit(form_id="f", form_classes=None, elements=None), {"formId": "f"}),
]


@pytest.mark.parametrize(("event", "data"), NOTHING, ids=[str(i) for i in range(len(NOTHING))])
def test_an_event_takes_none_for_what_it_has_not(event: Any, data: dict[str, Any]) -> None:
    assert data_of(event) == data


def test_an_id_that_is_none_is_a_new_one() -> None:
    assert UUID(data_of(MobileScreenView(name="n", id_=None))["id"]).version == 4
    assert data_of(MobileScreenView(name="n"))["id"] != data_of(MobileScreenView(name="n"))["id"]
    assert WebPage().id_ != WebPage(id_=None).id_


def test_a_screen_without_name_and_id_is_still_refused() -> None:
    with pytest.raises(ValueError, match=r"name or id_: one of them is needed"):
        ScreenView(name=None, id_=None)


def test_the_language_of_an_error_is_python_unless_it_says_another() -> None:
    assert data_of(ApplicationError(message="m")) == {"message": "m", "programmingLanguage": "PYTHON"}
    assert (
        data_of(ApplicationError(message="m", programming_language="RUST"))["programmingLanguage"] == "RUST"
    )


@pytest.mark.parametrize("kind", ["NUMBER", "Number", "number"])
def test_the_names_of_html_are_taken_in_any_case(kind: Any) -> None:
    element = FormElement(name="n", value="1", node_name="input", type_=kind)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

    assert (element.node_name, element.type_) == ("INPUT", "number")


def test_data_that_are_too_deep_are_refused_by_the_usual_error() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]

    class Tree(SelfDescribing, schema=URI):
        child: Tree | None = None
        anything: Any = None

    nested: Any = None
    for _ in range(5_000):
        nested = {"child": nested}
    with pytest.raises(InvalidEventError, match=r"must not be nested deeper than 36 levels"):
        data_of(SelfDescribingJson(URI, deep))
    with pytest.raises(InvalidEventError, match=r"must not be nested deeper than 36 levels"):
        data_of(Tree(anything=deep))
    with pytest.raises(ValueError, match=r"child|deep"):
        Tree(**nested)
