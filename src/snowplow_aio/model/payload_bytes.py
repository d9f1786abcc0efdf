"""An event as bytes: what a payload is made of, and what the path of an event reads of it."""

from __future__ import annotations

from snowplow_aio.runtime.native import mypyc_attr


# Nothing that it holds refers to anything: the garbage collector need not look at a
# backlog of a hundred thousand of them again and again.
@mypyc_attr(acyclic=True, allow_interpreted_subclasses=True)
class PayloadBytes:
    """
    The JSON of an event.

    Attributes:
        tail: The JSON without the brace that opens it: in a request the time of sending comes first.

        anonymous: Whether it travels with ``SP-Anonymous``.
    """

    __slots__ = ("anonymous", "tail")

    tail: bytes
    anonymous: bool
