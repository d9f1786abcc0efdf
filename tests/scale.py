"""Short or full numbers: a run that must end soon has fewer examples than one that has half an hour."""

from __future__ import annotations

from typing import TypeVar

from tests.conftest import FULL

T = TypeVar("T")


def scale(short: T, full: T) -> T:
    """Return the number that this run uses."""
    return full if FULL else short
