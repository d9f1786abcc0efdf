"""Compares the events that arrived with the events that were tracked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from snowplow_aio.demo.visitors import Visit
from snowplow_aio.micro.describe import error_messages
from snowplow_aio.model.schema_key import SchemaKey

METHODS = ("POST", "GET")

# Names for events that the collector refused. The pipeline names the others.
_EVENT_TYPES = {
    "pv": "page_view",
    "pp": "page_ping",
    "se": "struct",
    "ue": "self-describing",
    "tr": "transaction",
    "ti": "transaction_item",
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """
    An event at the collector.

    Args:
        method: ``POST`` or ``GET``.

        event_id: The id of the event; None if the request could not be read.

        problem: The reason why it is invalid; None if it is valid.
    """

    method: str
    event_id: str | None
    event: str = ""
    user: str | None = None
    page: str | None = None
    contexts: Sequence[str] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    The result for one tracked event and one method.

    Args:
        word: ``valid``, or another word for the table.

        why: The reason as a text; None if the event is valid.
    """

    word: str
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A tracked event with its result for each method."""

    visit: Visit
    event_id: str
    arrival: Arrival | None
    verdicts: Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Report:
    """
    The comparison of all tracked events with all that arrived.

    Args:
        rows: The tracked events.

        arrived: The number of events that arrived by each method.

        problems: Everything that is wrong, each as one sentence.
    """

    rows: Sequence[Row]
    arrived: Mapping[str, int] = field(default_factory=dict[str, int])
    problems: Sequence[str] = ()

    @property
    def valid(self) -> int:
        """The number of tracked events that arrived exactly once by each method and are valid."""
        return sum(all(verdict.why is None for verdict in row.verdicts.values()) for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 if there were events and no problems, else 1."""
        return 0 if self.rows and not self.problems else 1


def compare(visits: Sequence[Visit], records: Iterable[Mapping[str, Any]]) -> Report:
    """
    Return the report on *visits*.

    Args:
        visits: The requests to the shop.

        records: The events that arrived, in the shape of ``GET /micro/good`` and ``GET /micro/bad``.
    """
    arrivals = [arrival(record) for record in records]
    rows = [_row(visit, event_id, arrivals) for visit in visits for event_id in visit.tracked]
    return Report(
        rows=rows,
        arrived=Counter(arrival.method for arrival in arrivals),
        problems=[
            *_failed(visits),
            *(problem for row in rows for problem in _problems(row)),
            *_unexpected(arrivals, {row.event_id for row in rows}),
        ],
    )


def arrival(record: Mapping[str, Any]) -> Arrival:
    """Return the arrival in the collector's *record*."""
    raw = record["rawEvent"]
    problem = "; ".join(error_messages(record)) if "errors" in record else None
    if raw is None:
        request = record["collectorPayload"]
        # Only a POST that is too large to be read has no payload.
        method = "POST" if request is None else _method(request["api"])
        return Arrival(method, None, problem=problem)
    fields = raw["parameters"]
    return Arrival(
        _method(raw["api"]),
        fields.get("eid"),
        event=_event(record, fields),
        user=fields.get("uid"),
        page=_page(fields["url"]) if "url" in fields else None,
        contexts=[SchemaKey.parse(uri).name for uri in record.get("contexts", ())],
        problem=problem,
    )


def _method(api: Mapping[str, str]) -> str:
    return "GET" if api["version"] == "tp1" else "POST"


def _page(url: str) -> str:
    """Return *url* without its scheme and host."""
    return urlsplit(url)._replace(scheme="", netloc="").geturl()


def _event(record: Mapping[str, Any], fields: Mapping[str, str]) -> str:
    if record.get("eventType", "unstruct") != "unstruct":
        return str(record["eventType"])
    if record.get("schema"):
        return SchemaKey.parse(record["schema"]).name
    return _EVENT_TYPES.get(fields.get("e", ""), "unknown")


def _row(visit: Visit, event_id: str, arrivals: Sequence[Arrival]) -> Row:
    own = [arrival for arrival in arrivals if arrival.event_id == event_id]
    # A valid arrival has more to show.
    shown = min(own, key=lambda arrival: arrival.problem is not None, default=None)
    by_method = {method: [arrival for arrival in own if arrival.method == method] for method in METHODS}
    return Row(
        visit, event_id, shown, {method: verdict(found, visit.user) for method, found in by_method.items()}
    )


def verdict(arrivals: Sequence[Arrival], user: str | None) -> Verdict:
    """
    Return the result for an event.

    Args:
        arrivals: The arrivals of the event by one method.

        user: The user that the event should have.
    """
    problems = [arrival.problem for arrival in arrivals if arrival.problem is not None]
    if not arrivals:
        return Verdict("missing", "did not arrive")
    if problems:
        return Verdict("invalid", f"is invalid: {problems[0]}")
    if len(arrivals) > 1:
        return Verdict(f"{len(arrivals)} times", f"arrived {len(arrivals)} times")
    if arrivals[0].user != user:
        return Verdict("mixed up", f"is about the user {arrivals[0].user}, not {user}")
    return Verdict("valid")


def _problems(row: Row) -> Iterator[str]:
    event = row.arrival.event if row.arrival is not None else "event"
    for method, found in row.verdicts.items():
        if found.why is not None:
            origin = f"{row.visit.visitor}, {row.visit.request}"
            yield f"{event} {row.event_id} ({origin}) by {method}: {found.why}"


def _failed(visits: Iterable[Visit]) -> Iterator[str]:
    for visit in visits:
        if visit.failure is not None:
            yield f"{visit.visitor}, {visit.request}: the shop {visit.failure}"
        elif not visit.tracked:
            yield f"{visit.visitor}, {visit.request}: the shop tracked nothing"


def _unexpected(arrivals: Iterable[Arrival], tracked: set[str]) -> Iterator[str]:
    for arrived in arrivals:
        if arrived.event_id is None:
            yield f"a request by {arrived.method} without events that can be read: {arrived.problem}"
        elif arrived.event_id not in tracked:
            yield f"{arrived.event} {arrived.event_id} by {arrived.method}: arrived, but nobody tracked it"
