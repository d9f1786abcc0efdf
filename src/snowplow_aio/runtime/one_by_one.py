"""
Letting threads come one by one to locks that they share.

A thread that waits in `Lock.acquire` gets the lock while it still waits for the interpreter's own. The thread
that gave it up runs on, comes to the lock again, and has to wait as well: from then on each event of each
thread costs a change of threads, for as long as both go on. This is known as a lock convoy. Whoever waits
here holds nothing meanwhile.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

# Whoever is in the midst needs one of these steps, where nothing keeps it there.
_MOST_STEPS = 1_000


class OneByOne:
    """
    Keeps other threads waiting while one is in the block, in most cases.

    It makes locks cheap and replaces none: a thread waits for a bounded time, and two may come at once. A
    signal handler or a finalizer that interrupts the block gets in, as it does with an `RLock`.

    Example:
        Take a lock that several threads take for each event::

            with one_by_one, lock:
                count += 1
    """

    def __init__(self) -> None:
        # The threads that are in. Sets and deques change in one step, whatever interrupts it.
        self._inside: set[int] = set()

    def __enter__(self) -> None:
        here = threading.get_ident()
        inside = self._inside
        if inside and here not in inside:
            self._wait()
        inside.add(here)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside.discard(threading.get_ident())

    def _wait(self) -> None:
        for _ in range(_MOST_STEPS):
            # Any other thread may run, the one that is in among them.
            time.sleep(0)
            if not self._inside:
                return
        # It is stuck, or was interrupted on its way out, or is a thread of the process that this one was
        # forked from.
        self._inside.clear()


# One for all emitters: a thread that tracks comes to the locks of each of them.
ONE_BY_ONE = OneByOne()
