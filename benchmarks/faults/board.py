"""
The board: numbers that a client writes and the harness reads, also after the client was killed.
"""

from __future__ import annotations

import mmap
from pathlib import Path

NAMES = (
    # Moments are those of `time.monotonic_ns`, which all processes of a machine share; 0: not yet.
    "started_ns",
    "tracking_ended_ns",
    "closed_ns",
    "last_tick_ns",
    "worst_stall_ns",
    # Events handed to the tracker, and how many of these calls raised.
    "tracked",
    "raised",
    # Events that the shutdown call says it did not deliver, and one more; 0: it said nothing.
    "told",
)
BYTES = 8 * len(NAMES)


class Board:
    """
    A small file as a mapping of names to whole numbers, shared between two processes.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(BYTES)
            self.numbers = memoryview(mmap.mmap(file.fileno(), BYTES)).cast("q")

    def __getitem__(self, name: str) -> int:
        return self.numbers[NAMES.index(name)]

    def __setitem__(self, name: str, value: int) -> None:
        self.numbers[NAMES.index(name)] = value
