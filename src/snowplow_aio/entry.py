"""One event in a store, with what the delivery has to know of it."""

from __future__ import annotations

from collections.abc import Iterable

from snowplow_aio.compiled import mypyc_attr
from snowplow_aio.encoded import Encoded
from snowplow_aio.payload import Payload


# A payload, numbers and bytes: nothing that the garbage collector would find a cycle in.
@mypyc_attr(acyclic=True)
class Entry:
    """
    One event in a store.

    Attributes:
        payload: The event.

        since: When it was accepted, in seconds of the loop's clock.

        mark: Which flush it belongs to, as the ledger counts them.

        attempts: How often it was sent.

        size: The bytes of its JSON.

        handle: What a store outside the process calls it; empty elsewhere.
    """

    __slots__ = ("attempts", "handle", "mark", "payload", "since", "size")

    def __init__(self, payload: Payload, since: float, mark: int, handle: bytes = b"") -> None:
        encoded: Encoded = payload
        self.payload: Payload = payload
        self.since: float = since
        self.mark: int = mark
        self.attempts: int = 0
        self.handle: bytes = handle
        self.size: int = len(encoded.tail) + 1


def size_of(entries: Iterable[Entry]) -> int:
    """Return the bytes of the JSON of *entries*."""
    size = 0
    for entry in entries:
        size += entry.size
    return size


def marks_of(entries: Iterable[Entry]) -> list[int]:
    """Return which flushes *entries* belong to."""
    return [entry.mark for entry in entries]


def attempt(entries: Iterable[Entry]) -> list[Payload]:
    """Count one more attempt for each of *entries*, and return what is sent."""
    payloads: list[Payload] = []
    for entry in entries:
        entry.attempts += 1
        payloads.append(entry.payload)
    return payloads
