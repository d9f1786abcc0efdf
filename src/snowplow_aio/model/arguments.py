"""Checks of the arguments of constructors and methods."""

from __future__ import annotations

import math

from snowplow_aio.exceptions import ConfigurationError


def check_argument(valid: bool, argument: str, value: object, rule: str) -> None:  # noqa: FBT001 - an assertion
    """
    Check an argument.

    Args:
        valid: Whether it keeps the rule.

        argument: The name of the argument.

        value: The value of the argument, which the error shows.

        rule: The rule, like ``must be a string``.

    Raises:
        ConfigurationError: If it is not *valid*.
    """
    if not valid:
        raise ConfigurationError.about(argument, value, rule)


def check_seconds(argument: str, value: float | None, *, optional: bool = False, zero: bool = False) -> None:
    """
    Check a number of seconds, which must be finite and above 0.

    Args:
        argument: The name of the argument.

        value: The value of the argument.

        optional: Whether it may be None.

        zero: Whether it may be 0.

    Raises:
        ConfigurationError: If it is anything else.
    """
    if value is None and optional:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    rule = f"must be seconds, {'at least' if zero else 'above'} 0{' or None' if optional else ''}"
    check_argument(number and (value > 0 or (zero and value == 0)), argument, value, rule)  # type: ignore[operator]


def check_flush_timeout(timeout: object) -> None:
    """
    Check the timeout of a flush. In other trackers its first argument says whether to wait.

    Raises:
        ConfigurationError: If it is neither None nor seconds of at least 0.
    """
    if isinstance(timeout, bool):
        rule = f"must be seconds, at least 0 or None; to flush {'and' if timeout else 'without'} waiting"
        raise ConfigurationError.about("timeout", timeout, f"{rule}, call flush(wait={timeout})")
    check_seconds("timeout", timeout, optional=True, zero=True)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def check_count(argument: str, value: object, *, most: int | None = None) -> None:
    """
    Check a whole number, which must be from 1 to *most*.

    Raises:
        ConfigurationError: If it is anything else.
    """
    valid = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    rule = "must be a whole number from 1" + (f" to {most}" if most else "")
    check_argument(valid and (most is None or value <= most), argument, value, rule)  # type: ignore[operator]
