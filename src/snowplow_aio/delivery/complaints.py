"""Texts about events of an emitter that wait in vain or are lost: in the log, or on standard error."""

from __future__ import annotations

import logging
import warnings

from snowplow_aio.delivery import at_exit
from snowplow_aio.runtime import losses
from snowplow_aio.runtime.foreign_text import events_text
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.delivery")

# For what many emitters may have to say at the same time.
_throttled = ThrottledLog(log)


def no_loop(name: str, waiting: int) -> None:
    """Say that no loop delivers the events of the emitter called *name*."""
    message = f"%s: {losses.NO_LOOP} of %s: they wait until one tracks; {losses.WITHOUT_LOOP}"
    said = (name, events_text(waiting))
    _throttled.log("no loop", logging.WARNING, message, *said)
    losses.say_once("no loop", message, *said)


def tracked_late(name: str, closer: str, count: int) -> None:
    """Say that *count* events were tracked after *closer*, the call that closes the emitter."""
    message = "%s: events are dropped: they were tracked after %s"
    losses.say_once("closed", message, name, closer, count=count)


def closed_too_early(name: str, lost: int, error: str | None, *, is_told: bool) -> None:
    """Say that a close has dropped events; *is_told* says whether an error of its caller does so, too."""
    message = "%s: closed with %s undelivered (last error: %s)"
    said = (name, events_text(lost), error)
    log.warning(message, *said)
    if not is_told:
        losses.say_once("closed", message, *said, count=lost)


def forgotten(emitter: losses.Holder, count: int) -> None:
    """Say that *emitter* was dropped unclosed, with *count* events."""
    message = "%s: dropped without %s with %s undelivered"
    said = (emitter.name, emitter.closer, events_text(count))
    if at_exit.is_shown(ResourceWarning):
        warnings.warn(message % said, ResourceWarning, source=emitter, stacklevel=3)
    else:
        _throttled.log("forgotten", logging.WARNING, message, *said)
        losses.say_once("forgotten", message, *said, count=count)
