"""The kinds of fields that events are made of, with the pipeline's rules for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from snowplow_aio.validation import (
    INT32_MAX,
    TEXT_LIMITS,
    URL_PART_LIMITS,
    UUID_FORM,
    decimal_text,
    exceeds,
    is_usual_url,
    is_validating,
    stored_length,
    url_fault,
)

ABSENT: Any = None
"""The default of a field that is not sent unless it is set: its schema knows no null."""


def _camel_case(name: str) -> str:
    return to_camel(name.rstrip("_"))


CAMEL_CASE = ConfigDict(alias_generator=_camel_case)
"""The configuration of models whose schema says ``elementId`` for ``element_id``, ``type`` for ``type_``."""


def _refuse(rule: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{rule}", {"rule": rule})


@dataclass(frozen=True, slots=True)
class Wire:
    """
    How a field travels, and with it how long the pipeline lets it be.

    Args:
        key: Its key in the tracker protocol (PROTOCOL.md §1.2).

        text: Turns the value into the text that is sent.
    """

    key: str
    text: Callable[[Any], str] = str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        if self.key not in TEXT_LIMITS:
            return schema
        check = _length_check(TEXT_LIMITS[self.key])
        if self.key in URL_PART_LIMITS:
            check = _url_check(self.key, check)
        return core_schema.no_info_after_validator_function(check, schema)


def _length_check(limit: int) -> Callable[[str | None], str | None]:
    # No text of a quarter of the limit can exceed it: the usual one ends here.
    usual = limit // 4

    def check(text: str | None) -> str | None:
        if text is None or len(text) <= usual:
            return text
        if exceeds(text, limit) and is_validating():
            raise _refuse(
                f"must have at most {limit} characters as the pipeline counts them (UTF-16 units), "
                f"it has {stored_length(text)}"
            )
        return text

    return check


def _url_check(
    key: str, check_length: Callable[[str | None], str | None]
) -> Callable[[str | None], str | None]:
    def check(url: str | None) -> str | None:
        if url is None or is_usual_url(url):
            return url
        check_length(url)
        fault = url_fault(key, url) if url else None
        if fault is not None and is_validating():
            raise _refuse(fault)
        return url

    return check


def _number(value: object) -> object:
    # A bool is an int to Python, and is none here.
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _refuse("must be an int, a float or a Decimal")
    try:
        decimal_text(value)
    except ValueError as error:
        if is_validating():
            raise _refuse(str(error)) from None
    return value


def number_text(value: float | Decimal) -> str:
    """Return *value* as it is sent; what was not checked goes out as Python writes it."""
    try:
        return decimal_text(value)
    except ValueError:
        return str(value)


def _not_blank(text: str) -> str:
    if not text and is_validating():
        raise _refuse("must not be empty")
    return text


def _text_or_bool(value: object) -> object:
    if not isinstance(value, str | bool):
        raise _refuse("must be a string or a bool")
    return value


def _uuid(value: object) -> object:
    text = str(value) if isinstance(value, UUID) else value
    if isinstance(text, str) and UUID_FORM.fullmatch(text) is None and is_validating():
        raise _refuse("must be a UUID in its canonical form, like '5cea9899-10df-4ccf-bf66-8c36f4a4bba2'")
    return text


Number = Annotated[int | float | Decimal, PlainValidator(_number), WithJsonSchema({"type": "number"})]
"""An int, a float or a Decimal, finite and below 1e309 in magnitude."""

Count = Annotated[int, Field(ge=0, le=INT32_MAX)]
"""An int from 0 to 2147483647, the largest that the pipeline stores."""

NonEmpty = Annotated[str, Field(min_length=1)]
"""A string of at least one character."""

Uuid = Annotated[str, BeforeValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
"""A UUID in its canonical form: a string or a `uuid.UUID`."""

NOT_BLANK = AfterValidator(_not_blank)
"""Refuses an empty string, though the public schema does not: the event would say nothing."""

TextOrBool = Annotated[
    str | bool, PlainValidator(_text_or_bool), WithJsonSchema({"type": ["string", "boolean"]})
]
"""A string or a bool."""

Strings = Sequence[str]
"""A list or tuple of strings."""
