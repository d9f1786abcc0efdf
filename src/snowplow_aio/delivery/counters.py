"""
The books of an emitter: what was accepted, and what became of it.

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
    """The events accepted between two flushes."""

    number: int
    accepted: int = 0
    # With all its keys: to add to a missing one would call a method of `Counter`.
    settled: Counter[str] = field(default_factory=lambda: Counter(delivered=0, rejected=0, dropped=0))
    is_reported: bool = False

    @property
    def pending(self) -> int:
        return self.accepted - self.settled.total()


class Counters:
    """
    Counts each event in, and out by exactly one way.

    Attributes:
        accepted: Events taken at the door.

        delivered: Events that the destination took.

        rejected: Events that it refuses, by reason.

        dropped: Events that were given up, by reason.

        window: The flush window that is open: what is accepted now belongs to it.
    """

    def __init__(self) -> None:
        self.accepted: int = 0
        self.delivered: int = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.window: int = 0
        self._open = FlushWindow(0)
        self._windows = {0: self._open}
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        # Events are accepted from any thread; `+=` on a number is not atomic. They are also accepted
        # by signal handlers, which may interrupt a method here: so the lock can be taken again, and
        # nothing is called between the reading and the writing of a number.
        self._lock = threading.RLock()

    def accept(self, count: int = 1) -> int:
        """Count *count* events in and return the window they get."""
        with self._lock:
            self.accepted += count
            self._open.accepted += count
            return self.window

    def refuse(self, window: int, count: int) -> None:
        """Take back what was counted in with *window*: the caller was told that it was not taken."""
        with self._lock:
            self.accepted -= count
            self._windows[window].accepted -= count

    def deliver(self, windows: Iterable[int]) -> None:
        """Count out delivered events, given by their windows."""
        with self._lock:
            count = self._settle(windows, "delivered")
            self.delivered += count
        self._wake()

    def reject(self, windows: Iterable[int], reason: str) -> None:
        """Count out rejected events, given by their windows."""
        with self._lock:
            count = self._settle(windows, "rejected")
            self.rejected.setdefault(reason, 0)
            self.rejected[reason] += count
        self._wake()

    def drop(self, windows: Iterable[int], reason: str) -> None:
        """Count out dropped events, given by their windows."""
        with self._lock:
            count = self._settle(windows, "dropped")
            self.dropped.setdefault(reason, 0)
            self.dropped[reason] += count
        self._wake()

    def _settle(self, windows: Iterable[int], way: str) -> int:
        counts = Counter(windows)
        for window, count in counts.items():
            self._windows[window].settled[way] += count
        return counts.total()

    def close_window(self) -> int:
        """Begin a new flush window and return the number of the last event before it."""
        with self._lock:
            for window in [window for window, span in self._windows.items() if span.is_reported]:
                del self._windows[window]
            closed = self.window
            self.window += 1
            self._open = self._windows[self.window] = FlushWindow(self.window)
            return closed

    def is_settled(self, window: int) -> bool:
        """Return whether nothing accepted up to *window* is still under way."""
        with self._lock:
            return all(span.number > window or not span.pending for span in self._windows.values())

    def when_settled(self, window: int, call: Callable[[], None]) -> None:
        """Call *call* once everything up to *window* is settled, now or later."""
        self._waiting.append((window, call))
        self._wake()

    def forget(self, call: Callable[[], None]) -> None:
        """Do not call *call* any more."""
        self._waiting = [(window, waiting) for window, waiting in self._waiting if waiting != call]

    def report(self, window: int) -> FlushResult:
        """Return what became of everything up to *window* that no earlier report has said."""
        with self._lock:
            spans = [span for span in self._windows.values() if span.number <= window]
            settled = sum((span.settled for span in spans), Counter[str]())
            for span in spans:
                # What is still under way is reported again, as a whole, when it has ended.
                span.is_reported = not span.pending
            return FlushResult(
                delivered=settled["delivered"],
                rejected=settled["rejected"],
                dropped=settled["dropped"],
                pending=sum(span.pending for span in spans),
            )

    def _wake(self) -> None:
        for window, call in self._waiting[:]:
            if self.is_settled(window):
                self.forget(call)
                call()
