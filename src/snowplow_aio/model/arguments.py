"""Checks of the arguments of constructors and methods."""

from __future__ import annotations

import math

from snowplow_aio.exceptions import ConfigurationError


def check_argument(valid: bool, argument: str, value: object, rule: str) -> None:  # noqa: FBT001 - an assertion
    """Raise ConfigurationError about *argument* unless *valid*."""
    if not valid:
        raise ConfigurationError.about(argument, value, rule)


def check_seconds(argument: str, value: float | None, *, optional: bool = False, zero: bool = False) -> None:
    """Raise ConfigurationError unless *value* is finite and above 0, or at least 0 with *zero*."""
    if value is None and optional:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    rule = f"must be seconds, {'at least' if zero else 'above'} 0{' or None' if optional else ''}"
    check_argument(number and (value > 0 or (zero and value == 0)), argument, value, rule)  # type: ignore[operator]


def check_count(argument: str, value: object, *, most: int | None = None) -> None:
    """Raise ConfigurationError unless *value* is a whole number from 1 to *most*."""
    valid = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    rule = "must be a whole number from 1" + (f" to {most}" if most else "")
    check_argument(valid and (most is None or value <= most), argument, value, rule)  # type: ignore[operator]
