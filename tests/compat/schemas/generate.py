"""Data made from a JSON schema: what fits it, and what nearly does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]
Data = st.SearchStrategy[Any]

_CHARACTERS = st.characters(codec="utf-8")
_TEXTS = st.text(_CHARACTERS, max_size=5)
_NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or abs(x) > 1e-300),
    st.decimals(-1000, 1000, allow_nan=False, places=2),
    st.sampled_from([0, -1, Decimal("19.99"), Decimal("19.999"), 19.99, 5.0, 2**31 - 1, 2**31]),
)
_SCALARS = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)
_JUNK: Data = st.one_of(
    _SCALARS, st.lists(_SCALARS, max_size=2), st.dictionaries(_TEXTS, _SCALARS, max_size=2)
)


def fitting(schema: Schema) -> Data:
    """Return data that *schema* takes."""
    return _instance(schema, fitting)


def near(schema: Schema) -> Data:
    """Return data that *schema* takes, or would but for a fault at any depth."""
    right, wrong = _instance(schema, near), _fault(schema)
    return st.integers(0, 7).flatmap(lambda chance: wrong if chance == 0 else right)


def _fault(schema: Schema) -> Data:
    return st.one_of(_JUNK, *[_edge(name, limit) for name, limit in schema.items() if name in _EDGES])


_STRANGERS: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    1.5,
    5.0,
    Decimal("19.999"),
    "",
    "text",
    [],
    {},
    [None],
    {"a": 1},
)


def around(schema: Schema) -> Iterator[Any]:
    """Yield data that fit *schema*, each but for one thing: an edge, a stranger, a gap, an addition."""
    yield from _STRANGERS
    for name, limit in schema.items():
        if name in _EDGES:
            yield from _EDGES[name](limit)
    kind = schema.get("type")
    if kind == "object":
        yield from _around_object(schema)
    elif kind == "array":
        yield from ([item] for item in around(schema.get("items", {})))


def _around_object(schema: Schema) -> Iterator[Any]:
    plain = _plainest(schema)
    yield plain
    yield {**plain, "unheard_of": "x"}
    for name in plain:
        yield {other: value for other, value in plain.items() if other != name}
    rest = schema.get("additionalProperties")
    properties = schema.get("properties") or {"key": rest if isinstance(rest, Mapping) else {}}
    for name, rule in properties.items():
        yield from ({**plain, name: value} for value in around(rule))


def _plainest(schema: Schema) -> Any:
    """Return what *schema* takes and little more."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        names = schema.get("required") or list(schema.get("properties", {}))[: schema.get("minProperties", 0)]
        return {name: _plainest(schema["properties"][name]) for name in names}
    if kind == "array":
        return [_plainest(schema["items"])] * schema.get("minItems", 0)
    if kind in ("integer", "number"):
        return 1
    if kind == "boolean":
        return True
    # All patterns that there are take a UUID.
    return _UUID if schema.get("format") == "uuid" or "pattern" in schema else "a"


_UUID = "5cea9899-10df-4ccf-bf66-8c36f4a4bba2"
_UUIDS = [_UUID, _UUID.upper(), _UUID.replace("-", ""), f"{{{_UUID}}}", f"{_UUID}\n"]
_MOMENTS = [
    "2024-05-06T07:08:09Z",
    "2024-05-06T07:08:09.123456789+05:30",
    "2024-05-06T07:08:09-18:00",
    "2024-05-06T07:08:09+18:30",
    "2024-05-06T07:08:09-00:00",
    "2024-05-06T07:08:09",
    "2024-02-30T07:08:09Z",
    "2024-05-06T25:08:09Z",
    "2024-05-06T07:08:09Z\n",
    "2024-05-06",
]

_EDGES: Mapping[str, Callable[[Any], list[Any]]] = {
    "maxLength": lambda n: ["a" * n, "a" * (n + 1), "😀" * n, "😀" * (n + 1)],
    "minLength": lambda n: ["a" * n, "a" * max(n - 1, 0)],
    "maximum": lambda n: [n, n + 1, n - 1, float(n)],
    "minimum": lambda n: [n, n - 1, n + 1, float(n)],
    "minItems": lambda n: [[], ["a"] * n, ["a"] * max(n - 1, 0)],
    "format": lambda name: _MOMENTS if name == "date-time" else _UUIDS,
    "pattern": lambda _: [*_UUIDS, "8c36f4a4bba25cea", "8C36F4A4BBA25CEA", "8c36f4a4bba25ce"],
    "enum": lambda values: [*values, str(values[0]).swapcase(), f"{values[0]} "],
}


def _edge(keyword: str, limit: Any) -> Data:
    return st.sampled_from(_EDGES[keyword](limit))


def _instance(schema: Schema, inner: Callable[[Schema], Data]) -> Data:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type", ["string"])
    return st.one_of([_KINDS[kind](schema, inner) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _string(schema: Schema, _: Callable[[Schema], Data]) -> Data:
    if schema.get("format") == "uuid" or "pattern" in schema:
        return st.uuids().map(str)
    if schema.get("format") == "date-time":
        return st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
    least, most = schema.get("minLength", 0), schema.get("maxLength", 65_535)
    usual = st.text(_CHARACTERS, min_size=least, max_size=least + 5)
    return st.one_of(usual, usual, st.just("a" * most), st.just("😀" * most)) if most < 65_535 else usual


def _integer(schema: Schema, _: Callable[[Schema], Data]) -> Data:
    return st.integers(schema.get("minimum"), schema.get("maximum"))


def _number(schema: Schema, _: Callable[[Schema], Data]) -> Data:
    if "minimum" in schema:
        least, most = schema["minimum"], schema["maximum"]
        return st.one_of(st.integers(least, most), st.decimals(least, most, places=5))
    return _NUMBERS


def _array(schema: Schema, inner: Callable[[Schema], Data]) -> Data:
    least = schema.get("minItems", 0)
    return st.lists(inner(schema.get("items", {})), min_size=least, max_size=least + 2)


def _object(schema: Schema, inner: Callable[[Schema], Data]) -> Data:
    properties = schema.get("properties", {})
    if not properties:
        return st.dictionaries(_TEXTS, inner(schema.get("additionalProperties", {})), max_size=3)
    required = set(schema.get("required", ()))
    needed = {name: inner(rule) for name, rule in properties.items() if name in required}
    optional = {name: inner(rule) for name, rule in properties.items() if name not in required}
    whole: Data = st.fixed_dictionaries(needed, optional=optional)
    if schema.get("minProperties"):
        whole = whole.filter(lambda data: len(data) >= schema["minProperties"])
    return whole if inner is fitting else st.one_of(whole, whole, whole, _maimed(whole))


def _maimed(whole: Data) -> Data:
    """Return *whole* with a property less, or one too many."""
    less = whole.filter(bool).flatmap(
        lambda data: st.sampled_from(sorted(data)).map(lambda name: {k: data[k] for k in data if k != name})
    )
    return st.one_of(less, st.tuples(whole, _TEXTS, _SCALARS).map(lambda x: {**x[0], x[1]: x[2]}))


_KINDS: Mapping[str, Callable[[Schema, Callable[[Schema], Data]], Data]] = {
    "null": lambda _schema, _inner: st.none(),
    "boolean": lambda _schema, _inner: st.booleans(),
    "string": _string,
    "integer": _integer,
    "number": _number,
    "array": _array,
    "object": _object,
}
