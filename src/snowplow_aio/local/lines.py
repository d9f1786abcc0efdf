"""
Whole lines, written to files and pipes that may fail in the midst of one.

A disk may be full and a reader may be gone or stand still. What then was written of
a line must not be continued by the next one: that line would be lost, and it counts
as delivered.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

# Windows has no such locks.
_fcntl: ModuleType | None = import_module("fcntl") if find_spec("fcntl") else None

# How long a pipe that nobody reads, or a file that another process has locked, is waited for.
_PATIENCE_SECONDS = 1.0
_LOOK_SECONDS = 0.01

# A pipe that has room has room for so much, and takes it in one piece.
_PIPE_BYTES = getattr(select, "PIPE_BUF", 512)


def append_lines(descriptor: int, lines: Sequence[bytes]) -> None:
    """
    Append *lines* to the regular file of *descriptor*: all of them, or none.

    Other processes may append to it as well. Those that write with this function wait for
    each other. What others wrote is never removed.

    Raises:
        OSError: If not all of them could be written.
    """
    with _locked(descriptor):
        start = os.fstat(descriptor).st_size
        data = b"".join(lines)
        if start and not _ends_with_a_line(descriptor, start):
            # A process was killed here in the midst of a line.
            data = b"\n" + data
        written = 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            # If more was added than this, others have written, and nothing may be cut. Then the
            # next call ends the torn line.
            if os.fstat(descriptor).st_size == start + written:
                with suppress(OSError):
                    os.ftruncate(descriptor, start)
            raise


def _ends_with_a_line(descriptor: int, size: int) -> bool:
    try:
        return os.pread(descriptor, 1, size - 1) == b"\n"
    except (OSError, AttributeError):
        # The file may not be read, or the system has no such call.
        return True


@contextmanager
def _locked(descriptor: int) -> Generator[None, None, None]:
    if _fcntl is None:
        yield
        return
    ends_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends_at:
                raise TimeoutError(errno.ETIMEDOUT, "another process has locked the file") from None
            time.sleep(_LOOK_SECONDS)
        except OSError:
            # A file system without locks.
            break
        else:
            break
    try:
        yield
    finally:
        # To close the file is not enough: a child of a fork has it, too.
        with suppress(OSError):
            _fcntl.flock(descriptor, _fcntl.LOCK_UN)


class PipeWriter:
    """
    Writes lines to a pipe, a terminal or a device, and never waits long for its reader.

    A call that failed is repeated with the same lines, perhaps with others besides. Those that were
    written are left out then, and a torn one is continued.
    """

    def __init__(self) -> None:
        # Lines of the call that failed which were written; the torn one, and its rest.
        self._written: Counter[bytes] = Counter()
        self._torn = self._rest = b""

    def write(self, descriptor: int, lines: Sequence[bytes]) -> None:
        """
        Write *lines*.

        Raises:
            OSError: If not all of them could be written.
        """
        left = self._written.copy()
        if self._rest:
            self._write(descriptor, self._rest)
            self._written[self._torn] += 1
            left[self._torn] += 1
        for line in lines:
            if left[line]:
                left[line] -= 1
                continue
            self._torn = line
            self._write(descriptor, line)
            self._written[line] += 1
        self._written.clear()

    def _write(self, descriptor: int, line: bytes) -> None:
        """Write *line*; if that fails, remember what is left of it when a part of it was written."""
        is_torn = bool(self._rest)
        while line:
            try:
                wait_for_room(descriptor)
                count = os.write(descriptor, line[:_PIPE_BYTES])
            except OSError:
                self._rest = line if is_torn else b""
                raise
            line, is_torn = line[count:], True
        self._rest = b""


def wait_for_room(descriptor: int) -> None:
    """
    Return when the pipe of *descriptor* has some room; at once for files.

    Raises:
        TimeoutError: If nobody reads it.
    """
    if hasattr(select, "poll"):
        waiting = select.poll()
        waiting.register(descriptor, select.POLLOUT)
        if not waiting.poll(_PATIENCE_SECONDS * 1000):
            raise TimeoutError(errno.ETIMEDOUT, "nobody reads what is written")


def is_regular(descriptor: int) -> bool:
    """Return whether *descriptor* is a file, and no pipe or device."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)
