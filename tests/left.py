"""Looks for what a test leaves to the next: threads of the library, and open files, pipes and sockets."""

from __future__ import annotations

import gc
import os
import threading
from contextlib import suppress

from tests.waiting import wait_until

# Each descriptor of this process, with a name for what is open there; empty where the system does not tell.
Descriptors = dict[int, str]

_OPEN = "/proc/self/fd"

# What others keep open as long as the process lives: matplotlib the fonts that it has used.
_KEPT = (".ttf",)


def threads() -> list[str]:
    """Return the names of the library's threads that have not ended."""
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith(("snowplow_aio", "snowplow-aio"))]


def no_thread() -> None:
    """
    Wait until the library's threads have ended.

    Whoever has given up a call, such as that of a stream that nobody reads, leaves its
    thread to end by itself.
    """
    wait_until(lambda: not threads(), threads)


def descriptors() -> Descriptors:
    """Return what this process has open."""
    found = {}
    # Not on every system; and the descriptor of the folder itself has gone by now.
    with suppress(FileNotFoundError):
        for number in os.listdir(_OPEN):  # noqa: PTH208 - quick: twice for each test
            with suppress(FileNotFoundError):
                found[int(number)] = os.readlink(f"{_OPEN}/{number}")  # noqa: PTH115 - likewise
    return found


def no_descriptor(before: Descriptors) -> None:
    """Fail when something is open that was not open *before*."""

    def opened() -> list[str]:
        now = descriptors().items()
        return [name for number, name in now if before.get(number) != name and not name.endswith(_KEPT)]

    if opened():
        # An event loop that was dropped closed is within a cycle; what was dropped open warns now.
        gc.collect()
    assert not (found := opened()), f"left open: {found}"
