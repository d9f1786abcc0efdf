"""Noticing a fork, and leaving the parent's objects alone in the child."""

from __future__ import annotations

import mmap
import os
import threading
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet

_kept: list[object] = []

# By process: a lock of the parent that a thread held at the fork is never released in the child.
_locks: dict[int, threading.RLock] = {}

# MADV_WIPEONFORK of Linux, for which `mmap` has no name: the page is empty in the child of a fork.
_WIPE_ON_FORK = 18


def never_finalize(thing: object) -> None:
    """Keep *thing* for ever: its finalizer would touch the connections of the parent process."""
    _kept.append(thing)


def lock() -> threading.RLock:
    """
    Return the lock of this process under which what belongs to the parent is replaced.

    The first calls in a child may come from several threads at once. Whoever has it looks at the process
    marker once more; the marker is replaced last.
    """
    return _locks.setdefault(os.getpid(), threading.RLock())


class ProcessMarker(Protocol):
    """A sequence whose first item is 1 in one process, and 0 in every child of it."""

    def __getitem__(self, index: int, /) -> int:
        """Return the item at *index*."""
        ...


def process_marker() -> ProcessMarker:
    """
    Return a marker whose first item is 1 in this process, and 0 in every child of it.

    Reading it takes a tenth of the time of `os.getpid`. It also works in children
    that were forked without Python's hooks, as uWSGI does it.
    """
    # Linux does this from 4.14 on. Other systems raise one of these.
    with suppress(OSError, ValueError, AttributeError):
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
        page[0] = 1
        return page
    marker = _HookedMarker()
    _hooked.add(marker)
    return marker


class _HookedMarker:
    """A marker that a hook of the fork wipes."""

    def __init__(self) -> None:
        self.value = 1

    def __getitem__(self, index: int, /) -> int:
        return self.value


_hooked: WeakSet[_HookedMarker] = WeakSet()


def _wipe() -> None:
    for marker in _hooked:
        marker.value = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_wipe)
