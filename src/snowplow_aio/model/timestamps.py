"""
Timestamps: the time of an event by the device's clock (``dtm``) or its true time (``ttm``).

Both are sent as whole milliseconds since the epoch. A number of seconds would be a
time in January 1970, which is valid for the pipeline: so it is refused here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.atomic import SMALLEST_MILLISECONDS, TIMESTAMP_MAX, TIMESTAMP_MIN

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = (
    "must be milliseconds since the epoch; this looks like seconds "
    "(a time before March 1973 is given as a datetime)"
)
_NEGATIVE = "must be milliseconds since the epoch, not negative (a time before 1970 is given as a datetime)"
_RULE = "must be milliseconds since the epoch (int or float, years 0 to 9999) or a datetime with a time zone"


def milliseconds(value: object, argument: str = "tstamp") -> int:
    """
    Return *value* as whole milliseconds since the epoch; a fraction is cut off.

    Args:
        value: An int or a finite float in milliseconds, at least 100000000000 (March 1973),
            or an aware datetime, of any year.

        argument: The name of the value in errors.

    Raises:
        InvalidEventError: If it is none of these, or outside the years 0 to 9999.
    """
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidEventError.about(argument, value, "must be a datetime with a time zone")
        # Whoever writes a date of long ago means it.
        return _within(argument, value, (value - _EPOCH) // timedelta(milliseconds=1))
    if isinstance(value, int) and not isinstance(value, bool):
        # It may have any size, and `isfinite` would overflow.
        number = int(value)
    elif isinstance(value, float) and math.isfinite(value):
        number = int(value)
    else:
        raise InvalidEventError.about(argument, value, _RULE)
    if number < SMALLEST_MILLISECONDS:
        raise InvalidEventError.about(argument, value, _NEGATIVE if number < 0 else _SECONDS)
    return _within(argument, value, number)


def _within(argument: str, value: object, number: int) -> int:
    if not TIMESTAMP_MIN <= number <= TIMESTAMP_MAX:
        raise InvalidEventError.about(argument, value, _RULE)
    return number


@dataclass(frozen=True, slots=True)
class _Timestamp:
    """
    A moment in time.

    Args:
        value: Milliseconds since the epoch, at least 100000000000, or an aware datetime.

    Raises:
        InvalidEventError: If it is neither, looks like seconds, or is outside the years 0 to 9999.
    """

    value: float | datetime

    def __post_init__(self) -> None:
        milliseconds(self.value, type(self).__name__)

    @property
    def milliseconds(self) -> int:
        """Whole milliseconds since the epoch."""
        return milliseconds(self.value)


class TrueTimestamp(_Timestamp):
    """
    The time of an event as the application knows it; sent as ``ttm`` instead of ``dtm``.

    Args:
        value: Milliseconds since the epoch, at least 100000000000, or an aware datetime.

    Raises:
        InvalidEventError: If it is neither, looks like seconds, or is outside the years 0 to 9999.

    Example:
        Track an event of the past::

            await tracker.track(event, tstamp=TrueTimestamp(1_700_000_000_000))
    """

    __slots__ = ()


class DeviceTimestamp(_Timestamp):
    """
    The time of an event by the device's clock; sent as ``dtm``.

    Args:
        value: Milliseconds since the epoch, at least 100000000000, or an aware datetime.

    Raises:
        InvalidEventError: If it is neither, looks like seconds, or is outside the years 0 to 9999.

    Example:
        Track an event that a device has reported::

            await tracker.track(event, tstamp=DeviceTimestamp(1_700_000_000_000))
    """

    __slots__ = ()
