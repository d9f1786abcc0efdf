"""One event in a store, and the numbers that its delivery needs."""

from __future__ import annotations

from collections.abc import Iterable

from snowplow_aio.model.payload import Payload
from snowplow_aio.model.payload_bytes import PayloadBytes
from snowplow_aio.runtime.native import mypyc_attr


# It holds a payload, numbers and bytes, and so is part of no cycle: the garbage collector skips it.
@mypyc_attr(acyclic=True)
class StoredEvent:
    """
    One event in a store.

    Attributes:
        payload: The event.

        accepted_at: The time at which it was accepted, in seconds of the loop's clock.

        window: The number of its flush window, from the counters.

        attempts: How often it was sent.

        size: The bytes of its JSON.

        handle: Its name in a store outside the process; empty elsewhere.
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


def size_of(events: Iterable[StoredEvent]) -> int:
    """Return the bytes of the JSON of *events*."""
    size = 0
    for event in events:
        size += event.size
    return size


def windows_of(events: Iterable[StoredEvent]) -> list[int]:
    """Return the flush window of each of *events*."""
    return [event.window for event in events]


def attempt(events: Iterable[StoredEvent]) -> list[Payload]:
    """Count one more attempt for each of *events*, and return their payloads."""
    payloads: list[Payload] = []
    for event in events:
        event.attempts += 1
        payloads.append(event.payload)
    return payloads
