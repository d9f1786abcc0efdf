"""Each event is counted in once, and out by exactly one way."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType

import pytest

from snowplow_aio import FlushResult
from snowplow_aio.delivery import counters as counting
from snowplow_aio.delivery.counters import Counters
from tests.delivery.interrupting import interrupted, needs_lines_of, uninterrupted


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


def test_a_flush_of_every_event_in_an_outage_costs_the_same_however_many_there_were() -> None:
    """Nothing leaves, and each flush is reported at once, as `track_and_confirm` does it."""
    counters, costs = Counters(), list[int]()
    calls = 0

    def count(_frame: FrameType, _event: str, _argument: object) -> None:
        nonlocal calls
        calls += 1

    for number in range(4_000):
        before = calls
        sys.setprofile(count)
        counters.accept()
        result = counters.report(counters.close_window())
        sys.setprofile(None)
        costs.append(calls - before)
        assert result == FlushResult(pending=number + 1)
    assert sum(costs[-1_000:]) < 2 * sum(costs[:1_000])


def test_callers_that_wait_in_an_outage_are_told_in_their_order_and_of_their_own_events() -> None:
    counters, told = Counters(), list[int]()
    windows: list[int] = []
    for _ in range(300):
        counters.accept()
        windows.append(counters.close_window())
        counters.when_settled(windows[-1], partial(told.append, windows[-1]))
        # Others do not wait.
        counters.accept()
        counters.report(counters.close_window())
    given_up = partial(told.append, windows[7])
    counters.when_settled(windows[7], given_up)
    counters.forget(given_up)
    for number, window in enumerate(windows):
        assert told == windows[:number]
        counters.deliver([window])
        assert told == windows[: number + 1]
        # The next caller waits for this one, too.
        counters.drop([window + 1], "expired")


def test_a_flush_reports_its_own_events_while_others_wait() -> None:
    counters = Counters()
    windows: list[int] = []
    for _ in range(300):
        counters.accept()
        windows.append(counters.close_window())
        counters.when_settled(windows[-1], partial(list[int]().append, 1))
    counters.deliver(windows)
    assert [counters.report(window).delivered for window in windows][:2] == [1, 2]
    assert counters.report(counters.close_window()) == FlushResult()


@dataclass
class Window:
    """The events of one flush window, as the simplest counters would have them."""

    accepted: int = 0
    delivered: int = 0
    dropped: int = 0
    is_reported: bool = False

    @property
    def pending(self) -> int:
        return self.accepted - self.delivered - self.dropped


@pytest.mark.parametrize("seed", range(20))
def test_reports_are_those_of_the_simplest_counters(seed: int) -> None:
    """Few flushes at a time: those of an outage are reported together."""
    draw, counters, simple = random.Random(seed), Counters(), [Window()]
    for _ in range(400):
        number = draw.randrange(len(simple))
        match draw.randrange(4):
            case 0:
                simple[counters.accept(2)].accepted += 2
            case 1 if simple[number].pending:
                counters.deliver([number])
                simple[number].delivered += 1
            case 2 if simple[number].pending:
                counters.drop([number], "expired")
                simple[number].dropped += 1
            case 3 if len([window for window in simple if not window.is_reported]) < 10:
                simple.append(Window())
                check_report(counters.report(counters.close_window()), simple)
            case _:
                pass
    assert counters.totals().unsettled == sum(window.pending for window in simple)


def check_report(result: FlushResult, simple: list[Window]) -> None:
    fresh = [window for window in simple[:-1] if not window.is_reported]
    assert result.pending == sum(window.pending for window in fresh)
    assert result.delivered == sum(window.delivered for window in fresh)
    assert result.dropped == sum(window.dropped for window in fresh)
    for window in fresh:
        window.is_reported = not window.pending


@needs_lines_of(counting)
@pytest.mark.parametrize("seed", range(4))
def test_events_may_be_counted_in_the_midst_of_any_line(seed: int) -> None:
    """A signal handler tracks: its event is taken, refused, or dropped at once, and the books balance."""
    draw, counters, told = random.Random(seed), Counters(), list[int]()
    dropped = 0

    def interrupt() -> None:
        nonlocal dropped
        with uninterrupted():
            if draw.random() > 0.03:
                return
            window = counters.accept()
            if draw.random() < 0.3:
                counters.refuse(window, 1)
            else:
                counters.drop([window], "queue_full")
                dropped += 1
            assert counters.totals().unsettled >= 0

    def call() -> None:
        told.append(1)

    with interrupted(interrupt, counting, depth=2) as lines:
        delivered = 0
        for _ in range(20):
            windows = [counters.accept() for _ in range(3)]
            closed = counters.close_window()
            counters.when_settled(closed, call)
            counters.deliver(windows[:2])
            assert not counters.is_settled(closed)
            counters.reject(windows[2:], "refused")
            delivered += counters.report(closed).delivered
    assert len(lines) > 30
    assert len(told) == 20
    assert counters.totals() == (60 + dropped, 40, {"refused": 20}, {"queue_full": dropped})
    assert delivered == 40


@needs_lines_of(counting)
@pytest.mark.parametrize("ending", ["drop", "refuse"])
@pytest.mark.parametrize("step", ["deliver", "when_settled", "report", "forget"])
def test_whoever_waits_is_told_whatever_the_last_event_interrupts(step: str, ending: str) -> None:
    """At each line in turn, a signal handler has the event leave that is waited for."""
    for place in itertools.count():
        counters, told, lines = Counters(), list[int](), 0
        first, last = counters.accept(), counters.accept()
        closed, other = counters.close_window(), partial(told.append, 2)
        counters.when_settled(closed, partial(told.append, 1))
        counters.when_settled(counters.close_window(), other)
        if step != "deliver":
            counters.deliver([first])
        steps: dict[str, Callable[[], object]] = {
            "deliver": partial(counters.deliver, [first]),
            "when_settled": partial(counters.when_settled, closed, partial(told.append, 3)),
            "report": partial(counters.report, closed),
            "forget": partial(counters.forget, other),
        }
        endings: dict[str, Callable[[], object]] = {
            "drop": partial(counters.drop, [last], "queue_full"),
            "refuse": partial(counters.refuse, last, 1),
        }

        def interrupt(at: int = place, end: Callable[[], object] = endings[ending]) -> None:
            nonlocal lines
            lines += 1
            if lines == at + 1:
                with uninterrupted():
                    end()

        with interrupted(interrupt, counting, depth=1):
            steps[step]()
        if lines <= place:
            assert place > 5
            return
        assert 1 in told, f"at line {place}"
