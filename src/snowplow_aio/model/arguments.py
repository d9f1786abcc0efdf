"""Checks of the arguments of constructors and methods."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable

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


def check_function(argument: str, value: object, *, optional: bool = False) -> None:
    """
    Check a function that is called and not awaited.

    Raises:
        ConfigurationError: If it is none, or is a coroutine function.
    """
    valid = callable(value) and not inspect.iscoroutinefunction(value)
    rule = f"must be a function, not a coroutine function{', or None' if optional else ''}"
    check_argument(valid or (optional and value is None), argument, value, rule)


def check_list(argument: str, value: object) -> None:
    """
    Check values that are given as a list or something else that has them one after the other.

    Raises:
        ConfigurationError: If it is none, or a text.
    """
    valid = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    check_argument(valid, argument, value, "must be a list")


def check_host(argument: str, value: object) -> None:
    """
    Check the name or address that something listens on.

    Raises:
        ConfigurationError: If it is no string, or empty.
    """
    check_argument(isinstance(value, str) and value != "", argument, value, "must be a host or an address")


def check_port(argument: str, value: object) -> None:
    """
    Check a port to listen on.

    Raises:
        ConfigurationError: If it is no whole number from 0 to 65535.
    """
    valid = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65_535
    check_argument(valid, argument, value, "must be a port from 0 to 65535")
