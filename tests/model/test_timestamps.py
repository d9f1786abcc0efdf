"""When it happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_aio import DeviceTimestamp, InvalidEventError, PageView, TrueTimestamp
from tests.conformance.oracle import Oracle
from tests.model.sent import NOW, sent

VIEW = PageView(page_url="https://example.com/")
SMALLEST, YEAR_9999 = 100_000_000_000, 253_402_300_799_999
INDIA = timezone(timedelta(hours=5, minutes=30))


def times(**metadata: Any) -> dict[str, str]:
    """Return the timestamps of an event."""
    fields = sent(VIEW, **metadata)
    return {key: fields[key] for key in ("dtm", "ttm", "stm") if key in fields}


# By the name of the way: a number that is no time in milliseconds.
SAID_WRONGLY: Mapping[str, Callable[[Any], object]] = {
    "tstamp": lambda number: times(tstamp=number),
    "true_timestamp": lambda number: times(true_timestamp=number),
    "TrueTimestamp": TrueTimestamp,
    "DeviceTimestamp": DeviceTimestamp,
}


def test_without_a_timestamp_it_is_now_by_the_device() -> None:
    assert times() == {"dtm": str(NOW)}


@pytest.mark.parametrize(
    ("moment", "milliseconds"),
    [
        (1_368_725_287_000, "1368725287000"),
        (1_368_725_287_000.999, "1368725287000"),
        (SMALLEST, str(SMALLEST)),
        (SMALLEST + 0.9, str(SMALLEST)),
        (YEAR_9999, str(YEAR_9999)),
        (datetime(1970, 1, 1, tzinfo=UTC), "0"),
        (datetime(2024, 2, 29, 12, 0, 0, 123_999, tzinfo=UTC), "1709208000123"),
        (datetime(2024, 2, 29, 17, 30, 0, 123_000, tzinfo=INDIA), "1709208000123"),
        (datetime(1970, 1, 20, tzinfo=UTC), "1641600000"),
        (datetime(1, 1, 1, tzinfo=UTC), "-62135596800000"),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), str(YEAR_9999)),
    ],
)
def test_every_way_to_say_a_moment_is_whole_milliseconds(moment: Any, milliseconds: str) -> None:
    assert times(tstamp=moment) == {"dtm": milliseconds}
    assert times(tstamp=DeviceTimestamp(moment)) == {"dtm": milliseconds}
    assert times(tstamp=TrueTimestamp(moment)) == {"ttm": milliseconds}
    assert times(true_timestamp=moment) == {"dtm": str(NOW), "ttm": milliseconds}


@given(microseconds=st.integers(-(10**15), 10**17))
def test_a_datetime_is_exact(microseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)

    assert times(tstamp=moment) == {"dtm": str(microseconds // 1000)}


def test_a_true_timestamp_replaces_the_devices_and_the_keyword_adds_to_it() -> None:
    early, late = SMALLEST + 4, SMALLEST + 5
    both = {"dtm": str(early), "ttm": str(late)}

    assert times(tstamp=TrueTimestamp(late)) == {"ttm": str(late)}
    assert times(true_timestamp=TrueTimestamp(late)) == {"dtm": str(NOW), "ttm": str(late)}
    assert times(tstamp=early, true_timestamp=late) == both
    assert times(tstamp=DeviceTimestamp(early), true_timestamp=late) == both


def test_two_true_timestamps_are_a_contradiction() -> None:
    with pytest.raises(
        InvalidEventError, match=r"^true_timestamp: must be None where tstamp is a true one, got 5"
    ):
        times(tstamp=TrueTimestamp(SMALLEST), true_timestamp=5)


@pytest.mark.parametrize("number", [1_700_000_000, 1_700_000_000.5, 0, 0.0, 1, SMALLEST - 1, SMALLEST - 0.5])
@pytest.mark.parametrize("wrong", SAID_WRONGLY.values(), ids=SAID_WRONGLY)
def test_a_number_that_looks_like_seconds_is_refused_and_says_so(
    wrong: Callable[[Any], object], number: float
) -> None:
    with pytest.raises(InvalidEventError, match=r"must be milliseconds .*; this looks like seconds"):
        wrong(number)


@pytest.mark.parametrize("number", [-1, -1.5, -1_700_000_000_000, -(10**400)])
@pytest.mark.parametrize("wrong", SAID_WRONGLY.values(), ids=SAID_WRONGLY)
def test_a_negative_number_is_refused_and_says_so(wrong: Callable[[Any], object], number: float) -> None:
    with pytest.raises(InvalidEventError, match=r"must be milliseconds .*, not negative.*datetime"):
        wrong(number)


@pytest.mark.parametrize(
    "moment",
    [
        True,
        "1368725287000",
        Decimal(1),
        float("nan"),
        float("inf"),
        YEAR_9999 + 1,
        1e300,
        10**400,
        datetime(2024, 1, 1),  # noqa: DTZ001
        [1],
    ],
    ids=repr,
)
@pytest.mark.parametrize("argument", ["tstamp", "true_timestamp"])
def test_what_is_no_moment_is_refused_by_the_name_of_its_argument(argument: str, moment: Any) -> None:
    with pytest.raises(InvalidEventError, match=rf"^{argument}: must be .*time zone, got "):
        times(**{argument: moment})


@pytest.mark.parametrize("kind", [TrueTimestamp, DeviceTimestamp])
def test_a_timestamp_that_is_none_is_refused_when_it_is_made(kind: Any) -> None:
    with pytest.raises(InvalidEventError, match=rf"^{kind.__name__}: must be milliseconds"):
        kind("1368725287000")
    with pytest.raises(InvalidEventError, match=rf"^{kind.__name__}: must be milliseconds"):
        kind(True)


def test_a_device_timestamp_is_no_true_one() -> None:
    with pytest.raises(InvalidEventError, match=r"^true_timestamp: must be milliseconds"):
        times(true_timestamp=DeviceTimestamp(SMALLEST))


def test_timestamps_are_values() -> None:
    assert TrueTimestamp(SMALLEST) == TrueTimestamp(SMALLEST)
    assert len({TrueTimestamp(SMALLEST), DeviceTimestamp(SMALLEST)}) == 2
    assert TrueTimestamp(SMALLEST + 0.9).milliseconds == SMALLEST


@pytest.mark.parametrize(
    "moment", [datetime(1, 1, 1, tzinfo=UTC), SMALLEST, YEAR_9999, 1_368_725_287_000], ids=repr
)
def test_every_moment_that_is_taken_is_read_by_the_pipeline(moment: Any, oracle: Oracle) -> None:
    fields = sent(VIEW, tracker={"app_id": "a"}, tstamp=moment, true_timestamp=moment)

    assert oracle.complaints(fields) == []
