"""
The counters of an emitter: how many events were accepted, and how they left.

Everything here is plain and synchronous, so that no cancellation can fall
between an event's change of state and its record.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from snowplow_aio.outcomes import FlushResult


@dataclass(slots=True)
class FlushWindow:
    """
    The events accepted between two flushes.

    Args:
        number: Its number, from 0; each accepted event carries it.

        accepted: Events accepted in it.

        settled: Events of it that have left, by way.

        is_reported: Whether a report has said how all of its events left.
    """

    number: int
    accepted: int = 0
    settled: Counter[str] = field(default_factory=Counter)
    is_reported: bool = False

    @property
    def pending(self) -> int:
        """How many of its events have not left yet."""
        return self.accepted - self.settled.total()


class Counters:
    """
    Counts each event in, and out by exactly one way.

    Attributes:
        accepted: Events taken from the application.

        delivered: Events that the destination took.

        rejected: Events that it refuses, by reason.

        dropped: Events that were given up, by reason.

        window: The number of the open flush window, to which the next accepted event belongs.
    """

    def __init__(self) -> None:
        self.accepted: int = 0
        self.delivered: int = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.window: int = 0
        self._open_window = FlushWindow(0)
        self._windows = {0: self._open_window}
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        # Events are accepted from any thread; `+=` on a number is not atomic.
        self._lock = threading.Lock()

    def accept(self, count: int = 1) -> int:
        """Count *count* events in; return the number of their flush window."""
        with self._lock:
            self.accepted += count
            self._open_window.accepted += count
            return self.window

    def refuse(self, window: int, count: int) -> None:
        """Take back *count* events of *window*: the caller was told that they were not accepted."""
        with self._lock:
            self.accepted -= count
            self._windows[window].accepted -= count

    def deliver(self, windows: Iterable[int]) -> None:
        """Count out delivered events, given by the numbers of their windows."""
        with self._lock:
            self.delivered += self._settle(windows, "delivered")
        self._wake()

    def reject(self, windows: Iterable[int], reason: str) -> None:
        """Count out rejected events, given by the numbers of their windows."""
        with self._lock:
            self.rejected[reason] += self._settle(windows, "rejected")
        self._wake()

    def drop(self, windows: Iterable[int], reason: str) -> None:
        """Count out dropped events, given by the numbers of their windows."""
        with self._lock:
            self.dropped[reason] += self._settle(windows, "dropped")
        self._wake()

    def _settle(self, windows: Iterable[int], way: str) -> int:
        counts = Counter(windows)
        for window, count in counts.items():
            self._windows[window].settled[way] += count
        return counts.total()

    def close_window(self) -> int:
        """Open the next flush window; return the number of the one that is closed by that."""
        with self._lock:
            for number in [number for number, window in self._windows.items() if window.is_reported]:
                del self._windows[number]
            closed = self.window
            self.window += 1
            self._open_window = self._windows[self.window] = FlushWindow(self.window)
            return closed

    def is_settled(self, window: int) -> bool:
        """Return whether all events up to *window* have left."""
        with self._lock:
            return all(other.number > window or not other.pending for other in self._windows.values())

    def when_settled(self, window: int, call: Callable[[], None]) -> None:
        """Call *call* once when all events up to *window* have left, now or later."""
        self._waiting.append((window, call))
        self._wake()

    def forget(self, call: Callable[[], None]) -> None:
        """Do not call *call* any more."""
        self._waiting = [(window, waiting) for window, waiting in self._waiting if waiting != call]

    def report(self, window: int) -> FlushResult:
        """Return how the events up to *window* left, without those of earlier reports."""
        with self._lock:
            windows = [other for other in self._windows.values() if other.number <= window]
            settled = sum((other.settled for other in windows), Counter[str]())
            for other in windows:
                # A window with pending events is reported again, as a whole, by a later report.
                other.is_reported = not other.pending
            return FlushResult(
                delivered=settled["delivered"],
                rejected=settled["rejected"],
                dropped=settled["dropped"],
                pending=sum(other.pending for other in windows),
            )

    def _wake(self) -> None:
        for window, call in self._waiting[:]:
            if self.is_settled(window):
                self.forget(call)
                call()
