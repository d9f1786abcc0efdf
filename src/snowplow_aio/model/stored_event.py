"""One event in a store, with what the delivery has to know of it."""

from __future__ import annotations

from collections.abc import Iterable

from snowplow_aio.model.payload import Payload
from snowplow_aio.model.payload_bytes import PayloadBytes
from snowplow_aio.runtime.native import mypyc_attr


# A payload, numbers and bytes: nothing that the garbage collector would find a cycle in.
@mypyc_attr(acyclic=True)
class StoredEvent:
    """
    One event in a store.

    Attributes:
        payload: The event.

        accepted_at: When it was accepted, in seconds of the loop's clock.

        window: Which flush it belongs to, as the counters number them.

        attempts: How often it was sent.

        size: The bytes of its JSON.

        handle: What a store outside the process calls it; empty elsewhere.
    """

    __slots__ = ("accepted_at", "attempts", "handle", "payload", "size", "window")

    def __init__(self, payload: Payload, accepted_at: float, window: int, handle: bytes = b"") -> None:
        encoded: PayloadBytes = payload
        self.payload: Payload = payload
        self.accepted_at: float = accepted_at
        self.window: int = window
        self.attempts: int = 0
        self.handle: bytes = handle
        self.size: int = len(encoded.tail) + 1


def size_of(entries: Iterable[StoredEvent]) -> int:
    """Return the bytes of the JSON of *entries*."""
    size = 0
    for entry in entries:
        size += entry.size
    return size


def windows_of(entries: Iterable[StoredEvent]) -> list[int]:
    """Return which flushes *entries* belong to."""
    return [entry.window for entry in entries]


def attempt(entries: Iterable[StoredEvent]) -> list[Payload]:
    """Count one more attempt for each of *entries*, and return what is sent."""
    payloads: list[Payload] = []
    for entry in entries:
        entry.attempts += 1
        payloads.append(entry.payload)
    return payloads
