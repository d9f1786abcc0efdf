"""
The counters of an emitter: how many events were accepted, and how they left.

Everything here is plain and synchronous, so that no cancellation can fall
between an event's change of state and its record.

Events are counted by any thread, and by signal handlers and finalizers, which
may interrupt a method here in the same thread. So the lock can be taken again,
and two rules hold under it. Between the reading and the writing of a number
nothing is called. And what an interrupting call counts out, in the midst of
another step, waits until that step ends: it may be moving the numbers.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import NamedTuple, TypeVar

from snowplow_aio.outcomes import FlushResult

_Result = TypeVar("_Result")

# Flush windows that are kept apart, besides those for which somebody waits. In an outage each
# flush adds one; without a bound, the next flush would add them all up.
_MOST_WINDOWS = 16


@dataclass(slots=True)
class FlushWindow:
    """
    The events accepted between two flushes, or between the first and the last of several.

    Args:
        first: The number of the earliest flush that it stands for, from 0.

        number: The number of the latest one; each accepted event carries it.

        accepted: Events accepted in it.

        settled: Events of it that have left, by way.

        is_reported: Whether a report has said how all of its events left.
    """

    first: int
    number: int
    accepted: int = 0
    # With all its keys: to add to a missing one would call a method of `Counter`.
    settled: Counter[str] = field(default_factory=lambda: Counter(delivered=0, rejected=0, dropped=0))
    is_reported: bool = False

    @property
    def pending(self) -> int:
        """How many of its events have not left yet."""
        settled = self.settled
        return self.accepted - settled["delivered"] - settled["rejected"] - settled["dropped"]

    def absorb(self, earlier: FlushWindow) -> None:
        """Stand for the events of the window before as well."""
        self.first = earlier.first
        self.accepted += earlier.accepted
        for way, count in earlier.settled.items():
            self.settled[way] += count


class Totals(NamedTuple):
    """
    The numbers of all events so far, all of one moment.

    Attributes:
        accepted: Events taken from the application.

        delivered: Events that the destination took.

        rejected: Events that it refuses, by reason.

        dropped: Events that were given up, by reason.
    """

    accepted: int
    delivered: int
    rejected: dict[str, int]
    dropped: dict[str, int]

    @property
    def unsettled(self) -> int:
        """How many events have been accepted and have not left."""
        return self.accepted - self.delivered - sum(self.rejected.values()) - sum(self.dropped.values())


class _Waiting(NamedTuple):
    """A call to make when all events up to a window have left; no two have the same serial number."""

    window: int
    serial: int
    call: Callable[[], None]


class _Ending(NamedTuple):
    """Events of one window that leave in one way."""

    window: int
    events: int
    way: str
    reason: str


class Counters:
    """
    Counts each event in, and out by exactly one way.

    Attributes:
        accepted: Events taken from the application.

        delivered: Events that the destination took.

        rejected: Events that it refuses, by reason.

        dropped: Events that were given up, by reason.
    """

    def __init__(self) -> None:
        self.accepted: int = 0
        self.delivered: int = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._open_window = FlushWindow(0, 0)
        # In the order of their numbers; the last one is open. Never changed in place.
        self._windows: list[FlushWindow] = [self._open_window]
        self._has_reported = False
        # The calls to make, in the order of the windows that they wait for; and where each of them stands.
        self._waiting: list[_Waiting] = []
        self._places: dict[Callable[[], None], _Waiting] = {}
        self._calls = 0
        self._lock = threading.RLock()
        self._is_under_way = False
        self._late: deque[_Ending] = deque()
        # How many were counted out so far.
        self._endings = 0

    @property
    def window(self) -> int:
        """The number of the open flush window, to which the next accepted event belongs."""
        return self._open_window.number

    def totals(self) -> Totals:
        """Return the numbers of all events so far, all of one moment."""
        with self._lock:
            self._catch_up()
            # First what has left: a signal handler in between may count events in.
            rejected, dropped, delivered = dict(self.rejected), dict(self.dropped), self.delivered
            return Totals(self.accepted, delivered, rejected, dropped)

    # --- in

    def accept(self, count: int = 1, counted: list[int] | None = None) -> int:
        """
        Count *count* events in.

        Args:
            count: Number of events, from 1.

            counted: Gets the number of their flush window. So a caller that a signal handler interrupts
                sees whether they are counted in.

        Returns:
            The number of their flush window.
        """
        with self._lock:
            window = self._open_window
            number = window.number
            # Between these lines Python looks for no signal.
            window.accepted += count
            self.accepted += count
            if counted is not None:
                counted.append(number)
            return number

    def refuse(self, window: int, count: int, counted: list[int] | None = None) -> None:
        """
        Take back *count* events of *window*: the caller was told that they were not accepted.

        *counted* is emptied with that, as by `drop`.
        """
        self._end(repeat(window, count), "refused", counted=counted)

    # --- out

    def deliver(self, windows: Iterable[int]) -> None:
        """Count out delivered events, given by the numbers of their windows."""
        self._end(windows, "delivered")

    def reject(self, windows: Iterable[int], reason: str) -> None:
        """Count out rejected events, given by the numbers of their windows."""
        self._end(windows, "rejected", reason)

    def drop(self, windows: Iterable[int], reason: str, counted: list[int] | None = None) -> None:
        """
        Count out dropped events, given by the numbers of their windows.

        *counted*, as it came from `accept`, is emptied in the same step. So a caller that a signal handler
        interrupts sees whether they are counted out.
        """
        self._end(windows, "dropped", reason, counted)

    def _end(
        self, windows: Iterable[int], way: str, reason: str = "", counted: list[int] | None = None
    ) -> None:
        endings = [_Ending(window, count, way, reason) for window, count in Counter(windows).items()]
        with self._lock:
            late, counted = self._late, counted or []
            # Between these lines Python looks for no signal.
            late += endings
            del counted[:]
            if self._is_under_way:
                # This call interrupts a step, which does the rest.
                return
            self._catch_up()
        self._wake()

    def _catch_up(self) -> None:
        """Count out what came before, or in the midst of, the step that has just ended."""
        while self._late and not self._is_under_way:
            self._do(self._count_late)

    def _count_late(self) -> None:
        """Count out each of the late endings. If a signal handler raises, the rest are still late."""
        late = self._late
        while late:
            windows, (number, count, way, reason) = self._windows, late[0]
            reasons = self.rejected if way == "rejected" else self.dropped
            if way in ("rejected", "dropped"):
                reasons.setdefault(reason, 0)
            found = self._find(number)
            # From here on Python looks for no signal before the next ending.
            if windows is not self._windows:
                # A signal handler has just replaced them.
                continue
            if way == "refused":
                found.accepted -= count
                self.accepted -= count
            else:
                found.settled[way] += count
                if way == "delivered":
                    self.delivered += count
                else:
                    reasons[reason] += count
            self._endings += 1
            del late[0]

    def _find(self, window: int) -> FlushWindow:
        windows = self._windows
        return windows[bisect_left(windows, window, key=_number)]

    def _do(self, step: Callable[[], _Result]) -> _Result:
        """Do *step*; what an interrupting call counts out comes after it."""
        with self._lock:
            if self._is_under_way:
                # This call interrupts a step itself.
                return step()
            self._is_under_way = True
            try:
                return step()
            finally:
                self._is_under_way = False
                self._catch_up()

    # --- flush windows

    def close_window(self) -> int:
        """Open the next flush window; return the number of the one that is closed by that."""
        with self._lock:
            closed = self._open_window.number
            kept = self._windows
            if self._has_reported:
                kept = [window for window in kept if not window.is_reported]
                self._has_reported = False
            opened = FlushWindow(closed + 1, closed + 1)
            self._windows = [*kept, opened]
            self._open_window = opened
            return closed

    def is_settled(self, window: int) -> bool:
        """Return whether all events up to *window* have left."""
        with self._lock:
            return self._settled_before() > window

    def _settled_before(self) -> int:
        """Return the number of the earliest window with pending events; the next one where there is none."""
        for window in self._windows:
            if window.pending:
                return window.first
        return self._open_window.number + 1

    def when_settled(self, window: int, call: Callable[[], None]) -> None:
        """Call *call* once when all events up to *window* have left, now or later."""
        self._do(partial(self._add_waiting, window, call))
        self._wake()

    def _add_waiting(self, window: int, call: Callable[[], None]) -> None:
        self._calls += 1
        waiting = self._places[call] = _Waiting(window, self._calls, call)
        insort(self._waiting, waiting)

    def forget(self, call: Callable[[], None]) -> None:
        """Do not call *call* any more."""
        self._do(partial(self._forget, call))
        self._wake()

    def _forget(self, call: Callable[[], None]) -> None:
        waiting = self._places.pop(call, None)
        if waiting is not None and waiting in self._waiting:
            del self._waiting[bisect_left(self._waiting, waiting)]

    def _wake(self) -> None:
        while self._waiting:
            seen = self._endings
            due = self._do(self._take_due)
            if not due and seen == self._endings:
                return
            for waiting in due:
                waiting.call()

    def _take_due(self) -> list[_Waiting]:
        """Return the calls for which all has left, and forget them."""
        count = bisect_left(self._waiting, self._settled_before(), key=_window)
        due, self._waiting = self._waiting[:count], self._waiting[count:]
        for waiting in due:
            del self._places[waiting.call]
        return due

    def report(self, window: int) -> FlushResult:
        """Return how the events up to *window* left, without those of earlier reports."""
        self._catch_up()
        result = self._do(partial(self._report, window))
        # A signal handler may have dropped events meanwhile.
        self._wake()
        return result

    def _report(self, window: int) -> FlushResult:
        covered = [other for other in self._windows if other.first <= window]
        result = FlushResult(
            delivered=sum([other.settled["delivered"] for other in covered]),
            rejected=sum([other.settled["rejected"] for other in covered]),
            dropped=sum([other.settled["dropped"] for other in covered]),
            pending=sum([other.pending for other in covered]),
        )
        for other in covered:
            # A window with pending events is reported again, as a whole, by a later report.
            other.is_reported = not other.pending
        self._has_reported = True
        self._merge(covered)
        return result

    def _merge(self, covered: list[FlushWindow]) -> None:
        """Keep less of the *covered* windows apart; nobody else asks for one of them alone."""
        apart: list[FlushWindow] = []
        is_many = len(covered) > _MOST_WINDOWS
        for window in covered:
            if apart and window is not self._open_window and self._are_one(apart[-1], window, is_many):
                window.absorb(apart.pop())
            apart.append(window)
        self._windows = [*apart, *self._windows[len(covered) :]]

    def _are_one(self, earlier: FlushWindow, later: FlushWindow, is_many: bool) -> bool:  # noqa: FBT001
        """Return whether *later* may stand for both; windows with pending events only if there are many."""
        if earlier.is_reported or later.is_reported:
            return earlier.is_reported and later.is_reported
        place = bisect_left(self._waiting, earlier.number, key=_window)
        is_waited_for = place < len(self._waiting) and self._waiting[place].window == earlier.number
        return is_many and not is_waited_for


def _number(window: FlushWindow) -> int:
    return window.number


def _window(waiting: _Waiting) -> int:
    return waiting.window
