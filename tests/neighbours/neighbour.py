"""What stands beside the library in a program, and which of it is tried in this run."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

# The session `neighbours` has all of them installed. Every other run tries only what is installed anyway.
ALL = "SNOWPLOW_NEIGHBOURS" in os.environ

# The columns of the page, by the word that a test says to say that it answers the question.
QUESTIONS = {
    "arrives": "each event arrives",
    "closes": "closing ends in time",
    "health": "health tells of an outage",
    "stop": "nothing is lost at a stop under load",
    "own": "its own work goes on",
}


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """
    Something that stands beside the library in a program of a user.

    Attributes:
        packages: The distributions whose versions the page shows; none for what comes with Python.

        since: The lowest Python that has it.

        is_quick: Whether it is also tried where the session `neighbours` does not run.
    """

    packages: tuple[str, ...] = ()
    since: tuple[int, int] = (3, 11)
    is_quick: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it can be tried here: this Python has it, and this run is for it."""
        return sys.version_info >= self.since and (ALL or self.is_quick)

    @property
    def version(self) -> str:
        """What the page says of its version here; nothing for what comes with Python."""
        return " · ".join(f"{package} {importlib.metadata.version(package)}" for package in self.packages)


def each(neighbours: Mapping[str, Neighbour]) -> list[Any]:
    """Return the names of *neighbours* that this run tries, as parameters of a test."""
    return [
        pytest.param(name, marks=pytest.mark.neighbour(name))
        for name, neighbour in neighbours.items()
        if neighbour.is_here
    ]


def answers(*questions: str) -> pytest.MarkDecorator:
    """Return the mark of a test that answers *questions*, keys of `QUESTIONS`."""
    assert set(questions) <= set(QUESTIONS)
    return pytest.mark.answers(*questions)
