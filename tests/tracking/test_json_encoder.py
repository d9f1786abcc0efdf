"""JSON, said exactly or not at all."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel

from snowplow_aio import InvalidEventError, SelfDescribing, SelfDescribingJson
from tests.conformance.oracle import Oracle
from tests.model.sent import data_of, read, read_base64, sent

URI = "iglu:com.acme/x/jsonschema/1-0-0"


def encoded(data: Any, **options: Any) -> Any:
    """Return *data* as it is sent; with a null beside it, which takes another way through the encoder."""
    alone = data_of(SelfDescribingJson(URI, {"it": data}), **options)["it"]
    beside_null = data_of(SelfDescribingJson(URI, {"it": data, "null": None}), **options)["it"]
    assert alone == beside_null
    return alone


def refused(data: Any, **options: Any) -> str:
    """Return why *data* cannot be sent."""
    with pytest.raises(InvalidEventError) as caught:
        data_of(SelfDescribingJson(URI, {"it": data}), **options)
    return str(caught.value)


# --- moments


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2024, 2, 29, 12, 30, 5, tzinfo=UTC), "2024-02-29T12:30:05+00:00"),
        (datetime(2024, 2, 29, 12, 30, 5, 123456, tzinfo=UTC), "2024-02-29T12:30:05.123456+00:00"),
        (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))), "2024-01-01T00:00:00+05:45"),
        (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-8))), "2024-01-01T00:00:00-08:00"),
        # Offsets that the pipeline's date-time does not know.
        (
            datetime(1890, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32))),
            "1889-12-31T23:40:28+00:00",
        ),
        (datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=23))), "2024-01-01T01:00:00+00:00"),
        (date(2024, 2, 29), "2024-02-29"),
        (time(12, 30, 5), "12:30:05"),
    ],
)
def test_moments_are_iso_8601(moment: Any, text: str) -> None:
    assert encoded(moment) == text


_DAY = timedelta(hours=23, minutes=59, seconds=59)


@given(moment=st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), offset=st.timedeltas(-_DAY, _DAY))  # noqa: DTZ001
def test_every_aware_datetime_is_one_that_the_pipeline_reads(
    moment: datetime, offset: timedelta, oracle: Oracle
) -> None:
    aware = moment.replace(tzinfo=timezone(offset))
    text = encoded(aware)

    assert oracle.accepts({"format": "date-time"}, text)
    assert datetime.fromisoformat(text) == aware


def test_a_naive_datetime_is_refused_wherever_it_is() -> None:
    @dataclasses.dataclass
    class Visit:
        at: datetime

    naive = datetime(2024, 1, 1)  # noqa: DTZ001
    rule = "must be a datetime with a time zone"

    assert refused(naive).startswith(f"event.data.it: {rule}")
    assert refused([{"at": naive}]).startswith(f"event.data.it[0].at: {rule}")
    assert refused(Visit(naive)).startswith(f"event.data.it.at: {rule}")
    assert rule in refused(naive, json_default=str), "json_default is for what has no rule here"


# --- numbers


@pytest.mark.parametrize(
    "digits", ["19.99", "0.10", "1E+3", "-0.000001", "12345678901234567890.123456789", "0"]
)
def test_decimals_are_exact_numbers(digits: str) -> None:
    payload = sent(SelfDescribingJson(URI, [Decimal(digits)]), tracker={"encode_base64": False})

    assert f'"data":[{digits}]' in payload["ue_pr"]
    assert encoded(Decimal(digits)) == Decimal(digits)


@pytest.mark.parametrize(
    "number",
    [2**63, -(2**63) - 1, 2**64, 10**40, -(10**400), 10**5000],
    ids=["2^63", "-2^63-1", "2^64", "10^40", "-10^400", "10^5000"],
)
def test_integers_of_any_size_are_exact(number: int) -> None:
    payload = sent(SelfDescribingJson(URI, [number]), tracker={"encode_base64": False})

    # Without `int`, whose own parser stops at 4300 digits.
    assert f'"data":[{Decimal(number):f}]' in payload["ue_pr"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_know_is_refused_wherever_it_is(number: float) -> None:
    class Inner(BaseModel):
        value: Any

    @dataclasses.dataclass
    class Plain:
        value: float

    class Constant(Enum):
        IT = number

    rule = "must be finite: JSON has no NaN and no infinity, got"
    assert refused(number).startswith(f"event.data.it: {rule}")
    assert refused([1, {"a": (number,)}]).startswith(f"event.data.it[1].a[0]: {rule}")
    assert refused(Inner(value=number)).startswith(f"event.data.it.value: {rule}")
    assert refused(Plain(number)).startswith(f"event.data.it.value: {rule}")
    assert refused(Constant.IT).startswith(f"event.data.it: {rule}")
    assert "must be finite" in refused(Decimal(str(number)))


def test_a_float_stays_the_same_float() -> None:
    assert encoded([0.1, 1e300, 5e-324, -0.0]) == [Decimal("0.1"), Decimal("1e300"), Decimal("5e-324"), 0]


# --- names and containers


class Colour(Enum):
    RED = "red"
    NUMBER = 7
    PAIR = (1, 2)
    SINCE = datetime(2024, 1, 1, tzinfo=UTC)


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


class OldWord(str, Enum):  # noqa: UP042 - the older way to write it
    NO = "no"


def test_an_enum_is_its_value() -> None:
    assert encoded([Colour.RED, Colour.NUMBER, Colour.PAIR, Level.HIGH, Word.YES, OldWord.NO]) == [
        "red", 7, [1, 2], 3, "yes", "no",
    ]  # fmt: skip
    assert encoded(Colour.SINCE) == "2024-01-01T00:00:00+00:00"
    assert encoded({Colour.RED: 1, Word.YES: 2}) == {"red": 1, "yes": 2}


def test_a_uuid_and_a_url_are_text() -> None:
    assert encoded([UUID(int=1), AnyUrl("https://example.com/a")]) == [
        "00000000-0000-0000-0000-000000000001",
        "https://example.com/a",
    ]


@dataclasses.dataclass
class Point:
    x: int
    y: int | None = 0
    _cache: str = "private"

    @cached_property
    def length(self) -> int:
        return self.x


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    at: datetime
    parts: tuple[Point, ...]


def test_a_dataclass_is_its_fields_and_nothing_else() -> None:
    point = Point(3, 4)
    assert point.length == 3
    point.note = "no field"  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]

    assert encoded(point) == {"x": 3, "y": 4}
    assert encoded(Slotted(datetime(2024, 1, 1, tzinfo=UTC), (Point(1, None),))) == {
        "at": "2024-01-01T00:00:00+00:00",
        "parts": [{"x": 1, "y": None}],
    }


def test_a_model_inside_plain_data_is_its_fields_that_are_set_or_have_a_default() -> None:
    class Inner(BaseModel):
        a: int = 1
        b: Decimal | None = None

    assert encoded([Inner(), Inner(a=1), Inner(b=Decimal("0.10"))]) == [
        {"a": 1},
        {"a": 1},
        {"a": 1, "b": Decimal("0.10")},
    ]


def test_self_describing_data_inside_data_keep_their_schema() -> None:
    assert encoded(SelfDescribingJson(URI, {"a": None})) == {"schema": URI, "data": {"a": None}}


class Pair(NamedTuple):
    left: int
    right: int


Triple = namedtuple("Triple", "a b c")  # noqa: PYI024 # pyright: ignore[reportUntypedNamedTuple] - the older way


@pytest.mark.parametrize(
    "mapping",
    [
        MappingProxyType({"a": 1}),
        UserDict({"a": 1}),
        OrderedDict(a=1),
        defaultdict(int, a=1),
        Counter("a"),
    ],
    ids=lambda mapping: type(mapping).__name__,
)
def test_every_kind_of_mapping_is_an_object(mapping: Any) -> None:
    assert encoded(mapping) == {"a": 1}


@pytest.mark.parametrize(
    "sequence",
    [(1, 2, 3), [1, 2, 3], Triple(1, 2, 3), deque([1, 2, 3]), range(1, 4)],
    ids=lambda sequence: type(sequence).__name__,
)
def test_every_kind_of_sequence_is_a_list(sequence: Any) -> None:
    assert encoded(sequence) == [1, 2, 3]


def test_named_tuples_are_lists() -> None:
    assert encoded(Pair(1, 2)) == [1, 2]


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


class Number(float):
    """As NumPy's are: a float that prints as something else."""

    def __repr__(self) -> str:
        return f"Number({float(self)})"


class Whole(int):
    def __repr__(self) -> str:
        return "not this"

    __str__ = __repr__


def test_subclasses_of_text_and_numbers_are_what_they_hold() -> None:
    assert encoded([Text("a"), Number(1.5), Whole(3), Whole(2**70)]) == ["a", Decimal("1.5"), 3, 2**70]
    assert encoded({Text("key"): 1}) == {"key": 1}


# --- what is refused


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({1}, "must not be a set: JSON has lists, which have an order"),
        (frozenset({1}), "must not be a set"),
        ({"a": 1}.keys(), "must not be a set"),
        (b"bytes", "is not JSON; give json_default to say how it is sent"),
        (bytearray(b"bytes"), "is not JSON; give json_default"),
        (memoryview(b"bytes"), "is not JSON; give json_default"),
        (timedelta(1), "is not JSON; give json_default"),
        (1j, "is not JSON; give json_default"),
        (object(), "is not JSON; give json_default"),
        (Colour, "is not JSON; give json_default"),
        (Point, "is not JSON; give json_default"),
        (iter([]), "is not JSON; give json_default"),
        ({1: 2}, "must have strings as keys, got 1"),
        ({None: 2}, "must have strings as keys, got None"),
        ({Level.HIGH: 2}, "must have strings as keys"),
        ("\ud800", "must not contain a lone surrogate"),
        ({"\udfff": 1}, "must not contain a lone surrogate"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place_and_the_rule(value: Any, rule: str) -> None:
    assert refused(value).startswith(f"event.data.it: {rule}")
    assert refused([0, {"deep": value}]).startswith(f"event.data.it[1].deep: {rule}")


def test_an_entity_is_named_by_its_place_in_the_context() -> None:
    good, bad = SelfDescribingJson(URI, {}), SelfDescribingJson(URI, {"a": {1}})

    with pytest.raises(InvalidEventError, match=r"^context\[1\]\.data\.a: must not be a set"):
        sent(good, context=[good, bad])


def test_what_a_field_of_a_model_holds_is_named_by_the_field() -> None:
    class Tagged(SelfDescribing, schema=URI):
        tags: set[str]

    with pytest.raises(InvalidEventError, match=r"^event\.tags: must not be a set"):
        sent(Tagged(tags={"a"}))


def _circular_list() -> Any:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _circular_dict() -> Any:
    circle: dict[str, Any] = {}
    circle["again"] = [circle]
    return circle


def _circular_dataclass() -> Any:
    @dataclasses.dataclass
    class Node:
        next: Any = None

    node = Node()
    node.next = node
    return node


@pytest.mark.parametrize("make", [_circular_list, _circular_dict, _circular_dataclass])
def test_what_contains_itself_is_refused(make: Callable[[], Any]) -> None:
    assert "must not contain itself" in refused(make())


def test_the_same_object_twice_is_no_circle() -> None:
    shared = {"a": None}

    assert encoded([shared, shared]) == [{"a": None}, {"a": None}]


def _nested(levels: int) -> Any:
    data: Any = 1
    for _ in range(levels):
        data = [data]
    return data


def test_data_are_as_deep_as_the_pipeline_reads_and_no_deeper(oracle: Oracle) -> None:
    deepest = SelfDescribingJson(URI, _nested(36))
    assert oracle.complaints(sent(deepest, tracker={"app_id": "a"}, context=[deepest])) == []

    for levels in (37, 100, 5_000):
        with pytest.raises(InvalidEventError, match=r"must not be nested deeper than 36 levels"):
            sent(SelfDescribingJson(URI, _nested(levels)))


# --- json_default


def test_json_default_says_how_other_objects_are_sent() -> None:
    def default(value: object) -> Any:
        return sorted(value) if isinstance(value, set) else f"<{type(value).__name__}>"

    assert encoded([1j, b"x", {2, 1}], json_default=default) == ["<complex>", "<bytes>", [1, 2]]


def test_what_json_default_returns_follows_the_rules_too() -> None:
    assert encoded(1j, json_default=lambda _: {"at": Decimal("1.0")}) == {"at": Decimal("1.0")}
    assert "must be finite" in refused(1j, json_default=lambda _: float("nan"))


def test_a_json_default_that_fails_is_an_error_about_the_value() -> None:
    def default(_: object) -> Any:
        raise LookupError("no such thing")

    assert refused(1j, json_default=default) == "event.data.it: no such thing, got 1j"


def test_a_json_default_that_never_ends_is_an_error_about_the_value() -> None:
    message = refused(1j, json_default=lambda _: object())

    assert message.startswith("event.data.it: must become JSON by json_default, not another object, got")


# --- whatever it is


def _json() -> st.SearchStrategy[Any]:
    text = st.text(st.characters(codec="utf-8"), max_size=8)
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    decimals = st.decimals(-(10**20), 10**20, allow_nan=False)
    return st.recursive(
        st.none() | st.booleans() | text | numbers | decimals,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=20,
    )


def _same(got: Any, data: Any) -> bool:
    """Return whether *got* says exactly what *data* does; a bool is no number."""
    if isinstance(data, dict):
        return (
            isinstance(got, dict) and got.keys() == data.keys() and all(_same(got[k], data[k]) for k in data)
        )
    if isinstance(data, list):
        return (
            isinstance(got, list)
            and len(got) == len(data)
            and all(_same(one, other) for one, other in zip(got, data, strict=True))
        )
    if data is None or isinstance(data, bool | str):
        return type(got) is type(data) and got == data
    return type(got) in (int, Decimal) and got == (Decimal(repr(data)) if isinstance(data, float) else data)


@given(data=_json(), base64=st.booleans())
@settings(deadline=None)
def test_whatever_json_goes_in_comes_out_the_same(data: Any, base64: bool) -> None:
    fields = sent(SelfDescribingJson(URI, data), tracker={"encode_base64": base64})
    event = read_base64(fields["ue_px"]) if base64 else read(fields["ue_pr"])

    assert _same(event["data"]["data"], data)
