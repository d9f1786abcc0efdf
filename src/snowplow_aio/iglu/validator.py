"""
Checks data against a JSON schema in the way of the pipeline's validator.

That is draft 4 with asserted formats; 5.0 is not an integer, and `multipleOf`
is exact for decimals (docs/explanation/protocol.md, "JSON, base64 and formats").
No module above this one names the jsonschema package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, cast

from snowplow_aio.iglu.formats import FORMATS
from snowplow_aio.iglu.json_text import JSONObject, JSONValue
from snowplow_aio.iglu.reports import Report
from snowplow_aio.runtime.foreign_text import cut
from snowplow_aio.runtime.optional import Needs

with Needs("snowplow-aio[micro]"):
    import referencing
    import referencing.exceptions
    from jsonschema import Draft4Validator, FormatChecker, SchemaError, ValidationError, validators

# A list of a hundred thousand wrong items has as many reports. Nobody reads them.
MAX_REPORTS = 1000


class DataValidator:
    """
    Checks data against one schema.

    Args:
        schema: A draft-4 schema. Its fractions are Decimals, so that limits are exact.

    Raises:
        ValueError: If *schema* is not a draft-4 schema.
    """

    def __init__(self, schema: JSONObject) -> None:
        # The jsonschema package would warn of Iglu's meta-schema, which it does not know.
        rules = {keyword: value for keyword, value in schema.items() if keyword != "$schema"}
        try:
            # Formats are not checked here: a regular expression that only Java can read
            # would make the whole schema useless.
            _Draft4.check_schema(rules, format_checker=FormatChecker(formats=()))
        except SchemaError as error:
            raise ValueError(f"this is not a draft-4 schema: {error.message}") from None
        # The registry of references is empty, so that a $ref to another place is never fetched.
        self._validator: Any = _Draft4(rules, format_checker=_FORMATS, registry=referencing.Registry())

    def reports(self, data: JSONValue) -> list[Report]:
        """
        Return the rules that *data* breaks, at most 1,000; an empty list when it fits.

        Raises:
            ValueError: If the schema has a ``$ref`` to another schema.
        """
        try:
            errors = list(islice(self._validator.iter_errors(data), MAX_REPORTS))
        except referencing.exceptions.Unresolvable as error:
            raise ValueError(f"the schema has a $ref to elsewhere: {error.ref}") from None
        return sorted((_report(error) for error in errors), key=repr)


def _report(error: Any) -> Report:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    path = "$" + "".join(steps)
    return Report(f"{path}: {cut(error.message)}", path, str(error.validator))


def _of_texts(has_form: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or has_form(value)


_FORMATS = FormatChecker(formats=())
for _name, _has_form in FORMATS.items():
    _FORMATS.checks(_name)(_of_texts(_has_form))


def _is_number(_checker: object, value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _multiple_of(
    validator: Any, divisor: JSONValue, instance: JSONValue, _schema: JSONObject
) -> Iterator[Any]:
    if validator.is_type(instance, "number") and not _is_multiple(instance, divisor):
        yield ValidationError(f"{instance} is not a multiple of {divisor}")


def _is_multiple(number: JSONValue, divisor: JSONValue) -> bool:
    # Whole numbers, because Decimal's own remainder fails beyond 28 digits.
    dividend, number_exponent = _scaled(number)
    modulus, divisor_exponent = _scaled(divisor)
    shift = number_exponent - divisor_exponent
    power: int
    if shift < 0:
        power = 10**-shift
        return dividend % (modulus * power) == 0
    # Not 10**shift: a body may have a hundred thousand numbers like 1e5000.
    power = pow(10, shift, modulus)
    return dividend * power % modulus == 0


def _scaled(number: JSONValue) -> tuple[int, int]:
    """Return the whole number and the power of ten whose product is *number*."""
    if isinstance(number, int):
        return number, 0
    sign, digits, exponent = Decimal(number if isinstance(number, Decimal) else str(number)).as_tuple()
    return int(Decimal((sign, digits, 0))), int(exponent)


def _unique_items(
    validator: Any, wanted: JSONValue, instance: JSONValue, _schema: JSONObject
) -> Iterator[Any]:
    # The function of the jsonschema package compares each item with each other one.
    if wanted and validator.is_type(instance, "array") and len(set(map(_hashable, instance))) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _hashable(value: JSONValue) -> Hashable:
    match value:
        case bool():
            # To Python, true is 1.
            return "bool", value
        case list():
            return "list", *map(_hashable, value)
        case dict():
            return frozenset((name, _hashable(item)) for name, item in value.items())
        case _:
            return cast("Hashable", value)


def _pattern(validator: Any, pattern: str, instance: JSONValue, _schema: JSONObject) -> Iterator[Any]:
    if not validator.is_type(instance, "string"):
        return
    try:
        found = re.search(pattern, instance)
    except re.error as error:
        yield ValidationError(f"the pattern {pattern!r} of the schema cannot be read here: {error}")
        return
    if found is None:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


# The stubs of jsonschema have the wrong signature for this function.
_extend: Any = validators.extend
_Draft4: Any = _extend(
    Draft4Validator,
    {"multipleOf": _multiple_of, "pattern": _pattern, "uniqueItems": _unique_items},
    type_checker=Draft4Validator.TYPE_CHECKER.redefine("number", _is_number),
)
