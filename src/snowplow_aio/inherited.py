"""What a child process has of its parent's: kept from the garbage collector, which would finish it."""

from __future__ import annotations

_kept: list[object] = []


def keep(thing: object) -> None:
    """Never finish *thing*: it belongs to a parent process, whose connections that would touch."""
    _kept.append(thing)
