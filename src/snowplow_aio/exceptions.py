"""
The errors of this library.

SnowplowError
 ├── InvalidEventError (also a ValueError): an event cannot be tracked
 ├── ConfigurationError (also a ValueError): a tracker, an emitter or a collector cannot be made like this
 ├── QueueFullError: a store is full and its overflow policy is RAISE
 ├── DeliveryError: an event whose delivery was awaited was not delivered
 └── TransportError: one attempt to send failed (raised by transports, handled by the delivery loop)

A model that is built of wrong values raises `pydantic.ValidationError`.
"""

from __future__ import annotations

import reprlib

from snowplow_aio.runtime.foreign_text import masked, shown

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 60


class SnowplowError(Exception):
    """
    The root of all errors of this library.

    Example:
        Go on whatever is wrong with an event or a full store::

            try:
                await tracker.track(event)
            except SnowplowError as error:
                log.warning("not tracked: %s", error)
    """


def complaint(argument: str, value: object, rule: str) -> str:
    """Return the message of an error about a value: argument, rule, and the value, short and masked."""
    try:
        # Cut last: half of a URL may have the password and not the `@`.
        said = _shorten.repr(masked(value) if isinstance(value, str) else value)
    except Exception:  # noqa: BLE001 - the value's own repr may do anything
        said = f"a value of type {type(value).__name__}"
    # Keys of the data are in the argument, too.
    return f"{shown(argument)}: {rule}, got {masked(said)}"


class InvalidEventError(SnowplowError, ValueError):
    """
    An event breaks a rule of the tracker protocol or of JSON.

    It is raised in the stack of the caller, before any part of the event is tracked.

    Example:
        Go on without an event that cannot be tracked::

            try:
                await tracker.track(event)
            except InvalidEventError as error:
                log.warning("not tracked: %s", error)
    """

    @classmethod
    def about(cls, argument: str, value: object, rule: str) -> InvalidEventError:
        """Return the error about *argument*, whose *value* breaks *rule*."""
        return cls(complaint(argument, value, rule))


class ConfigurationError(SnowplowError, ValueError):
    """
    A tracker, an emitter or an embedded collector cannot be made with the given arguments.

    Example:
        Say what is wrong with the address of the collector, and end::

            try:
                emitter = HttpEmitter(os.environ["COLLECTOR"])
            except ConfigurationError as error:
                sys.exit(f"COLLECTOR: {error}")
    """

    @classmethod
    def about(cls, argument: str, value: object, rule: str) -> ConfigurationError:
        """Return the error about *argument*, whose *value* breaks *rule*."""
        return cls(complaint(argument, value, rule))


class QueueFullError(SnowplowError):
    """
    The store has no room for the event and its overflow policy is `Overflow.RAISE`.

    Example:
        Answer that the service is busy::

            try:
                await tracker.track(event)
            except QueueFullError:
                return Response(status_code=503)
    """


class DeliveryError(SnowplowError):
    """
    An event whose delivery was awaited was rejected or dropped.

    Example:
        Keep an order that the collector has not taken::

            try:
                await tracker.track_and_confirm(order)
            except (DeliveryError, TimeoutError):
                unconfirmed.append(order)
    """


class TransportError(SnowplowError):
    """
    One attempt to send failed, and the destination gave no answer.

    The events may have arrived or not, so they are sent again. The cause is the
    error of the library that the transport uses.

    Example:
        Translate the errors of a connection, in a transport of your own::

            async def send(self, payloads: Sequence[Payload]) -> Response:
                try:
                    await self._connection.write(payloads)
                except OSError as error:
                    raise TransportError("the connection was lost") from error
                return Response(status=200)
    """
