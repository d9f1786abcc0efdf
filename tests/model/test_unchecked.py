"""A model that was made without any check is refused where it is tracked, with the place and the rule."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from pydantic import BaseModel, ValidationError, computed_field, model_validator

from snowplow_aio import (
    AddToCart,
    EcommerceTransaction,
    EcommerceTransactionItem,
    FormElement,
    FormSubmit,
    InvalidEventError,
    MemoryEmitter,
    PagePing,
    PageView,
    SelfDescribing,
    SelfDescribingJson,
    StructuredEvent,
    Tracker,
    changed,
    events,
    use_context,
)
from snowplow_aio import entities as entities_package
from snowplow_aio.entities.user import User
from snowplow_aio.model.frozen_model import FrozenModel
from snowplow_aio.model.primitive_event import PrimitiveEvent

VIEW = PageView(page_url="https://example.com/")


class Level(BaseModel):
    number: int


class Game(SelfDescribing, schema="iglu:com.acme/game/jsonschema/1-0-0"):
    level: Level
    players: list[str]
    name: str | None = None


def models() -> list[type[FrozenModel]]:
    """Return every event and entity of the library, and one of a user."""
    for package in (events, entities_package):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")

    def below(kind: type[FrozenModel]) -> Iterator[type[FrozenModel]]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    ours = {kind for kind in below(FrozenModel) if kind.__module__.startswith("snowplow_aio.e")}
    return sorted({*ours, Game}, key=lambda kind: kind.__name__)


def needs_a_field(kind: type[FrozenModel]) -> bool:
    is_tracked = issubclass(kind, PrimitiveEvent | SelfDescribing)
    return is_tracked and any(field.is_required() for field in kind.model_fields.values())


def tracker_with_an_enricher() -> Tracker:
    tracker = Tracker(MemoryEmitter())
    return tracker.add_enricher(lambda draft: draft)


def waiting_tracker() -> Tracker:
    async def enrich(draft: Any) -> Any:
        return draft

    return Tracker(MemoryEmitter()).add_enricher(enrich)


def tracked(tracker: Tracker, event: Any, context: Any = None) -> None:
    call: Any = tracker.track(event, context=context)
    call.close()


TRACKERS = [lambda: Tracker(MemoryEmitter()), tracker_with_an_enricher, waiting_tracker]
WRONG: list[Any] = [
    None,
    5,
    b"x",
    [1],
    object(),
    object,
    {"a": {1}},
    "x",
    "\ud83d",
    {},
    [object()],
    [{"a": 1}],
]


@pytest.mark.parametrize("kind", [kind for kind in models() if needs_a_field(kind)], ids=lambda k: k.__name__)
@pytest.mark.parametrize("new_tracker", TRACKERS, ids=["plain", "enricher", "coroutine"])
def test_a_model_without_fields_is_refused_by_the_name_of_the_field(
    new_tracker: Callable[[], Tracker], kind: Any
) -> None:
    empty, tracker = kind.model_construct(), new_tracker()
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    said = rf"{required[0]}: must be given, got {kind.__name__}\("

    with pytest.raises(InvalidEventError, match=rf"^event\.{said}"):
        tracked(tracker, empty)
    if issubclass(kind, SelfDescribing):
        with pytest.raises(InvalidEventError, match=rf"^context\[1\]\.{said}"):
            tracked(tracker, VIEW, [User(id_="u"), empty])
        with pytest.raises(InvalidEventError, match=rf"^context\[0\]\.{said}"):
            tracker.add_global_context(empty)


@pytest.mark.parametrize("new_tracker", TRACKERS[:2], ids=["plain", "enricher"])
def test_a_wrong_value_in_any_field_is_sent_or_refused_and_nothing_else(
    new_tracker: Callable[[], Tracker],
) -> None:
    tracker, refused = new_tracker(), 0
    for kind in models():
        for name in kind.model_fields:
            for value in WRONG:
                event: Any = kind.model_construct(**{name: value})
                if isinstance(event, PrimitiveEvent | SelfDescribing):
                    refused += is_refused(tracker, event)
                if isinstance(event, SelfDescribing):
                    refused += is_refused(tracker, VIEW, [event])
    assert refused > 100


def is_refused(tracker: Tracker, event: Any, context: Any = None) -> bool:
    """Track *event*; return whether it was refused, as an event is."""
    fault: InvalidEventError | None = None
    try:
        tracker.track_nowait(event, context=context)
    except InvalidEventError as error:
        fault = error
    assert fault is None or re.match(r"((event|context\[0\])\.)?[^:]+: .*, got ", str(fault), re.DOTALL)
    return fault is not None


NESTED = FormElement.model_construct(name="n")
ROWS: dict[str, tuple[Any, str]] = {
    "text of bytes": (
        PageView.model_construct(page_url=b"x"),
        "event.page_url: Input should be a valid string",
    ),
    "text of int": (PageView.model_construct(page_url=5), "event.page_url: Input should be a valid string"),
    "copied": (
        VIEW.model_copy(update={"page_title": [1]}),
        "event.page_title: Input should be a valid string",
    ),
    "number of object": (
        StructuredEvent.model_construct(category="c", action="a", value=[1]),
        "event.value: must be an int, a float or a Decimal, got [1]",
    ),
    "part of an event": (
        FormSubmit(form_id="f").model_copy(update={"elements": [NESTED]}),
        "event.elements[0].value: must be given, got FormElement(",
    ),
    "part of a user's event": (
        Game.model_construct(level=Level.model_construct(), players=["p"]),
        "event.level.number: must be given, got Level()",
    ),
    "item of a list": (
        Game.model_construct(level=Level(number=1), players=[b"p"]),
        "event.players[0]: ",
    ),
    "item without a price": (
        EcommerceTransaction.model_construct(order_id="o", total_value=1, items=[{"sku": "s"}]),
        "event.items[0].price: Field required",
    ),
    "in plain data": (
        SelfDescribingJson("iglu:com.acme/x/jsonschema/1-0-0", {"a": [AddToCart.model_construct(sku="s")]}),
        "event.data.a[0]",
    ),
}


@pytest.mark.parametrize(("event", "said"), ROWS.values(), ids=ROWS)
def test_the_error_names_the_place_the_rule_and_the_value(event: Any, said: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        Tracker(MemoryEmitter()).track_nowait(event)
    assert str(caught.value).startswith(said)


def test_an_unchecked_model_with_right_values_is_tracked_as_a_checked_one() -> None:
    clock, new_id = (lambda: 10**18), (lambda: "6d6ea5c4-7e4e-4c3f-9f3c-4d5f5c9d8b6a")
    item = {"sku": "s", "price": 1, "quantity": 2}
    pairs: list[tuple[Any, Any]] = [
        (PageView(page_url="u"), PageView.model_construct(page_url="u")),
        (PagePing(page_url="u", min_x=1), PagePing.model_construct(page_url="u", min_x=1)),
        (User(id_="u"), User.model_construct(id_="u")),
        (
            EcommerceTransaction(order_id="o", total_value=1, items=[item]),
            EcommerceTransaction.model_construct(order_id="o", total_value=1, items=[item]),
        ),
    ]
    for checked, unchecked in pairs:
        tracker = Tracker(emitter := MemoryEmitter(), clock=clock, new_id=new_id)
        tracker.track_nowait(checked)
        expected = [*emitter.payloads]
        tracker.track_nowait(unchecked)
        assert [*emitter.payloads] == [*expected, *expected]


def test_an_entity_of_a_block_that_cannot_be_sent_costs_no_event() -> None:
    tracker = Tracker(emitter := MemoryEmitter())
    with use_context(User.model_construct()):
        tracker.track_nowait(VIEW)
    assert len(emitter.payloads) == 1
    assert tracker.enrichment_stats().faults == {"User": 1}


def test_changing_an_unchecked_model_checks_it() -> None:
    with pytest.raises(ValidationError, match="page_url"):
        changed(PageView.model_construct(), page_title="t")


def test_an_error_of_the_application_stays_its_own() -> None:
    def clock() -> int:
        raise OSError("no clock")

    with pytest.raises(OSError, match="no clock"):
        Tracker(MemoryEmitter(), clock=clock).track_nowait(VIEW)


def test_an_item_that_was_not_checked_is_refused() -> None:
    items = [EcommerceTransactionItem.model_construct(id_="o")]
    with pytest.raises(InvalidEventError, match=r"^event\.items"):
        Tracker(MemoryEmitter()).track_nowait(
            EcommerceTransaction.model_construct(order_id="o", total_value=1, items=items)
        )


class Stored(SelfDescribing, schema="iglu:com.acme/stored/jsonschema/1-0-0"):
    number: int

    @model_validator(mode="after")
    def _look_up(self) -> Self:
        raise OSError("the database is down")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def name(self) -> str:
        raise LookupError("no name")


@pytest.mark.parametrize("place", ["event", "context"])
def test_a_validator_that_fails_does_not_hide_why_the_event_cannot_be_sent(place: str) -> None:
    stored = Stored.model_construct(number=1)
    event, context = (stored, None) if place == "event" else (VIEW, [stored])
    with pytest.raises(LookupError, match="no name"):
        Tracker(MemoryEmitter()).track_nowait(event, context=context)
