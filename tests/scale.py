"""Short or full numbers: a run that must end soon has fewer examples than one that has half an hour."""

from __future__ import annotations

import os
from typing import TypeVar

# The full numbers of the promises, which take minutes, or a short version of each test.
FULL = os.environ.get("SNOWPLOW_CHAOS") == "full"

T = TypeVar("T")


def scale(short: T, full: T) -> T:
    """Return the number that this run uses."""
    return full if FULL else short
