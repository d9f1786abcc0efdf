"""Each event is counted in once, and out by exactly one way."""

from __future__ import annotations

from snowplow_aio.delivery.counters import Counters


def test_the_counters_report_each_window_once_it_is_settled() -> None:
    counters = Counters()
    calls: list[str] = []
    counters.accept(3)
    window = counters.close_window()
    later = counters.accept(2)
    counters.when_settled(window, lambda: calls.append("settled"))
    counters.deliver([window, window])
    assert not calls
    counters.drop([window, later], "expired")
    assert calls == ["settled"]
    assert (counters.report(window).delivered, counters.report(window).dropped) == (2, 1)
    assert counters.report(counters.close_window()).pending == 1
    counters.deliver([later])
    assert counters.report(counters.close_window()).delivered == 1
    assert counters.report(counters.close_window()).delivered == 0
