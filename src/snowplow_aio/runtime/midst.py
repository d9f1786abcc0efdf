"""Whether this thread is in the midst of a call that may hold locks of the delivery."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager


class _Here(threading.local):
    """
    This thread.

    Attributes:
        is_busy: Whether locks of an emitter may be held. The loop that delivers may need them, so a signal
            handler or a finalizer that comes in the midst of this must not wait for that loop.
    """

    is_busy = False


here: _Here = _Here()


@contextmanager
def busy() -> Generator[None]:
    """Have `here.is_busy` say so in this block."""
    is_in_the_midst = here.is_busy
    here.is_busy = True
    try:
        yield
    finally:
        here.is_busy = is_in_the_midst
