"""
Every error of this library.

SnowplowError
 ├── InvalidEventError (also a ValueError): the event cannot be tracked
 ├── ConfigurationError (also a ValueError): a tracker, emitter or collector cannot be built so
 ├── QueueFullError: the store is full and its overflow policy is RAISE
 ├── DeliveryError: an event that was waited for was not delivered
 └── TransportError: one attempt to send failed (raised by transports, handled by the delivery loop)

What pydantic finds while a model is built stays a `pydantic.ValidationError`.
"""

from __future__ import annotations

import reprlib

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 60


class SnowplowError(Exception):
    """The root of all errors of this library."""


def complaint(argument: str, value: object, rule: str) -> str:
    """Return the one form of every message: argument, rule, shortened value."""
    try:
        said = _shorten.repr(value)
    except Exception:  # noqa: BLE001 - whatever a value's own repr does, the complaint is about the value
        said = f"a value of type {type(value).__name__}"
    return f"{argument}: {rule}, got {said}"


class InvalidEventError(SnowplowError, ValueError):
    """
    An event breaks a rule of the tracker protocol or of JSON.

    Raised in the caller's stack, before anything of the event is tracked.
    """

    @classmethod
    def about(cls, argument: str, value: object, rule: str) -> InvalidEventError:
        """Return the error for *argument*, which has *value* and breaks *rule*."""
        return cls(complaint(argument, value, rule))


class ConfigurationError(SnowplowError, ValueError):
    """A tracker, an emitter or an embedded collector cannot be made with these arguments."""

    @classmethod
    def about(cls, argument: str, value: object, rule: str) -> ConfigurationError:
        """Return the error for *argument*, which has *value* and breaks *rule*."""
        return cls(complaint(argument, value, rule))


class QueueFullError(SnowplowError):
    """The store has no room for the event and its overflow policy is `Overflow.RAISE`."""


class DeliveryError(SnowplowError):
    """An event that was waited for was rejected or dropped."""


class TransportError(SnowplowError):
    """
    One attempt to send failed without an answer of the destination.

    The events may or may not have arrived: they are sent again. The cause is
    the error of the library underneath, which nothing above a transport names.
    """
