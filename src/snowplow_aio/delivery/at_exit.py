"""
A warning at the end of the interpreter, for events that nobody has delivered.

Nothing is sent here: at the end of the interpreter there is neither a loop nor
a thread to send with.
"""

from __future__ import annotations

import atexit
import warnings
import weakref
from typing import Protocol

from snowplow_aio.runtime.throttled_log import QuietLogger


class Owner(Protocol):
    """An emitter that may hold undelivered events."""

    def warn_undelivered(self) -> None:
        """Warn of the events that nobody will deliver any more, if there are some."""


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()


def watch(owner: Owner) -> None:
    """Have *owner* warn at the end of the interpreter."""
    _owners.add(owner)


def forget(owner: Owner) -> None:
    """Leave *owner* out: it is closed."""
    _owners.discard(owner)


def announce(log: QuietLogger, message: str, *args: object) -> None:
    """Log *message* with *args*; if logging is not set up, issue it as a RuntimeWarning."""
    if log.logger.hasHandlers():
        log.warning(message, *args)
        return
    try:
        warnings.warn(message % args, RuntimeWarning, stacklevel=2)
    except RuntimeWarning:
        # The program makes errors of warnings, but no close may raise. Without
        # handlers, Python itself writes to standard error.
        log.logger.warning(message, *args)


@atexit.register
def _warn_undelivered() -> None:
    for owner in list(_owners):
        owner.warn_undelivered()
