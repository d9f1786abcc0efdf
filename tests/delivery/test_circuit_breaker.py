"""After a failure all senders pause; then one probe tests the destination."""

from __future__ import annotations

from snowplow_aio import Retry
from snowplow_aio.delivery.circuit_breaker import CircuitBreaker


def test_after_a_failure_the_breaker_lets_one_probe_through_when_its_time_has_come() -> None:
    breaker = CircuitBreaker(Retry(initial_delay=1, max_delay=1))
    assert breaker.admits(0.0, in_flight=15)
    pause = breaker.fail(started=9.0, now=10.0, retry_after=1.0)
    assert pause == 1.0
    assert not breaker.admits(10.9, in_flight=0)
    assert not breaker.admits(11.0, in_flight=1)
    assert breaker.admits(11.0, in_flight=0)
    breaker.succeed()
    assert breaker.admits(11.0, in_flight=15)


def test_before_an_end_pauses_are_short_so_that_a_destination_which_comes_back_is_not_missed() -> None:
    breaker = CircuitBreaker(Retry(initial_delay=60, max_delay=60))
    breaker.ends_at = 14.0
    pauses = [breaker.fail(started=now, now=now, retry_after=None) for now in (10.0, 12.0, 13.5)]
    assert [pause <= longest for pause, longest in zip(pauses, (1.0, 0.5, 0.25), strict=True)] == [True] * 3
    assert breaker.fail(started=13.9, now=13.9, retry_after=30.0) >= 30.0


def test_requests_that_were_under_way_when_the_breaker_closed_do_not_close_it_further() -> None:
    breaker = CircuitBreaker(Retry())
    breaker.fail(started=1.0, now=2.0, retry_after=None)
    until = breaker.not_before
    breaker.fail(started=1.5, now=3.0, retry_after=None)
    assert (breaker.failures, breaker.not_before) == (1, until)
