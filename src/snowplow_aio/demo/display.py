"""The display of the demo: its progress, and the table at the end."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from snowplow_aio.demo.report import METHODS, Arrival, Report, Row, Verdict, arrival
from snowplow_aio.demo.visitors import Visit, Visitor

# So many characters of an event id tell a few dozen events apart.
_ID_LENGTH = 8

# The width of lines outside a terminal.
_PLAIN_WIDTH = 100


def console_for_output() -> Console:
    """Return a console on the standard output; it has colours only on a terminal."""
    is_terminal = sys.stdout.isatty()
    width = None if is_terminal else _PLAIN_WIDTH
    return _Console(force_terminal=is_terminal, width=width, highlight=False, markup=False)


class _Console(Console):
    """A console that survives the end of its reader."""

    def on_broken_pipe(self) -> None:
        """Print nothing more, and let the demo end in order."""
        self.quiet = True
        # Python flushes the standard output when it ends, which must not fail.
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device, not a file
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Display:
    """
    Shows a run of the demo.

    Args:
        console: The console to print on. Bars are drawn only on a terminal.

        visitors: The visitors whose requests are counted.
    """

    def __init__(self, console: Console, visitors: Sequence[Visitor]) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:>18}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._left = Counter({visitor.name: len(visitor.steps) for visitor in visitors})
        self._tracked: Counter[str] = Counter()
        self._requests = self._progress.add_task("requests to shop", total=self._left.total())
        self._arrivals = {
            method: self._progress.add_task(f"arrived by {method}", total=0) for method in METHODS
        }

    def print_line(self, line: str) -> None:
        """Print one line, above the bars."""
        self._console.print(Text(line), soft_wrap=True)

    @contextmanager
    def running(self) -> Generator[None]:
        """Show the progress while the block runs."""
        with self._progress:
            yield

    def visited(self, visit: Visit) -> None:
        """Count *visit*, and print a line if it was the visitor's last."""
        self._left[visit.visitor] -= 1
        self._tracked[visit.visitor] += len(visit.tracked)
        self._progress.advance(self._requests)
        for task in self._arrivals.values():
            self._progress.update(task, total=self._tracked.total())
        if self._left[visit.visitor] == 0:
            self.print_line(
                f"{visit.visitor} left the shop, which tracked {self._tracked[visit.visitor]} events"
            )

    def arrived(self, record: Mapping[str, Any]) -> None:
        """Count the collector's *record*."""
        self._progress.advance(self._arrivals[arrival(record).method])

    def finish(self, report: Report, seconds: float) -> None:
        """Print the table, the problems and the summary."""
        self.print_line("")
        self._console.print(table(report.rows))
        self.print_line("")
        for problem in report.problems:
            self.print_line(f"PROBLEM: {problem}")
        self.print_line(summary(report, seconds))


def table(rows: Sequence[Row]) -> Table:
    """Return the table of *rows*, visitor by visitor."""
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for header in ("id", "event", "user", "page", "contexts", *METHODS):
        shown.add_column(header, no_wrap=True, overflow="crop")
    for _, group in groupby(rows, key=lambda row: row.visit.visitor):
        for row in group:
            found = row.arrival or Arrival("", row.event_id, event="?")
            verdicts = (_styled(row.verdicts[method]) for method in METHODS)
            shown.add_row(
                row.event_id[:_ID_LENGTH],
                found.event,
                found.user or "guest",
                found.page or "-",
                _counted(found.contexts),
                *verdicts,
            )
        shown.add_section()
    return shown


def _counted(contexts: Sequence[str]) -> str:
    counts = Counter(contexts).items()
    return ", ".join(name if count == 1 else f"{name} x{count}" for name, count in counts) or "-"


def _styled(verdict: Verdict) -> Text:
    return Text(verdict.word, style="green" if verdict.why is None else "bold red")


def summary(report: Report, seconds: float) -> str:
    """Return the last line of the output."""
    arrived = ", ".join(f"{report.arrived.get(method, 0)} arrived by {method}" for method in METHODS)
    return f"{len(report.rows)} events tracked, {arrived}, {report.valid} valid, {seconds:.1f} seconds"
