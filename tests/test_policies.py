"""Plain decisions: when a request is due, and how long a pause is."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest

from snowplow_aio import Retry
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.http.collector import Collector
from snowplow_aio.http.transport import retry_after_seconds
from snowplow_aio.policies import Batching


def is_due(batching: Batching, **state: Any) -> bool:
    quiet: dict[str, Any] = {
        "waiting": 1,
        "waiting_bytes": 1,
        "waited": 0.0,
        "in_flight": 0,
        "flushing": False,
    }
    return batching.is_due(**(quiet | state))


@pytest.mark.parametrize(
    ("state", "due"),
    [
        ({}, False),
        ({"waiting": 0, "flushing": True, "waited": 99.0}, False),
        ({"waiting": 49}, False),
        ({"waiting": 50}, True),
        ({"waiting": 50, "in_flight": 1}, False),
        ({"waiting": 500, "in_flight": 1}, True),
        ({"waiting": 500, "in_flight": 16}, False),
        ({"waiting_bytes": 500_000}, True),
        ({"waited": 1.0}, True),
        ({"waited": 0.9}, False),
        ({"flushing": True}, True),
    ],
    ids=str,
)
def test_a_request_is_due_by_count_bytes_time_or_flush(state: dict[str, Any], due: bool) -> None:
    assert is_due(Batching(), **state) is due


def test_without_a_flush_interval_time_makes_nothing_due() -> None:
    assert not is_due(Batching(flush_interval=None), waited=1e9)


def test_pauses_have_full_jitter_within_a_growing_bound_up_to_the_cap() -> None:
    retry, chance = Retry(), random.Random(1)
    for failures, bound in [(1, 0.5), (2, 1.0), (3, 2.0), (8, 60.0), (5000, 60.0)]:
        pauses = [retry.pause_after(failures, random=chance.random()) for _ in range(2000)]
        assert 0 <= min(pauses) < max(pauses) < bound
        assert statistics.mean(pauses) == pytest.approx(bound / 2, rel=0.1)


def test_what_the_destination_asks_for_is_a_lower_bound_of_at_most_five_minutes() -> None:
    assert Retry().pause_after(1, random=0.5, retry_after=2.0) == 2.0
    assert Retry().pause_after(9, random=0.5, retry_after=2.0) == 30.0
    assert Retry().pause_after(1, random=0.5, retry_after=1e9) == 300.0


def test_a_policy_does_not_change_with_what_it_was_made_of() -> None:
    codes = {400: True}
    retry = Retry(retry_codes=codes)
    codes.clear()
    assert dict(retry.retry_codes) == {400: True}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("2", 2.0),
        ("0", None),
        ("-1", None),
        ("1e9", 1e9),
        ("nan", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 7.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_is_ignored(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after_seconds(value, now=3.0) == seconds


@pytest.mark.parametrize(
    ("endpoint", "options", "message"),
    [
        ("", {}, "endpoint: must be a host or an http"),
        ("  ", {}, "endpoint: must be a host or an http"),
        ("ftp://collector.example.com", {}, "endpoint: must be a host or an http"),
        ("https://", {}, "endpoint: must be a host or an http"),
        ("https://host:99999", {}, "endpoint: must be a host or an http"),
        ("https://u:p@host", {}, "endpoint: must not have credentials"),
        ("https://host/?a=1", {}, "endpoint: must not have a query"),
        ("https://host", {"protocol": "http"}, "protocol: contradicts https"),
        ("host", {"protocol": "ftp"}, "protocol: must be 'http' or 'https'"),
        ("host:1", {"port": 2}, "port: contradicts the port of 'host:1'"),
        ("host", {"port": 0}, "port: must be a whole number from 1 to 65535"),
        ("host", {"post_path": "/one"}, "post_path: must be two path segments"),
        ("host", {"post_path": "/one/two/"}, "post_path: must be two path segments"),
    ],
)
def test_an_endpoint_that_cannot_be_reached_so_is_refused(
    endpoint: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Collector.at(endpoint, **({"protocol": None, "port": None, "post_path": None} | options))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Retry(initial_delay=0), "initial_delay: must be seconds, above 0, got 0"),
        (lambda: Retry(factor=0.5), "factor: must be at least 1, got 0.5"),
        (lambda: Retry(max_age=float("nan")), "max_age: must be seconds, above 0 or None, got nan"),
        (lambda: Retry(retry_codes={99: True}), "retry_codes: must map HTTP statuses, got 99"),
        (lambda: Batching(batch_size=0), "batch_size: must be a whole number from 1, got 0"),
        (lambda: Batching(flush_interval=0), "flush_interval: must be seconds, above 0 or None, got 0"),
    ],
    ids=["initial_delay", "factor", "max_age", "retry_codes", "batch_size", "flush_interval"],
)
def test_policies_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()
