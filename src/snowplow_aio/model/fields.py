"""The kinds of fields of events and entities, with the rules of the pipeline for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

from snowplow_aio.model.atomic import (
    INT32_MAX,
    INT32_MIN,
    SMALLEST_MILLISECONDS,
    UUID_FORM,
    number,
    refusal,
)
from snowplow_aio.model.validation import is_validating

# The pipeline requires a time zone, in one of these forms
# (docs/explanation/protocol.md, "JSON, base64 and formats").
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|(?!-00:00)[+-]\d\d:[0-5]\d)", re.ASCII
)
_LARGEST_OFFSET = timedelta(hours=18)

ABSENT: Any = None
"""The default of a field that is sent only if it is set, because its schema knows no null."""

_T = TypeVar("_T")


class _Omitted:
    """Marks a field whose None is never sent: `OrAbsent`."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        whole = handler(schema)
        options = [option for option in whole.get("anyOf", ()) if option != {"type": "null"}]
        return options[0] if len(options) == 1 else whole


OMITTED = _Omitted()

OrAbsent = Annotated[_T | None, OMITTED]
"""A field that is not sent if it is None: ``name: OrAbsent[str] = ABSENT``."""


def _camel_case(name: str) -> str:
    return to_camel(name.rstrip("_"))


CAMEL_CASE = ConfigDict(alias_generator=_camel_case)
"""The settings of models whose schema has ``elementId`` for ``element_id`` and ``type`` for ``type_``."""


@dataclass(frozen=True, slots=True)
class Wire:
    """
    The protocol field of a field of an event; its limit follows from the key.

    Args:
        key: The protocol key (docs/explanation/protocol.md, "Fields and limits").

        text: Makes the text that is sent of a value.
    """

    key: str
    text: Callable[[Any], str] = str


@dataclass(frozen=True, slots=True)
class Between:
    """
    The range of a `Number`.

    Args:
        least: The smallest number.

        most: The largest number.
    """

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "minimum": self.least, "maximum": self.most}

    def _check(self, value: Any) -> Any:
        if not self.least <= value <= self.most and is_validating():
            raise refusal(f"must be from {self.least} to {self.most}")
        return value


def _not_blank(text: str) -> str:
    if not text and is_validating():
        raise refusal("must not be empty")
    return text


def _milliseconds(value: int) -> int:
    if value < SMALLEST_MILLISECONDS and is_validating():
        raise refusal(
            "must be milliseconds since the epoch; this looks like seconds, or is before March 1973"
        )
    return value


def _text_or_bool(value: object) -> object:
    if not isinstance(value, str | bool):
        raise refusal("must be a string or a bool")
    return value


def _uuid(value: object) -> object:
    text = str(value) if isinstance(value, UUID) else value
    if isinstance(text, str) and UUID_FORM.fullmatch(text) is None and is_validating():
        raise refusal("must be a UUID in its canonical form, like '5cea9899-10df-4ccf-bf66-8c36f4a4bba2'")
    return text


def _date_time(value: object) -> object:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise refusal("must be a datetime with a time zone")
    elif not isinstance(value, str):
        raise refusal("must be a datetime or its text")
    elif not _is_date_time(value) and is_validating():
        raise refusal("must be like '2024-05-06T07:08:09Z', with a time zone")
    return value


def _is_date_time(text: str) -> bool:
    if _DATE_TIME.fullmatch(text) is None:
        return False
    try:
        offset = datetime.fromisoformat(text).utcoffset()
    except ValueError:
        return False
    return offset is not None and abs(offset) <= _LARGEST_OFFSET


Number = Annotated[int | float | Decimal, PlainValidator(number), WithJsonSchema({"type": "number"})]
"""An int, a float or a Decimal, finite and below 1e309 in magnitude."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """
    Says what a list has to hold if the value is none.

    Args:
        things: The things, in the plural.
    """

    things: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def _check(self, value: object) -> object:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray):
            raise refusal(f"must be a list of {self.things}")
        return value


Int32 = Annotated[int, Field(ge=INT32_MIN, le=INT32_MAX)]
"""An int from -2147483648 to 2147483647."""

Count = Annotated[int, Field(ge=0, le=INT32_MAX)]
"""An int from 0 to 2147483647, the largest that the pipeline stores."""

Milliseconds = Annotated[int, AfterValidator(_milliseconds)]
"""Milliseconds since the epoch; what looks like seconds is refused."""

NonEmpty = Annotated[str, Field(min_length=1)]
"""A string of at least one character."""

Uuid = Annotated[str, BeforeValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
"""A UUID in its canonical form: a string or a `uuid.UUID`."""

NOT_BLANK = AfterValidator(_not_blank)
"""Refuses an empty string, with which an event says nothing, though the public schema allows it."""

DateTime = Annotated[
    datetime | str, PlainValidator(_date_time), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""A moment: an aware `datetime`, or its ISO 8601 text with a time zone."""

TextOrBool = Annotated[
    str | bool, PlainValidator(_text_or_bool), WithJsonSchema({"type": ["string", "boolean"]})
]
"""A string or a bool."""

Strings = Annotated[Sequence[str], ListOf("strings")]
"""A list or tuple of strings."""
