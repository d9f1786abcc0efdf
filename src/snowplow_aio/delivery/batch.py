"""Leased events on their way: the parts in which they are sent, and which of them are settled."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from snowplow_aio.abc import Response
from snowplow_aio.delivery.verdict import BatchState
from snowplow_aio.model.stored_event import StoredEvent


class Batch:
    """
    The events of one lease, sent as a whole until a refusal asks for parts.

    Args:
        events: The events, at least one.

    Attributes:
        is_proven: Whether the destination has taken an event of the batch, so
            that a refusal is the fault of the refused event.

        suspects: Events that were refused alone before that was known, each with the answer.
    """

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self._events = events
        # A stack: the next part is the last one.
        self._parts: list[Sequence[StoredEvent]] = [events]
        self._trials = 0
        self.is_proven: bool = False
        self.suspects: list[tuple[StoredEvent, Response]] = []

    def next_part(self) -> Sequence[StoredEvent]:
        """Return the events of the next request; an empty sequence when nothing is left to send."""
        return self._parts[-1] if self._parts else ()

    def put_first(self, is_wanted: Callable[[StoredEvent], bool]) -> Sequence[StoredEvent]:
        """Make a part of the events for which *is_wanted* is true, before the rest; return its events."""
        part = self.next_part()
        wanted = [event for event in part if is_wanted(event)]
        if wanted:
            rest = [event for event in part if not is_wanted(event)]
            self._parts[-1:] = [rest, wanted] if rest else [wanted]
        return wanted

    def state(self) -> BatchState:
        """Return the batch's state as a value; there is a next part."""
        return BatchState(
            part_size=len(self._parts[-1]),
            has_other_parts=len(self._parts) > 1,
            trials=self._trials,
            is_proven=self.is_proven,
        )

    def split(self) -> None:
        """Have the next part, of at least two events, sent as two."""
        part = self._parts.pop()
        middle = len(part) // 2
        self._parts += [part[middle:], part[:middle]]

    def isolate(self, count: int) -> None:
        """
        Have up to *count* events of the next part sent alone, before the rest of it.

        They are chosen at random: otherwise one event that is refused for its
        own fault would say each time that nothing can be delivered.
        """
        part = self._parts.pop()
        chosen = random.sample(part, min(count, len(part)))
        rest = [event for event in part if event not in chosen]
        self._parts += [rest] if rest else []
        self._parts += [[event] for event in chosen]

    def set_aside(self, response: Response) -> None:
        """Make the next part, a single event that was refused with *response*, a suspect."""
        (event,) = self._parts.pop()
        self.suspects.append((event, response))
        self._trials += 1

    def try_again(self) -> None:
        """Keep the next part, a single event that was refused, as the next part."""
        self._trials += 1

    def settle(self) -> None:
        """Remove the next part: its events are settled."""
        self._parts.pop()

    def unsettled(self) -> Sequence[StoredEvent]:
        """Return the events that are not settled yet, in their order."""
        if not self._parts and not self.suspects:
            return ()
        left = {id(event) for part in self._parts for event in part}
        left |= {id(event) for event, _ in self.suspects}
        return [event for event in self._events if id(event) in left]
