"""
The records of all events that have arrived, and the filters of the REST API.

See docs/explanation/protocol.md, "Snowplow Micro's REST API".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from snowplow_aio.iglu.json_text import JSONObject
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


@dataclass(slots=True)
class Storage:
    """All records since the start or the last reset, in the order of arrival."""

    good: list[JSONObject] = field(default_factory=list)
    bad: list[JSONObject] = field(default_factory=list)

    def add(self, records: Iterable[Record]) -> None:
        """Add *records*."""
        for record in records:
            (self.good if record.is_good else self.bad).append(record.json)

    def counts(self) -> dict[str, int]:
        """Return the numbers of events."""
        return {"total": len(self.good) + len(self.bad), "good": len(self.good), "bad": len(self.bad)}

    def clear(self) -> None:
        """Remove all records."""
        self.good.clear()
        self.bad.clear()

    def newest_good(self, wanted: GoodFilter) -> list[JSONObject]:
        """Return the *wanted* good events, newest first."""
        return list(islice(filter(wanted.takes, reversed(self.good)), wanted.limit))

    def newest_bad(self, wanted: BadFilter) -> list[JSONObject]:
        """Return the *wanted* bad events, newest first."""
        return list(islice(filter(wanted.takes, reversed(self.bad)), wanted.limit))
