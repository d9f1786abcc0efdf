"""The numbers of a run: short ones for each change, full ones for the session `chaos`."""

from __future__ import annotations

import os
from typing import TypeVar

# Whether this run plays the full numbers, which take an hour, or a short version of each test.
FULL = os.environ.get("SNOWPLOW_CHAOS") == "full"

T = TypeVar("T")


def scale(short: T, full: T) -> T:
    """Return the number that this run uses."""
    return full if FULL else short
