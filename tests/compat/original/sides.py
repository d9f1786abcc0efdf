"""The two libraries: each makes the same call, and says what arrived of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from snowplow_tracker.emitters import Emitter, logger
from snowplow_tracker.event_store import InMemoryEventStore
from snowplow_tracker.self_describing_json import SelfDescribingJson
from snowplow_tracker.subject import Subject
from snowplow_tracker.tracker import Tracker

import snowplow_aio as ours
import snowplow_aio.sync as blocking
from snowplow_aio.iglu.registries import Registries
from snowplow_aio.micro.collector import CollectorRequest
from snowplow_aio.micro.pipeline import process
from snowplow_aio.micro.records import Record
from tests.collector import Collector, Request, collector_in_a_thread
from tests.compat.original.calls import METHODS, Call, Fields, Json
from tests.compat.original.wire import Event, events_of

HttpMethod = Literal["get", "post"]
Face = Literal["async", "blocking"]

PUBLIC_SCHEMAS = Registries()

# Where 1.1.0 has another name for an argument.
THEIR_NAMES = {
    ("track_mobile_screen_view", "type_"): "type",
    ("track_ecommerce_transaction_item", "id_"): "order_id",
}


@dataclass(frozen=True)
class Outcome:
    """What became of a call: the requests that arrived, and why it was refused."""

    requests: Sequence[Request]
    refusal: Exception | None = None
    event_id: str | None = None

    @property
    def events(self) -> list[Event]:
        """The events that arrived, in their order."""
        return [event for request in self.requests for event in events_of(request)]

    def verdicts(self) -> list[bool]:
        """Return for each event whether the pipeline takes it."""
        records = [record for request in self.requests for record in _processed(request)]
        return [record.is_good for record in records]


def _arrived(collector: Collector) -> list[Request]:
    """Return what has arrived since the last time, in its order."""
    requests, collector.requests = collector.requests, []
    return requests


def _processed(request: Request) -> list[Record]:
    address, content_type = urlsplit(request.target), request.headers.get("content-type")
    told = CollectorRequest(
        method=request.method,
        path=address.path,
        query=address.query,
        headers=(("Content-Type", content_type),) if content_type else (),
        body=request.body or None,
        peer="127.0.0.1",
        received=datetime.now(UTC),
    )
    return process(told, PUBLIC_SCHEMAS, user_id=str(uuid4()), new_id=lambda: str(uuid4()))


def _arguments(call: Call, make_json: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Return a copy of what is given: 1.1.0 writes into its arguments."""
    values = {**call.arguments, "context": call.context}
    copied: dict[str, Any] = _converted(values, make_json)
    return copied


def _converted(value: Any, make_json: Callable[[str, Any], Any]) -> Any:
    if isinstance(value, Json):
        return make_json(value.schema, value.data)
    if isinstance(value, dict):
        return {key: _converted(inner, make_json) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_converted(inner, make_json) for inner in value)
    return value


def _positional(call: Call, values: dict[str, Any]) -> list[Any]:
    """Take the arguments that have a documented position out of *values*, in their order."""
    if not call.by_position:
        return []
    return [values.pop(name, None) for name in (*METHODS[call.method].names, "context", "tstamp")]


def _told(subject: Any, fields: Fields) -> Any:
    for name, values in fields.items():
        assert getattr(subject, f"set_{name}")(*values) is subject
    return subject


class TheOriginal:
    """snowplow-tracker 1.1.0."""

    def __init__(self, collector: Collector, method: HttpMethod) -> None:
        # It has made itself talk.
        logger.setLevel(logging.WARNING)
        self._collector = collector
        self._store = InMemoryEventStore(logging.getLogger(__name__))
        self._emitter = Emitter(
            "127.0.0.1",
            protocol="http",
            port=urlsplit(collector.url).port,
            method=method,
            # Sent by the flush, all at once.
            batch_size=1000,
            event_store=self._store,
        )

    def make(self, call: Call) -> Outcome:
        """Make *call*, and wait for what arrives."""
        refusal = None
        try:
            self._track(call)
        except (ValueError, OverflowError) as error:
            refusal = error
        self._emitter.sync_flush()
        assert self._store.size() == 0, "the collector did not take it"
        return Outcome(_arrived(self._collector), refusal)

    def _track(self, call: Call) -> None:
        subject = call.tracker_subject
        tracker = Tracker(
            call.namespace,
            self._emitter,
            subject=None if subject is None else _told(Subject(), subject),
            app_id=call.app_id,
            encode_base64=call.encode_base64,
        )
        values = _arguments(call, SelfDescribingJson)
        values["tstamp"] = call.when.milliseconds
        if call.subject is not None:
            values["event_subject"] = _told(Subject(), call.subject)
        positional = _positional(call, values)
        named = {THEIR_NAMES.get((call.method, name), name): value for name, value in values.items()}
        getattr(tracker, call.method)(*positional, **named)


class Ours:
    """This library: its async tracker, whose calls *run* has a loop for."""

    def __init__(self, collector: Collector, method: HttpMethod, run: Callable[[Any], Any]) -> None:
        self._collector = collector
        # One connection, so that events arrive in their order.
        self._emitter = ours.HttpEmitter(collector.url, method=method, max_connections=1)
        self._run = run

    def make(self, call: Call) -> Outcome:
        """Make *call*, and wait for what arrives."""
        event_id = refusal = None
        try:
            event_id = self._track(call)
        except ValueError as error:
            refusal = error
        result = self._flush()
        outcome = Outcome(_arrived(self._collector), refusal, event_id)
        assert (result.delivered, result.pending) == (len(outcome.events), 0), result
        return outcome

    def _track(self, call: Call) -> str | None:
        tracker = ours.Tracker(self._emitter, **_options(call))
        positional, named = _our_arguments(call)

        async def track() -> str:
            event_id: str = await getattr(tracker, call.method)(*positional, **named)
            return event_id

        event_id: str = self._run(track())
        return event_id

    def _flush(self) -> ours.FlushResult:
        result: ours.FlushResult = self._run(self._emitter.flush())
        return result

    def close(self) -> None:
        """Close the connection."""
        self._run(self._emitter.aclose())


class OursBlocking(Ours):
    """Its tracker for programs without a loop, which has a thread of its own."""

    def __init__(self, collector: Collector, method: HttpMethod, run: Callable[[Any], Any]) -> None:
        super().__init__(collector, method, run)
        self._first = blocking.Tracker(self._emitter)

    def _track(self, call: Call) -> str | None:
        tracker = blocking.Tracker(self._emitter, **_options(call))
        positional, named = _our_arguments(call)
        assert getattr(tracker, call.method)(*positional, **named) is tracker
        return None

    def _flush(self) -> ours.FlushResult:
        return self._first.flush()

    def close(self) -> None:
        """Close the connection, and end the thread."""
        self._first.close()


def _options(call: Call) -> dict[str, Any]:
    """Return what a tracker of ours is made with."""
    subject = call.tracker_subject
    return {
        "namespace": call.namespace,
        "app_id": call.app_id,
        "subject": None if subject is None else _told(ours.Subject(), subject),
        "encode_base64": call.encode_base64,
    }


def _our_arguments(call: Call) -> tuple[list[Any], dict[str, Any]]:
    """Return what a method of a tracker of ours is given, by position and by name."""
    values = _arguments(call, ours.SelfDescribingJson)
    values |= _time(call)
    if call.subject is not None:
        values["subject"] = _told(ours.Subject(), call.subject)
    return _positional(call, values), values


def _time(call: Call) -> Mapping[str, Any]:
    milliseconds = call.when.milliseconds
    if milliseconds is None:
        return {}
    if call.when.how == "TrueTimestamp":
        return {"tstamp": ours.TrueTimestamp(milliseconds)}
    return {call.when.how: milliseconds}


class Both:
    """
    The two beside each other.

    Attributes:
        method: How both send.

        face: Which tracker of ours it is.
    """

    def __init__(self, method: HttpMethod, face: Face, original: TheOriginal, ours: Ours) -> None:
        self.method: HttpMethod = method
        self.face: Face = face
        self._original = original
        self._ours = ours

    def make(self, call: Call) -> tuple[Outcome, Outcome]:
        """Return what became of *call* with the original, and here."""
        return self._original.make(call), self._ours.make(call)


@contextmanager
def both_by(method: HttpMethod, face: Face) -> Generator[Both]:
    """Have both send to one collector, by *method*."""
    with (
        pytest.MonkeyPatch.context() as patch,
        collector_in_a_thread() as collector,
        asyncio.Runner() as runner,
    ):
        # The original's client asks the environment for a proxy.
        patch.setenv("NO_PROXY", "127.0.0.1")
        ours = (Ours if face == "async" else OursBlocking)(collector, method, runner.run)
        try:
            yield Both(method, face, TheOriginal(collector, method), ours)
        finally:
            ours.close()
