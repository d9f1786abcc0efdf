"""
The verdict of a Snowplow pipeline on recorded requests.

A recorded request is a JSON object::

    {"method": "POST", "path": "/com.snowplowanalytics.snowplow/tp2",
     "query": "aid=x", "headers": {"Content-Type": "application/json"}, "body": "{...}"}

``query`` is raw, or a mapping; ``path`` may have a query of its own; ``headers``
is a mapping or a list of pairs; ``body`` is text, or ``body_b64`` has its bytes.

A failure at one stage stops the later ones, as in the pipeline:

* ``http``: the collector's answer, and size violations
* ``collector_payload``: query string and path, as enrich's loader reads them
* ``adapter``, ``tracker_protocol``: content type, JSON, the schema of payload_data;
  all events of a POST share their fate here
* ``schema``: conversions of fields, envelopes, self-describing JSON
* ``enrichment``: addresses, and the schema of the event's type
* ``atomic``: lengths of fields

Written from the behaviour of enrich 6.10.0, stream-collector 3.4.0 and
iglu-scala-client; no code is copied.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.conformance.addresses import parse_query
from tests.conformance.enriched import Enriched
from tests.conformance.json_schema import (
    Registry,
    SchemaNotFoundError,
    is_too_deep,
    parse_json,
    split_self_describing,
)
from tests.conformance.protocol import (
    ATOMIC_LIMITS,
    CONTENT_TYPES,
    DROP_PAYLOAD,
    MAX_HEADERS,
    MAX_JSON_DEPTH,
    MAX_PAYLOAD,
    MAX_REQUEST_LINE,
    SINK_MAX_BYTES,
    ForbiddenError,
    utf16_length,
)

_SNOWPLOW = "com.snowplowanalytics.snowplow"
_PAYLOAD_DATA = re.compile(r"iglu:com\.snowplowanalytics\.snowplow/payload_data/jsonschema/1-0-\d+\Z")
_JAVA_UUID = re.compile(r"[0-9a-fA-F]{1,8}(?:-[0-9a-fA-F]{1,4}){3}-[0-9a-fA-F]{1,12}\Z")
_EVENT_METHODS = ("GET", "HEAD", "POST")

# A record has about 350 bytes beside body, query and headers; a part of a split one a few more.
_RECORD_FRAME = 350
_SPLIT_FRAME = 100

Parameters = dict[str, str | None]


@dataclass(kw_only=True)
class Verdict:
    """
    The verdict on one event, or on a request whose events could not be read.

    Args:
        index: The event's place in the request; None for a whole request.

        stage: The stage that loses it; None for a valid event.

        status: The collector's answer.

        events_lost: The number of events in a request that is lost, where it is known.
    """

    request: int
    index: int | None = None
    stage: str | None = None
    status: int = 200
    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    events_lost: int | None = None
    event_id: str | None = None
    event: str | None = None
    schema: str | None = None
    entities: list[str] = field(default_factory=list[str])

    @property
    def is_valid(self) -> bool:
        """Whether the event arrives."""
        return not self.errors


class LostError(Exception):
    """A request is lost with all its events."""

    def __init__(self, stage: str, *errors: str, status: int = 200, events: int | None = None) -> None:
        super().__init__(stage, *errors)
        self.stage = stage
        self.errors = list(errors)
        self.status = status
        self.events = events


class Request:
    """A recorded request."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.method = str(record.get("method", "GET")).upper()
        self.path, _, inline = str(record.get("path", "/")).partition("?")
        query = record.get("query", inline) or inline or ""
        self.query = urlencode(query, doseq=True) if isinstance(query, dict | list) else str(query)
        headers = record.get("headers") or {}
        pairs = headers.items() if isinstance(headers, dict) else headers
        self.pairs = [(str(name), str(value)) for name, value in pairs]
        self.headers = {name.lower(): value for name, value in self.pairs}
        self.body = _body(record)

    @property
    def is_anonymous(self) -> bool:
        """Whether the request has the header SP-Anonymous."""
        return "sp-anonymous" in self.headers

    @property
    def overhead(self) -> int:
        """The bytes of its record in the sink, beside the body."""
        headers = sum(len(name) + len(value) + 8 for name, value in self.pairs)
        return len(self.query) + headers + _RECORD_FRAME

    @property
    def record_size(self) -> int:
        """The bytes of its record in the sink."""
        return len(self.body or b"") + self.overhead


def _body(record: Mapping[str, Any]) -> bytes | None:
    if "body_b64" in record:
        return base64.b64decode(record["body_b64"])
    return None if record.get("body") is None else str(record["body"]).encode()


class Checker:
    """
    Gives verdicts on requests.

    Args:
        registry: The schemas.

        sink: The collector's sink, which decides the largest record.

        paths: The collector's custom paths: the path -> the path that it stands for.

        allow_unknown_schema: Whether a schema that is not in the registry is a warning instead of an error.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        limits: Mapping[str, int] = ATOMIC_LIMITS,
        sink: str = "kinesis",
        paths: Mapping[str, str] | None = None,
        allow_unknown_schema: bool = False,
        depth: int = MAX_JSON_DEPTH,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._sink_max = SINK_MAX_BYTES[sink]
        self._paths = paths or {}
        self._allow_unknown = allow_unknown_schema
        self._depth = depth

    def request(self, number: int, record: Mapping[str, Any]) -> Iterator[Verdict]:
        """Give a verdict for each event of a recorded request, or one for the whole request."""
        request = Request(record)
        warnings: list[str] = []
        try:
            api = self._collect(request)
            warnings += _warnings(request)
            self._check_size(request)
            events = self._events(request, api)
        except LostError as lost:
            yield Verdict(
                request=number,
                stage=lost.stage,
                status=lost.status,
                errors=lost.errors,
                warnings=warnings,
                events_lost=lost.events,
            )
            return
        for index, parameters in enumerate(events):
            verdict = self._judge(parameters, request)
            verdict.request, verdict.index = number, index
            verdict.warnings = warnings + verdict.warnings
            self._check_split(verdict, parameters, request)
            yield verdict

    def _collect(self, request: Request) -> str:
        """Do what the collector does; return vendor and version."""
        query = f"?{request.query}" if request.query else ""
        line = len(f"{request.method} {request.path}{query} HTTP/1.1")
        if line > MAX_REQUEST_LINE:
            raise LostError("http", f"request line of {line} bytes > {MAX_REQUEST_LINE}: 400", status=400)
        if sum(len(name) + len(value) + 4 for name, value in request.pairs) > MAX_HEADERS:
            raise LostError("http", "headers too long: 400", status=400)
        size = len(request.body or b"")
        if size > DROP_PAYLOAD:
            raise LostError("http", f"body of {size} bytes > {DROP_PAYLOAD}: 413", status=413)
        segments = _segments(request)
        if segments is None:
            raise LostError("http", f"no route for {request.method} {request.path}: 404", status=404)
        api = f"{_SNOWPLOW}/tp1" if len(segments) == 1 else "/".join(segments)
        api = self._paths.get(f"/{api}", f"/{api}").strip("/")
        if api.startswith("r/"):
            raise LostError("http", "redirects are disabled by default: 404", status=404)
        return api

    def _check_size(self, request: Request) -> None:
        size = request.record_size
        if size >= self._sink_max and size > MAX_PAYLOAD:
            rule = f"collector payload of ~{size} bytes > {MAX_PAYLOAD}: size violation for the whole request"
            raise LostError("http", rule)

    def _events(self, request: Request, api: str) -> list[Parameters]:
        try:
            query: Parameters = dict(parse_query(request.query))
        except ForbiddenError as error:
            raise LostError("collector_payload", str(error)) from None
        user_id = query.get("nuid")
        if user_id is not None and not request.is_anonymous and not _JAVA_UUID.match(user_id):
            rule = "nuid in the query string is not a UUID: it becomes the collector's networkUserId"
            raise LostError("collector_payload", rule)
        if api not in {f"{_SNOWPLOW}/tp1", f"{_SNOWPLOW}/tp2"}:
            raise LostError("adapter", f"vendor/version {api} is not the tracker protocol")
        if api.endswith("tp2") and request.method == "POST":
            # The query string wins.
            return [{**event, **query} for event in self._posted(request)]
        if not query and api.endswith("tp1"):
            raise LostError("adapter", "empty querystring")
        if not query:
            raise LostError("tracker_protocol", "empty body", "empty querystring")
        return [query]

    def _posted(self, request: Request) -> list[Parameters]:
        document = self._document(request)
        try:
            uri, data = split_self_describing(document)
        except ForbiddenError as error:
            raise LostError("tracker_protocol", f"body: {error}") from None
        if not _PAYLOAD_DATA.match(uri):
            rule = f"body schema {uri} is not payload_data 1-0-*"
            raise LostError("tracker_protocol", rule, events=_count(document))
        try:
            errors = self._registry.errors(uri, data)
        except SchemaNotFoundError:
            rule = f"schema {uri} not found"
            raise LostError("tracker_protocol", rule, events=_count(document)) from None
        if errors:
            version = uri.rsplit("/", 1)[1]
            found = [f"payload_data {version} {error}" for error in errors]
            raise LostError("tracker_protocol", *found, events=_count(document))
        events: list[Parameters] = data
        return events

    def _document(self, request: Request) -> Any:
        content_type = request.headers.get("content-type")
        if content_type is None:
            raise LostError("tracker_protocol", "contentType missing: expected application/json")
        form = re.sub(r"\s*;\s*", "; ", content_type.strip().lower())
        if form.replace("utf8", "utf-8").replace('"', "") not in CONTENT_TYPES:
            rule = f"contentType {content_type!r}: expected one of {', '.join(sorted(CONTENT_TYPES))}"
            raise LostError("tracker_protocol", rule)
        try:
            document = parse_json((request.body or b"").decode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            raise LostError("tracker_protocol", f"body is not JSON: {error}") from None
        if is_too_deep(document, self._depth):
            raise LostError(
                "tracker_protocol", "maximum allowed JSON depth exceeded", events=_count(document)
            )
        return document

    def _judge(self, parameters: Parameters, request: Request) -> Verdict:
        event = Enriched(
            self._registry, self._limits, depth=self._depth, allow_unknown_schema=self._allow_unknown
        )
        event.read(parameters, request.headers, posted=request.method == "POST")
        return Verdict(
            request=0,
            stage=event.stages[0] if event.stages else None,
            errors=event.errors,
            warnings=event.warnings,
            event_id=parameters.get("eid"),
            event=event.fields.get("event"),
            schema=event.schema,
            entities=event.entities,
        )

    def _check_split(self, verdict: Verdict, parameters: Parameters, request: Request) -> None:
        """Add the error of an event that cannot be stored apart from its request."""
        if request.record_size < self._sink_max:
            return
        if request.method == "POST":
            alone = len(json.dumps(parameters, ensure_ascii=False).encode())
            if alone + 1 <= self._sink_max - request.overhead - _SPLIT_FRAME:
                return
            rule = f"event of ~{alone} bytes does not fit one sink record ({self._sink_max}): size violation"
        else:
            rule = "GET requests cannot be split: size violation"
        verdict.stage = "http"
        verdict.errors.insert(0, rule)


def _segments(request: Request) -> list[str] | None:
    """Return the parts of the path, or None when the collector has no such route."""
    segments = request.path.strip("/").split("/")
    if request.path.endswith("/") or "" in segments:
        return None
    match segments:
        case [name]:
            is_route = name in {"i", "ice.png"} and request.method in {"GET", "HEAD"}
        case [_, _]:
            is_route = request.method in _EVENT_METHODS
        case _:
            is_route = False
    return segments if is_route else None


def _count(document: Any) -> int | None:
    is_list = isinstance(document, dict) and isinstance(document.get("data"), list)
    return len(document["data"]) if is_list else None


def _warnings(request: Request) -> Iterator[str]:
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() not in {"", "identity"}:
        yield "Content-Encoding is ignored by the collector; the compressed bytes become the body text"
    if "cookie" in headers:
        yield "a Cookie header was sent: the collector will reuse its sp cookie as network_userid"
    if request.method == "POST" and utf16_length(headers.get("user-agent", "")) > ATOMIC_LIMITS["useragent"]:
        yield "User-Agent header > 1000: events without ua fail the useragent limit"
