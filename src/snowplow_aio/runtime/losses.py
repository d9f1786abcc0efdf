"""Saying that events are lost, once, to whoever has configured no logging. Others find it in their log."""

from __future__ import annotations

import atexit
import warnings
import weakref
from typing import Protocol

from snowplow_aio.runtime.foreign_text import events_text
from snowplow_aio.runtime.throttled_log import QuietLogger, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.delivery")

# Why events wait whatever their destination does.
NO_LOOP = "no event loop runs the delivery"

# What helps.
WITHOUT_LOOP = "a program without a loop uses snowplow_aio.sync"

NO_LOOP_BUT_ADVICE = f"{NO_LOOP}; {WITHOUT_LOOP}"


class Holder(Protocol):
    """An emitter that may hold undelivered events."""

    name: str

    # What closes it, as the application writes it.
    closer: str

    def newly_undelivered(self) -> tuple[int, str | None]:
        """Return the number of undelivered events, 0 if that was asked before, and the last error."""
        ...


_holders: weakref.WeakSet[Holder] = weakref.WeakSet()


def watch(holder: Holder) -> None:
    """Say at the end of the interpreter how many events *holder* has not delivered."""
    _holders.add(holder)


def forget(holder: Holder) -> None:
    """Leave *holder* out: it is closed."""
    _holders.discard(holder)


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


# How many events of each emitter's name and kind were lost after the one warning of that kind.
_unsaid: dict[tuple[str, str], int] = {}


def say_once(kind: str, message: str, name: str, *args: object, count: int = 0) -> None:
    """
    Issue *message* as a RuntimeWarning, once for each *name* and *kind*, if logging is not set up.

    Args:
        kind: The kind of loss, such as ``closed``.

        message: The message; it is for whoever has not asked for logs.

        name: The name of the emitter, and the first argument of the message.

        args: Its other arguments.

        count: Events that are lost. Those after the first message are said at the end of the interpreter.
    """
    if (name, kind) in _unsaid:
        _unsaid[name, kind] += count
    elif not log.logger.hasHandlers():
        _unsaid[name, kind] = 0
        announce(log, message, name, *args)


def say_the_rest() -> None:
    """Say how many events of each kind were lost after the one message about it."""
    for (name, kind), count in _unsaid.items():
        if count:
            more = "1 more event was" if count == 1 else f"{count} more events were"
            announce(log, "%s: %s lost (%s)", name, more, kind)
            _unsaid[name, kind] = 0


def say_undelivered() -> None:
    """Warn, in one message, of what nobody will deliver any more."""
    found = [(holder, *holder.newly_undelivered()) for holder in list(_holders)]
    left = [(holder.name, holder.closer, count, error) for holder, count, error in found if count]
    if not left:
        return
    name, closer, _, error = left[0]
    who = name if len(left) == 1 else f"{name} and {len(left) - 1} more"
    message = "%s: ended without %s, with %s undelivered (last error: %s)"
    announce(log, message, who, closer, events_text(sum(count for *_, count, _ in left)), error)


# Registered before the hooks of those who still deliver at the end, so it is called after them.
@atexit.register
def _when_interpreter_ends() -> None:
    say_undelivered()
    say_the_rest()
