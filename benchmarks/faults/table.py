"""
The table, as text for a terminal and as Markdown for the documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from environments import PEERS
from faults import BY_NAME, Fault
from trial import Trial

COLUMNS = ("tracked", "lost", "duplicated", "reported", "close", "worst stall")
TITLE_WIDTH = 34
CELL_WIDTH = 20
TITLES = {peer.name: peer.title for peer in PEERS}


def cells(trial: Trial) -> list[str]:
    """
    Return the figures of *trial* in the order of the columns.
    """
    tracked = f"{trial.tracked:,}"
    if trial.tracked < trial.events and not BY_NAME[trial.fault].is_stopped:
        tracked += f" of {trial.events:,}"
    return [
        tracked,
        f"{trial.lost:,}",
        f"{trial.duplicated:,}",
        "–" if trial.told is None else f"{trial.told:,}",
        f"blocked {trial.blocked}" if trial.close_seconds is None else f"{trial.close_seconds:.2f} s",
        stall(trial.worst_stall_ms),
    ]


def stall(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


def heading() -> str:
    return line("", COLUMNS)


def line(title: str, figures: Iterable[str]) -> str:
    return f"  {title:<{TITLE_WIDTH}}" + "".join(f"{figure:>{CELL_WIDTH}}" for figure in figures)


def text(trial: Trial) -> str:
    return line(TITLES[trial.peer], cells(trial))


def title(fault: Fault, runs: int) -> str:
    return fault.title if runs == 1 else f"{fault.title} ({runs} runs)"


def markdown(trials: Sequence[Trial]) -> str:
    """
    Return one table for all *trials*, a row for each client; a fault is named in its first row.
    """
    rows = [("fault", "tracker", *COLUMNS), ("---", "---", *["---:"] * len(COLUMNS))]
    before = ""
    for (fault, peer), made in groupby(trials, key=lambda trial: (trial.fault, trial.peer)):
        added = list(made)
        name = "" if fault == before else title(BY_NAME[fault], len(added))
        rows.append((name, TITLES[peer], *cells(Trial.added_up(added))))
        before = fault
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
