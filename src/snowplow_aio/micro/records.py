"""
Good and bad events in the shapes of Snowplow Micro.

See docs/explanation/protocol.md, "Snowplow Micro's REST API".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from snowplow_aio.iglu.json_text import JSONObject, JSONValue
from snowplow_aio.micro.adapter import RawEvent
from snowplow_aio.micro.collector import CollectorPayload, Oversize
from snowplow_aio.micro.enrich import VERSION, Verdict
from snowplow_aio.micro.problems import Problem, Stage
from snowplow_aio.micro.querystring import parse_query
from snowplow_aio.model.atomic import MAX_RECORD_BYTES

_EVENT_FAILED = "Error while validating the event."
_REQUEST_FAILED = "Error while extracting event(s) from collector payload and validating it/them."

# A tenth of the largest record: the part of an oversized request that is shown.
_SHOWN_OF_OVERSIZE = MAX_RECORD_BYTES // 10


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of ``/micro/good`` or ``/micro/bad``."""

    is_good: bool
    json: JSONObject


def record_of(verdict: Verdict) -> Record:
    """Return the record of one event."""
    if verdict.is_good:
        return Record(is_good=True, json=_good_event(verdict))
    payload = verdict.raw.payload
    bad = {
        "collectorPayload": _collector_payload(payload),
        "rawEvent": _raw_event(verdict.raw),
        "errors": [_EVENT_FAILED, *_bad_rows(verdict.problems, payload, _enrichment_payload(verdict))],
    }
    return Record(is_good=False, json=bad)


def record_of_request(payload: CollectorPayload, problems: Sequence[Problem]) -> Record:
    """Return the single record of a request whose events could not be read."""
    readable = problems[0].stage is not Stage.COLLECTOR_PAYLOAD
    content = _collector_payload(payload) if readable else payload.query
    bad = {
        "collectorPayload": content if readable else None,
        "rawEvent": None,
        "errors": [_REQUEST_FAILED, *_bad_rows(problems, payload, content)],
    }
    return Record(is_good=False, json=bad)


def record_of_oversize(oversize: Oversize) -> Record:
    """Return the record of a request, or a part of one, that is too large for the sink."""
    kept = oversize.content[:_SHOWN_OF_OVERSIZE]
    failure = {
        "timestamp": _timestamp(oversize.payload),
        "maximumAllowedSizeBytes": MAX_RECORD_BYTES,
        "actualSizeBytes": oversize.size_bytes,
        "expectation": oversize.expectation,
    }
    shown = _collector_payload(oversize.payload)
    if shown["body"] is not None:
        shown["body"] = kept
    bad = {
        "collectorPayload": shown,
        "rawEvent": None,
        "errors": [_REQUEST_FAILED, _bad_row(Stage.SIZE, failure, kept)],
    }
    return Record(is_good=False, json=bad)


def _good_event(verdict: Verdict) -> JSONObject:
    return {
        "rawEvent": _raw_event(verdict.raw),
        "eventType": verdict.columns["event"],
        "schema": None if verdict.schema is None else str(verdict.schema),
        "contexts": [str(schema) for schema in verdict.contexts],
        "event": verdict.columns,
        "incomplete": False,
    }


def _raw_event(raw: RawEvent) -> JSONObject:
    return {
        "api": _api(raw.payload),
        "parameters": dict(raw.parameters),
        "contentType": raw.payload.content_type,
        "source": _source(raw.payload),
        "context": _context(raw.payload),
    }


def _collector_payload(payload: CollectorPayload) -> JSONObject:
    return {
        "api": _api(payload),
        "querystring": _pairs(payload.query),
        "contentType": payload.content_type,
        "body": payload.body,
        "source": _source(payload),
        "context": _context(payload),
    }


def _pairs(query: str) -> list[str]:
    try:
        return [name if value is None else f"{name}={value}" for name, value in parse_query(query)]
    except ValueError:
        return [query]


def _api(payload: CollectorPayload) -> JSONObject:
    return {"vendor": payload.vendor, "version": payload.version}


def _source(payload: CollectorPayload) -> JSONObject:
    return {"name": VERSION, "encoding": "UTF-8", "hostname": payload.hostname}


def _context(payload: CollectorPayload) -> JSONObject:
    return {
        "timestamp": _timestamp(payload),
        "ipAddress": payload.ip_address,
        "useragent": payload.useragent,
        "refererUri": payload.referer,
        "headers": list(payload.headers),
        "userId": payload.user_id,
    }


def _timestamp(payload: CollectorPayload) -> str:
    return payload.timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _enrichment_payload(verdict: Verdict) -> JSONObject:
    parameters = [{"name": name, "value": value} for name, value in verdict.raw.parameters.items()]
    raw = {**_raw_event(verdict.raw), "parameters": parameters}
    return {"enriched": verdict.columns, "raw": raw}


def _bad_rows(problems: Iterable[Problem], payload: CollectorPayload, content: JSONValue) -> list[str]:
    """Return a bad row for each stage that has *problems*, in the order of the stages."""
    stages = list(Stage)
    ordered = sorted(problems, key=lambda problem: stages.index(problem.stage))
    return [
        _bad_row(stage, _failure(stage, [problem.detail for problem in group], payload), content)
        for stage, group in groupby(ordered, key=attrgetter("stage"))
    ]


def _failure(stage: Stage, messages: list[JSONObject], payload: CollectorPayload) -> JSONObject:
    failure: JSONObject = {"timestamp": _timestamp(payload)}
    match stage:
        case Stage.COLLECTOR_PAYLOAD:
            return failure | {"loader": VERSION, "message": messages[0]}
        case Stage.TRACKER_PROTOCOL | Stage.ADAPTER:
            return failure | _api(payload) | {"messages": messages}
        case _:
            return failure | {"messages": messages}


def _bad_row(stage: Stage, failure: JSONObject, content: JSONValue) -> str:
    artifact, _, version = VERSION.rpartition("-")
    row = {
        "schema": stage.schema,
        "data": {
            "processor": {"artifact": artifact, "version": version},
            "failure": failure,
            "payload": content,
        },
    }
    return json.dumps(row)
