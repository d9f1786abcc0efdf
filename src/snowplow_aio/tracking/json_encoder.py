"""
The JSON encoder: JSON as the pipeline reads it, made once for each event.

orjson encodes the usual event in one pass. Data that it cannot encode (integers
beyond 64 bits, subclasses of float and tuple), encodes wrongly (NaN as null) or
refuses goes through a slower pass in Python. That pass encodes it rightly, or
raises an error that names the place and the rule.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import AnyUrl, BaseModel, RootModel

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import MAX_JSON_DEPTH, decimal_text, is_unicode
from snowplow_aio.model.fields import OMITTED
from snowplow_aio.model.self_describing import SelfDescribingJson
from snowplow_aio.tracking.unchecked import fault_in

JSONDefault = Callable[[Any], Any]

_dumps: Final = orjson.dumps

# Datetimes come to `_plain`, which refuses naive ones; orjson would send them.
# So do dataclasses, of which orjson would send attributes that are no fields.
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_INT64: Final = 2**63

# Nesting below the data of an entity: the contexts envelope, its list and the
# entity are three levels of their own.
_MAX_DATA_DEPTH: Final = MAX_JSON_DEPTH - 4


def to_json(data: Any, argument: str, default: JSONDefault | None = None) -> bytes:
    """
    Return *data* as compact UTF-8 JSON.

    Args:
        data: Anything that JSON can say, and datetimes with a time zone (ISO 8601),
            dates, times, UUIDs, Decimals (exact numbers), enums (their value),
            pydantic models and dataclasses.

        argument: The name of the data in errors.

        default: Turns any other object into one of these.

    Raises:
        InvalidEventError: If something in it is not JSON. The error names the place and the rule.
    """
    encoded = json_in_one_pass(data, is_plain(data), default)
    if encoded is not None:
        return encoded
    return orjson.dumps(_Walk(_plain if default is None else _plain_or(default)).value(data, argument))


def json_in_one_pass(data: Any, plain: bool, default: JSONDefault | None) -> bytes | None:  # noqa: FBT001
    """
    Return *data* as compact UTF-8 JSON, or None if it needs the slower pass.

    Args:
        data: The data.

        plain: Whether all of it is known to be plain; see `is_plain`.

        default: As in `to_json`.
    """
    try:
        encoded = _dumps(data, _plain if default is None else _plain_or(default), _OPTIONS)
    except (TypeError, RecursionError):
        return None
    if plain:
        return encoded
    # A null may have been a NaN, and many brackets may be too many levels.
    if encoded.rfind(b"null") >= 0 or encoded.count(b"{") + encoded.count(b"[") > _MAX_DATA_DEPTH:
        return None
    return encoded


def is_plain(value: Any, levels: int = _MAX_DATA_DEPTH) -> bool:
    """Return whether orjson encodes all of *value* rightly, and it has at most so many *levels*."""
    kind = type(value)
    if kind is dict and levels > 0:
        members: dict[Any, Any] = value
        for member in members.values():
            # The most usual kinds need no call.
            kind = type(member)
            if kind is not str and kind is not int and not is_plain(member, levels - 1):
                return False
        return True
    if kind is list and levels > 0:
        items: list[Any] = value
        for item in items:  # noqa: SIM110 - a generator takes twice as long
            if type(item) is not str and not is_plain(item, levels - 1):
                return False
        return True
    if kind is float:
        number: float = value
        return number - number == 0.0
    return kind is str or kind is int or kind is bool or value is None


def model_data(model: BaseModel) -> Any:
    """
    Return the data of *model* by the names of its schema.

    A field that was not set is in it if its default is not None. A None that was set
    is in it, too, unless the field is an `OrAbsent`.
    """
    # Any, because pydantic is not installed while this is compiled, and its types then are not hashable.
    kind: Any = type(model)
    names, are_own = _field_names(kind)
    if names is None or model.__pydantic_extra__:
        if not _is_customised(kind) and issubclass(kind, RootModel):
            return model.__dict__["root"]
        # pydantic itself would leave out all defaults, or send all that are None.
        return model.__pydantic_serializer__.to_python(model, by_alias=True, exclude=_unsent(model))
    values, given = model.__dict__, model.__pydantic_fields_set__
    # A cached property stands among the values, but is no field.
    if are_own and len(given) == len(names) == len(values):
        return values
    return {
        name: value
        for field, name, is_nullable in names
        if (value := values[field]) is not None or (is_nullable and field in given)
    }


def _unsent(value: Any, levels: int = _MAX_DATA_DEPTH) -> dict[Any, Any]:
    """Return the fields of *value*, and of what is in it, that are not sent, as pydantic takes them."""
    found: dict[Any, Any] = {}
    if levels <= 0:
        return found
    if isinstance(value, RootModel):
        return _unsent(value.__dict__["root"], levels)
    if isinstance(value, BaseModel):
        given = value.__pydantic_fields_set__
        kind: Any = type(value)
        for name, field in kind.__pydantic_fields__.items():
            # An error where it was never given: pydantic itself would leave it out.
            member = value.__dict__[name]
            if member is None:
                if name not in given or OMITTED in field.metadata:
                    found[name] = True
            elif inner := _unsent(member, levels - 1):
                found[name] = inner
    elif isinstance(value, Mapping):
        found = {key: inner for key, member in value.items() if (inner := _unsent(member, levels - 1))}
    elif isinstance(value, (list, tuple)):
        found = {i: inner for i, member in enumerate(value) if (inner := _unsent(member, levels - 1))}
    return found


@cache
def _is_customised(model: type[BaseModel]) -> bool:
    return _customised(model.__pydantic_core_schema__)


@cache
def _field_names(model: type[BaseModel]) -> tuple[Sequence[tuple[str, str, bool]] | None, bool]:
    """
    Return for each field its attribute, its name in the data, and whether a None is sent if it was set.

    The second value is whether the data of a model of which everything was set is as its attributes
    are. The first is None if pydantic must serialise the model itself.
    """
    # Reading the attributes takes a third of the time of pydantic's own
    # `model_dump`, and gives the same unless something customises it.
    kind: Any = model
    if issubclass(kind, RootModel) or _is_customised(kind):
        return None, False
    names = [
        (name, field.serialization_alias or field.alias or name, OMITTED not in field.metadata)
        for name, field in model.model_fields.items()
    ]
    return names, all(field == name and is_nullable for field, name, is_nullable in names)


def _customised(schema: Any) -> bool:
    """Return whether a pydantic core schema has a serializer, a computed field or an excluded one."""
    if isinstance(schema, Mapping):
        own = ("serialization_exclude", "serialization_exclude_if", "computed_fields")
        serializer = schema.get("serialization")
        # pydantic's own one for a `Sequence` makes a list, as the encoder does.
        is_own = getattr((serializer or {}).get("function"), "__name__", "") == "serialize_sequence_via_list"
        if (serializer and not is_own) or any(schema.get(name) for name in own):
            return True
        return any(_customised(value) for name, value in schema.items() if name != "serialization")
    return isinstance(schema, list | tuple) and any(_customised(value) for value in schema)


def _plain(value: Any) -> Any:
    """
    Return a form of *value* that orjson can encode.

    Raises:
        TypeError: If there is none.
    """
    if isinstance(value, BaseModel):
        return model_data(value)
    if isinstance(value, Decimal):
        return orjson.Fragment(decimal_text(value))
    if isinstance(value, datetime):
        return _iso8601(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, SelfDescribingJson):
        return value.to_json()
    if isinstance(value, AnyUrl):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field.name for field in dataclasses.fields(value))
        return {name: getattr(value, name) for name in fields if not name.startswith("_")}
    if isinstance(value, AbstractSet):
        raise TypeError("must not be a set: JSON has lists, which have an order")
    raise TypeError("is not JSON; give json_default to say how it is sent")


def _plain_or(default: JSONDefault) -> JSONDefault:
    def plain(value: Any) -> Any:
        try:
            return _plain(value)
        except TypeError:
            return default(value)

    return plain


def _iso8601(moment: datetime) -> str:
    """Return the text of *moment* that the pipeline takes for a ``date-time``."""
    offset = moment.utcoffset()
    if offset is None:
        raise ValueError("must be a datetime with a time zone")
    # It takes offsets of whole minutes up to 18 hours
    # (docs/explanation/protocol.md, "JSON, base64 and formats").
    if offset % timedelta(minutes=1) or abs(offset) > timedelta(hours=18):
        moment = moment.astimezone(UTC)
    return moment.isoformat()


class _Walk:
    """The slow pass: makes a copy that orjson encodes rightly, or raises an error that names the place."""

    def __init__(self, plain: JSONDefault) -> None:
        self._plain = plain
        self._parents: list[int] = []

    def value(self, value: Any, path: str, level: int = 0) -> Any:
        if value is None or isinstance(value, bool | orjson.Fragment):
            return value
        if isinstance(value, Enum):
            return self.value(value.value, path, level)
        if isinstance(value, str):
            return _text(value, path)
        if isinstance(value, int):
            # orjson stops at 64 bits and `str` at 4300 digits; JSON and the pipeline do not.
            return int(value) if -_INT64 <= value < _INT64 else orjson.Fragment(str(Decimal(int(value))))
        if isinstance(value, float):
            if not math.isfinite(value):
                raise InvalidEventError.about(path, value, "must be finite: JSON has no NaN and no infinity")
            return float(value)
        if isinstance(value, UUID):
            return str(value)
        return self._container(value, path, level)

    def _container(self, value: Any, path: str, level: int) -> Any:
        if id(value) in self._parents:
            raise InvalidEventError.about(path, type(value).__name__, "must not contain itself")
        if level >= _MAX_DATA_DEPTH:
            rule = f"must not be nested deeper than {_MAX_DATA_DEPTH} levels"
            raise InvalidEventError.about(path, type(value).__name__, rule)
        self._parents.append(id(value))
        try:
            if isinstance(value, dict):
                return {_key(k, path): self.value(v, f"{path}.{k}", level + 1) for k, v in value.items()}
            if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
                return [self.value(v, f"{path}[{i}]", level + 1) for i, v in enumerate(value)]
            return self.value(self._converted(value, path), path, level)
        finally:
            self._parents.pop()

    def _converted(self, value: Any, path: str) -> Any:
        # If each object were turned into another one, this would never end.
        if len(self._parents) > 2 * _MAX_DATA_DEPTH:
            raise InvalidEventError.about(path, value, "must become JSON by json_default, not another object")
        try:
            return self._plain(value)
        except InvalidEventError:
            raise
        except Exception as error:
            rule = str(error) or type(error).__name__
            raise (fault_in(value, path) or InvalidEventError.about(path, value, rule)) from error


def _key(key: Any, path: str) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise InvalidEventError.about(path, key, "must have strings as keys")
    return _text(key, path)


def _text(text: str, path: str) -> str:
    if not is_unicode(text):
        raise InvalidEventError.about(path, text, "must not contain a lone surrogate")
    return str.__str__(text)
