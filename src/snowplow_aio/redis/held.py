"""The events of one key that this process holds, and what Redis and the process know of each other."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.stored_event import StoredEvent, size_of
from snowplow_aio.redis.connections import beside

_WORKER_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


def new_worker_id() -> str:
    """Return a unique id in which an operator recognises the host and the process."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:60]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


def check_worker_id(worker_id: object) -> None:
    """
    Check the argument *worker_id*.

    Raises:
        ConfigurationError: If it is no id and not None.
    """
    rule = "must be up to 100 letters, digits, dots, dashes and underscores, or None"
    valid = isinstance(worker_id, str) and _WORKER_ID.fullmatch(worker_id) is not None
    check_argument(worker_id is None or valid, "worker_id", worker_id, rule)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """
    The answer of Redis to a sign of life.

    Attributes:
        held: Events that Redis notes as ours.

        queue_length: Events that wait in the key.

        dead_workers: Workers that have shown no sign of life for too long.
    """

    held: int
    queue_length: int
    dead_workers: Sequence[str]


class HeldEvents:
    """
    The events of one key that Redis notes as ours.

    An event waits here until it is leased. When it is settled it is moved to `unacknowledged`, until Redis
    knows that it is settled too. All methods are plain and synchronous, so that no cancellation can fall
    between a change and its record.

    Args:
        key: The list or the stream.

        worker_id: The id of this process in Redis.

        anonymous: Whether the events travel with ``SP-Anonymous``.

    Attributes:
        key: The list or the stream.

        workers_key: The key with the workers' last signs of life.

        dead_letters_key: The key with the dead letters.

        processing_key: The key with the events of a list that this process holds.

        pending: Events that wait here.

        pending_bytes: The bytes of their JSON.

        leased: Events that are leased.

        leased_bytes: The bytes of their JSON.

        unacknowledged: Settled events that Redis still notes as ours: each handle with its dead letter, or
            with None where nothing was given up.

        dead_workers: Workers whose events are to be taken over.

        queue_length: Events that waited in the key when Redis was last asked.

        is_uncertain: Whether Redis may note other events as ours than we hold.

        has_beaten: Whether we have shown a sign of life.
    """

    def __init__(self, key: str, worker_id: str, *, anonymous: bool) -> None:
        self.key: str = key
        self.anonymous: bool = anonymous
        self.workers_key: str = beside(key, "workers")
        self.dead_letters_key: str = beside(key, "dead")
        self.processing_key: str = self.processing_key_of(worker_id)
        self.pending: int = 0
        self.pending_bytes: int = 0
        self.leased: int = 0
        self.leased_bytes: int = 0
        self.unacknowledged: dict[bytes, bytes | None] = {}
        self.dead_workers: list[str] = []
        self.queue_length: int = 0
        self.is_uncertain: bool = False
        self.has_beaten: bool = False
        # Waiting and leased events by their handles; and those that wait, in their order.
        self._events: dict[bytes, StoredEvent] = {}
        self._waiting: deque[StoredEvent] = deque()

    def processing_key_of(self, worker_id: str) -> str:
        """Return the key with the events of a list that *worker_id* holds."""
        return beside(self.key, f"processing:{worker_id}")

    @property
    def known(self) -> int:
        """How many events Redis should note as ours."""
        return len(self._events) + len(self.unacknowledged)

    @property
    def delivered(self) -> Sequence[bytes]:
        """The handles of settled events that have no dead letter."""
        return [handle for handle, letter in self.unacknowledged.items() if letter is None]

    @property
    def letters(self) -> Sequence[tuple[bytes, bytes]]:
        """The handles of settled events that have a dead letter, with it."""
        return [(handle, letter) for handle, letter in self.unacknowledged.items() if letter is not None]

    @property
    def size(self) -> int:
        """The bytes of all events and dead letters that are here."""
        return self.pending_bytes + self.leased_bytes + sum(len(letter) for _, letter in self.letters)

    def unknown(self, handles: Iterable[bytes]) -> Sequence[bytes]:
        """Return those of *handles* that are neither held nor settled, in their order."""
        return [h for h in handles if h not in self._events and h not in self.unacknowledged]

    def add(self, event: StoredEvent) -> None:
        """Hold one more event, which waits behind the others."""
        self._events[event.handle] = event
        self._waiting.append(event)
        self.pending += 1
        self.pending_bytes += event.size

    def oldest(self) -> StoredEvent | None:
        """Return the event that has waited longest, or None."""
        return self._waiting[0] if self._waiting else None

    def lease(self, max_events: int, max_bytes: int, event_bytes: int) -> Sequence[StoredEvent]:
        """Lease the events that have waited longest, as `EventStore.lease` says."""
        leased: list[StoredEvent] = []
        room = max_bytes
        while self._waiting and len(leased) < max_events:
            room -= self._waiting[0].size + event_bytes
            if leased and room < 0:
                break
            leased.append(self._waiting.popleft())
        self._count_as_leased(len(leased), size_of(leased))
        return leased

    def release(self, event: StoredEvent) -> None:
        """Put a leased *event* back in front."""
        self._waiting.appendleft(event)
        self._count_as_leased(-1, -event.size)

    def _count_as_leased(self, count: int, size: int) -> None:
        self.pending -= count
        self.pending_bytes -= size
        self.leased += count
        self.leased_bytes += size

    def settle(self, event: StoredEvent, dead_letter: bytes | None) -> None:
        """Hold a leased *event* no more; it is counted as leased until `count_out`."""
        del self._events[event.handle]
        self.unacknowledged[event.handle] = dead_letter

    def count_out(self, events: Sequence[StoredEvent]) -> None:
        """Count settled *events* as leased no more."""
        self.leased -= len(events)
        self.leased_bytes -= size_of(events)

    def forget(self, is_gone: Callable[[StoredEvent], bool]) -> int:
        """Hold waiting events no more for which *is_gone* is true: others have them. Return how many."""
        gone = [event for event in self._waiting if is_gone(event)]
        if gone:
            for event in gone:
                del self._events[event.handle]
            self._waiting = deque(event for event in self._waiting if event.handle in self._events)
            self.pending -= len(gone)
            self.pending_bytes -= size_of(gone)
        return len(gone)

    def leased_handles(self) -> Sequence[bytes]:
        """Return the handles of the leased events."""
        waiting = {event.handle for event in self._waiting}
        return [handle for handle in self._events if handle not in waiting]
