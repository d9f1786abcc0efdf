"""The bytes of a payload, as the store and the transports read them."""

from __future__ import annotations

from snowplow_aio.runtime.native import mypyc_attr


# Nothing that it holds refers to anything, so the garbage collector skips it. Else it would
# visit a hundred thousand waiting events again and again.
@mypyc_attr(acyclic=True, allow_interpreted_subclasses=True)
class PayloadBytes:
    """
    The JSON of an event.

    Attributes:
        tail: The JSON without its opening brace. In a request the time of sending comes before it.

        anonymous: Whether the event is sent with the header ``SP-Anonymous``.
    """

    __slots__ = ("anonymous", "tail")

    tail: bytes
    anonymous: bool
