"""Leased events on their way: in which parts they are sent, and which of them are settled."""

from __future__ import annotations

import random
from collections.abc import Sequence

from snowplow_aio.abc import Response
from snowplow_aio.model.stored_event import StoredEvent


def split(entries: Sequence[StoredEvent]) -> tuple[Sequence[StoredEvent], Sequence[StoredEvent]]:
    """Return the two halves of *entries*, of which there are at least two."""
    middle = len(entries) // 2
    return entries[:middle], entries[middle:]


class Batch:
    """
    Events of one lease, sent as a whole until a refusal asks for parts.

    Args:
        entries: The events, at least one.

    Attributes:
        is_proven: Whether the destination has taken some of them, so that what
            it refuses is the fault of the event.

        suspects: Events that were refused alone before that was known, and how.
    """

    def __init__(self, entries: Sequence[StoredEvent]) -> None:
        self._entries = entries
        # A stack: the next part is the last.
        self._parts: list[Sequence[StoredEvent]] = [entries]
        self.is_proven: bool = False
        self.suspects: list[tuple[StoredEvent, Response]] = []
        self._doubts = 0

    def part(self) -> Sequence[StoredEvent]:
        """Return what is to be sent next; an empty sequence when nothing is left."""
        return self._parts[-1] if self._parts else ()

    def split(self) -> None:
        """Have the next part sent as two."""
        first, second = split(self._parts.pop())
        self._parts += [second, first]

    def single_out(self, count: int) -> None:
        """
        Have *count* events of the next part, if it has so many, sent alone before the rest.

        They are chosen at random: the same poison event would say every time
        that nothing can be delivered.
        """
        entries = self._parts.pop()
        chosen = random.sample(entries, min(count, len(entries)))
        rest = [entry for entry in entries if entry not in chosen]
        self._parts += [rest] if rest else []
        self._parts += [[entry] for entry in chosen]

    def doubt(self, response: Response) -> int:
        """
        Take in that the next part, a single event, was refused with *response*; return how many were.

        It is put aside until the destination has taken another. Where there is no other it stays.
        """
        if len(self._parts) > 1:
            (entry,) = self._parts.pop()
            self.suspects.append((entry, response))
        self._doubts += 1
        return self._doubts

    def settle(self) -> None:
        """Have the next part settled."""
        self._parts.pop()

    def unsettled(self) -> Sequence[StoredEvent]:
        """Return what is not settled yet, in its order."""
        if not self._parts and not self.suspects:
            return ()
        left = {id(entry) for part in self._parts for entry in part}
        left |= {id(entry) for entry, _ in self.suspects}
        return [entry for entry in self._entries if id(entry) in left]
