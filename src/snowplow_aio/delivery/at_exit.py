"""
Events that are left when a loop or the process ends without a close: said once.

It is the last net. It sends nothing: at the end of the interpreter there is
neither a loop nor a thread to send with.
"""

from __future__ import annotations

import atexit
import warnings
import weakref
from typing import Protocol

from snowplow_aio.runtime.throttled_log import QuietLogger


class Owner(Protocol):
    """What may have events left."""

    def warn_undelivered(self) -> None:
        """Announce the events that nobody will deliver any more, if there are some."""


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()


def watch(owner: Owner) -> None:
    """Ask *owner* once more at the end of the interpreter."""
    _owners.add(owner)


def forget(owner: Owner) -> None:
    """Do not ask *owner* any more: it is closed."""
    _owners.discard(owner)


def announce(log: QuietLogger, message: str, *args: object) -> None:
    """Log *message* with *args*; where logging is not set up, say it as a RuntimeWarning."""
    if log.logger.hasHandlers():
        log.warning(message, *args)
    else:
        warnings.warn(message % args, RuntimeWarning, stacklevel=2)


@atexit.register
def _ask_all() -> None:
    for owner in list(_owners):
        owner.warn_undelivered()
