"""
The records of all events that have arrived, and the filters of the REST API.

See docs/explanation/protocol.md, "Snowplow Micro's REST API".
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from snowplow_aio.iglu.json_text import JSONObject, JSONValue
from snowplow_aio.micro.records import Record


@dataclass(frozen=True, slots=True)
class GoodFilter:
    """A choice of good events. A part that is None takes all."""

    event_type: str | None = None
    schema: str | None = None
    contexts: tuple[str, ...] = ()
    limit: int | None = None

    def takes(self, record: JSONObject) -> bool:
        """Return whether *record* has the type, the schema and all the contexts."""
        return (
            self.event_type in {None, record["eventType"]}
            and self.schema in {None, record["schema"]}
            and set(self.contexts) <= set(record["contexts"])
        )


@dataclass(frozen=True, slots=True)
class BadFilter:
    """A choice of bad events by the path of their request. A part that is None takes all."""

    vendor: str | None = None
    version: str | None = None
    limit: int | None = None

    def takes(self, record: JSONObject) -> bool:
        """Return whether *record* came by that path. A record without its request always passes."""
        if record["collectorPayload"] is None:
            return True
        api = record["collectorPayload"]["api"]
        return self.vendor in {None, api["vendor"]} and self.version in {None, api["version"]}


class Storage:
    """
    The newest records since the start or the last reset, in the order of arrival.

    Args:
        capacity: The most records.

        capacity_bytes: The most memory for them, in bytes. The newest record always stays.
    """

    def __init__(self, *, capacity: int, capacity_bytes: int) -> None:
        self.good: deque[JSONObject] = deque()
        self.bad: deque[JSONObject] = deque()
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self.clear()

    def clear(self) -> None:
        """Remove all records, and count from zero."""
        self.good.clear()
        self.bad.clear()
        # In the order of arrival: whether a record is good, and its size.
        self._kept: deque[tuple[bool, int]] = deque()
        self._kept_bytes = 0
        self._arrived = {True: 0, False: 0}

    def add(self, records: Iterable[Record]) -> None:
        """Add *records*. If there is no room for all, the oldest are removed."""
        for record in records:
            self._of(record.is_good).append(record.json)
            self._arrived[record.is_good] += 1
            size = bytes_of(record.json)
            self._kept.append((record.is_good, size))
            self._kept_bytes += size
        while len(self._kept) > 1 and (
            len(self._kept) > self._capacity or self._kept_bytes > self._capacity_bytes
        ):
            is_good, size = self._kept.popleft()
            self._of(is_good).popleft()
            self._kept_bytes -= size

    def _of(self, is_good: bool) -> deque[JSONObject]:  # noqa: FBT001 - the only argument
        return self.good if is_good else self.bad

    def counts(self) -> dict[str, int]:
        """Return the numbers of events that have arrived, and of those that had to be removed."""
        good, bad = self._arrived[True], self._arrived[False]
        removed = good + bad - len(self._kept)
        counts = {"total": good + bad, "good": good, "bad": bad}
        return counts | {"removed": removed} if removed else counts

    def newest_good(self, wanted: GoodFilter) -> list[JSONObject]:
        """Return the *wanted* good events, newest first."""
        return list(islice(filter(wanted.takes, reversed(self.good)), wanted.limit))

    def newest_bad(self, wanted: BadFilter) -> list[JSONObject]:
        """Return the *wanted* bad events, newest first."""
        return list(islice(filter(wanted.takes, reversed(self.bad)), wanted.limit))


def bytes_of(value: JSONValue) -> int:
    """
    Return the memory that *value* takes, in bytes, about.

    What several records share counts for each of them, because each answer has it as often.
    """
    size = sys.getsizeof(value)
    match value:
        case dict():
            # The names are mostly the same objects in all records.
            return size + sum(map(bytes_of, value.values()))
        case list() | tuple():
            return size + sum(map(bytes_of, value))
        case _:
            return size
