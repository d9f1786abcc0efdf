"""
The collector: it refuses a request, or hands it on whole, in parts, or not at all.

It looks at routes and sizes only. The content is judged later, after the sender
got its 200 (docs/explanation/protocol.md, "The collector: requests, sizes and
answers").
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from snowplow_aio.iglu.json_text import JSONObject, JSONValue, NotIgluError, self_describing
from snowplow_aio.micro.querystring import parse_query
from snowplow_aio.model.atomic import MAX_RECORD_BYTES
from snowplow_aio.model.cookies import read_cookies

# The defaults of the real collector.
MAX_REQUEST_LINE_BYTES = 20_480
MAX_HEADERS_BYTES = 40_960
MAX_BODY_BYTES = 2_097_152
# A larger record is not even split.
MAX_SPLIT_BYTES = 1_048_576

# The size of the serialised record beside body, query and headers.
_RECORD_FRAME_BYTES = 350
_HEADER_FRAME_BYTES = 8
# The size of a record with a part of a body beside its events.
_SPLIT_FRAME_BYTES = 100

ANONYMOUS_USER_ID = "00000000-0000-0000-0000-000000000000"
_IDENTIFYING_HEADERS = frozenset({"x-forwarded-for", "x-real-ip", "cookie"})

SNOWPLOW = "com.snowplowanalytics.snowplow"
_PIXEL_PATHS = frozenset({"i", "ice.png"})
_EVENT_METHODS = frozenset({"GET", "HEAD", "POST"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorRequest:
    """
    A request as it arrived.

    Args:
        query: The raw text behind the question mark.

        headers: Names and values in order.

        body: None for a method without one.

        peer: The address at the other end of the connection.

        received: The time of arrival, in UTC.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    peer: str
    received: dt.datetime

    def header(self, name: str) -> str | None:
        """Return the value of the last header *name*, which is in lower case."""
        return next((value for key, value in reversed(self.headers) if key.lower() == name), None)

    @property
    def is_anonymous(self) -> bool:
        """Whether the sender asks, by a header SP-Anonymous, that no identity is stored."""
        return self.header("sp-anonymous") is not None

    @property
    def cookie(self) -> str | None:
        """The network user id in the ``sp`` cookie."""
        return read_cookies(self.header("cookie") or "").get("sp")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorPayload:
    """
    A request in the form that the collector hands on.

    Args:
        version: The second part of the path, for trackers ``tp2``.

        content_type: None for a GET.

        body: None for a GET.

        headers: Each as ``Name: value``.

        user_id: The network user id: of the query string or the cookie, or a new one.
    """

    vendor: str
    version: str
    query: str
    content_type: str | None
    body: str | None
    headers: tuple[str, ...]
    timestamp: dt.datetime
    ip_address: str
    useragent: str | None
    referer: str | None
    hostname: str | None
    user_id: str


@dataclass(frozen=True, slots=True)
class Oversize:
    """
    A request, or a part of one, that is too large for the sink.

    Args:
        payload: The request.

        content: The content that is lost.

        size_bytes: The size of that content.

        expectation: The rule that it breaks.
    """

    payload: CollectorPayload
    content: str
    size_bytes: int
    expectation: str


@dataclass(frozen=True, slots=True)
class Collected:
    """The parts of an accepted request: those that reach enrich, and those that are lost."""

    payloads: list[CollectorPayload] = field(default_factory=list)
    oversizes: list[Oversize] = field(default_factory=list)


def refusal(request: CollectorRequest) -> int | None:
    """Return the status with which the collector refuses *request*; None when it accepts it."""
    target = f"{request.path}?{request.query}" if request.query else request.path
    if len(f"{request.method} {target} HTTP/1.1") > MAX_REQUEST_LINE_BYTES:
        return 400
    if sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers) > MAX_HEADERS_BYTES:
        return 400
    if request.body is not None and len(request.body) > MAX_BODY_BYTES:
        return 413
    return None if _is_event_route(request.method, request.path) else 404


def _is_event_route(method: str, path: str) -> bool:
    match path.split("/")[1:]:
        case [name]:
            return name in _PIXEL_PATHS and method in {"GET", "HEAD"}
        case [vendor, version]:
            # The paths /r/… are redirects, which are off by default.
            return bool(version) and vendor not in {"", "r"} and method in _EVENT_METHODS
        case _:
            return False


def network_user_id(request: CollectorRequest) -> str | None:
    """Return the network user id in *request*: that of the query string, else that of the cookie."""
    if request.is_anonymous:
        return ANONYMOUS_USER_ID
    try:
        given = dict(parse_query(request.query)).get("nuid")
    except ValueError:
        given = None
    return request.cookie if given is None else given


def payload_of(request: CollectorRequest, *, user_id: str) -> CollectorPayload:
    """Return *request* in the form that the collector hands on, with the network user id *user_id*."""
    segments = request.path.split("/")[1:]
    vendor, version = segments if len(segments) == 2 else (SNOWPLOW, "tp1")
    anonymous = request.is_anonymous
    content_type = request.header("content-type")
    headers = [
        f"{name}: {value}"
        for name, value in request.headers
        if not (anonymous and name.lower() in _IDENTIFYING_HEADERS)
    ]
    return CollectorPayload(
        vendor=vendor,
        version=version,
        query=request.query,
        content_type=content_type.lower() if content_type and request.body is not None else None,
        body=None if request.body is None else request.body.decode("utf-8", "replace"),
        headers=(*headers, content_type.lower()) if content_type else tuple(headers),
        timestamp=request.received,
        ip_address="unknown" if anonymous else _visitor(request),
        useragent=request.header("user-agent"),
        referer=request.header("referer"),
        hostname=request.header("host"),
        user_id=user_id,
    )


def _visitor(request: CollectorRequest) -> str:
    forwarded = (request.header("x-forwarded-for") or "").split(",")[0].strip()
    return forwarded or request.peer


def collect(request: CollectorRequest, *, user_id: str) -> Collected:
    """
    Return the parts of an accepted *request* that reach enrich, and those that are lost.

    A record of 1,000,000 bytes or more is split by its events. A record that
    cannot be split and an event that is too large alone are lost, although the
    sender gets a 200.
    """
    payload = payload_of(request, user_id=user_id)
    body = request.body or b""
    overhead = _overhead(request)
    size = len(body) + overhead
    if size < MAX_RECORD_BYTES:
        return Collected([payload])
    if size > MAX_SPLIT_BYTES:
        return _lost(payload, size, f"a request must have at most {MAX_SPLIT_BYTES} bytes")
    try:
        schema, events = _events(payload.body)
    except ValueError as error:
        rule = f"a request of {MAX_RECORD_BYTES} bytes or more must be a list of events to be split: {error}"
        return _lost(payload, size, rule)
    return _split(payload, schema, events, MAX_RECORD_BYTES - overhead - _SPLIT_FRAME_BYTES)


def _overhead(request: CollectorRequest) -> int:
    headers = sum(len(name) + len(value) + _HEADER_FRAME_BYTES for name, value in request.headers)
    return len(request.query) + headers + _RECORD_FRAME_BYTES


def _lost(payload: CollectorPayload, size_bytes: int, expectation: str) -> Collected:
    content = payload.query if payload.body is None else payload.body
    return Collected(oversizes=[Oversize(payload, content, size_bytes, expectation)])


def _events(body: str | None) -> tuple[str, list[JSONValue]]:
    if body is None:
        raise ValueError("a GET has one event")
    try:
        document = json.loads(body)
        schema, events = self_describing(document)
    except (NotIgluError, RecursionError) as error:
        raise ValueError(f"the body is not self-describing JSON ({error})") from None
    if not isinstance(events, list):
        raise ValueError("the body's data is no list")  # noqa: TRY004 - the text has the wrong content
    return str(schema), events


def _split(payload: CollectorPayload, schema: str, events: list[JSONValue], room: int) -> Collected:
    collected = Collected()
    sizes = [len(_compact(event).encode("utf-8", "replace")) + 1 for event in events]
    for event, size in zip(events, sizes, strict=True):
        if size > room:
            rule = f"an event must have less than {MAX_RECORD_BYTES} bytes with the request around it"
            collected.oversizes.append(Oversize(payload, _compact(event), size, rule))
    fitting = [(event, size) for event, size in zip(events, sizes, strict=True) if size <= room]
    for part in _parts(fitting, room):
        document: JSONObject = {"schema": schema, "data": part}
        collected.payloads.append(replace(payload, body=_compact(document)))
    return collected


def _parts(events: list[tuple[JSONValue, int]], room: int) -> Iterator[list[JSONValue]]:
    part: list[JSONValue] = []
    total = 0
    for event, size in events:
        if part and total + size > room:
            yield part
            part, total = [], 0
        part.append(event)
        total += size
    if part:
        yield part


def _compact(value: JSONValue) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
