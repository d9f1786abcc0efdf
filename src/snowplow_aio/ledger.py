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
class _Window:
    """The events accepted between two flushes."""

    mark: int
    accepted: int = 0
    settled: Counter[str] = field(default_factory=Counter)
    is_reported: bool = False

    @property
    def pending(self) -> int:
        return self.accepted - self.settled.total()


class Ledger:
    """
    Counts each event in, and out by exactly one way.

    Attributes:
        accepted: Events taken at the door.

        delivered: Events that the destination took.

        rejected: Events that it refuses, by reason.

        dropped: Events that were given up, by reason.

        mark: The window that is open: what is accepted now belongs to it.
    """

    def __init__(self) -> None:
        self.accepted: int = 0
        self.delivered: int = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.mark: int = 0
        self._open = _Window(0)
        self._windows = {0: self._open}
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        # Events are accepted from any thread; `+=` on a number is not atomic.
        self._lock = threading.Lock()

    def accept(self, count: int = 1) -> int:
        """Count *count* events in and return the mark they get."""
        with self._lock:
            self.accepted += count
            self._open.accepted += count
            return self.mark

    def refuse(self, mark: int, count: int) -> None:
        """Take back what was counted in with *mark*: the caller was told that it was not taken."""
        with self._lock:
            self.accepted -= count
            self._windows[mark].accepted -= count

    def deliver(self, marks: Iterable[int]) -> None:
        """Count out delivered events, given by their marks."""
        with self._lock:
            self.delivered += self._settle(marks, "delivered")
        self._wake()

    def reject(self, marks: Iterable[int], reason: str) -> None:
        """Count out rejected events, given by their marks."""
        with self._lock:
            self.rejected[reason] += self._settle(marks, "rejected")
        self._wake()

    def drop(self, marks: Iterable[int], reason: str) -> None:
        """Count out dropped events, given by their marks."""
        with self._lock:
            self.dropped[reason] += self._settle(marks, "dropped")
        self._wake()

    def _settle(self, marks: Iterable[int], way: str) -> int:
        counts = Counter(marks)
        for mark, count in counts.items():
            self._windows[mark].settled[way] += count
        return counts.total()

    def close_window(self) -> int:
        """Begin a new window and return the mark of the last event before it."""
        with self._lock:
            for mark in [mark for mark, window in self._windows.items() if window.is_reported]:
                del self._windows[mark]
            closed = self.mark
            self.mark += 1
            self._open = self._windows[self.mark] = _Window(self.mark)
            return closed

    def is_settled(self, mark: int) -> bool:
        """Return whether nothing accepted up to *mark* is still under way."""
        with self._lock:
            return all(window.mark > mark or not window.pending for window in self._windows.values())

    def when_settled(self, mark: int, call: Callable[[], None]) -> None:
        """Call *call* once everything up to *mark* is settled, now or later."""
        self._waiting.append((mark, call))
        self._wake()

    def forget(self, call: Callable[[], None]) -> None:
        """Do not call *call* any more."""
        self._waiting = [(mark, waiting) for mark, waiting in self._waiting if waiting != call]

    def report(self, mark: int) -> FlushResult:
        """Return what became of everything up to *mark* that no earlier report has said."""
        with self._lock:
            windows = [window for window in self._windows.values() if window.mark <= mark]
            settled = sum((window.settled for window in windows), Counter[str]())
            for window in windows:
                # What is still under way is reported again, as a whole, when it has ended.
                window.is_reported = not window.pending
            return FlushResult(
                delivered=settled["delivered"],
                rejected=settled["rejected"],
                dropped=settled["dropped"],
                pending=sum(window.pending for window in windows),
            )

    def _wake(self) -> None:
        for mark, call in self._waiting[:]:
            if self.is_settled(mark):
                self.forget(call)
                call()
