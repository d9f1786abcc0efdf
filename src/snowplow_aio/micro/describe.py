"""Describes a record in one line, for a terminal or a failed test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from snowplow_aio.iglu.json_text import JSONObject, JSONValue
from snowplow_aio.runtime.foreign_text import shown

_MAX_ERRORS = 3
_MAX_CHARACTERS = 2000

_NOT_FOUND = "not found"
_WHERE_SCHEMAS_ARE = " (name the folder of your schemas: --schemas, or Micro(schemas=...))"


def describe(record: Mapping[str, JSONValue]) -> str:
    """
    Return one line about *record*, a good or bad event in Snowplow Micro's shape.

    It can be printed whatever the event has in it, and shows no secrets.
    """
    return shown(_described(record), _MAX_CHARACTERS)


def _described(record: Mapping[str, JSONValue]) -> str:
    if "errors" not in record:
        event = record["event"]
        kind = f"type:{record['eventType']} ({record['schema'] or 'no schema'})"
        return f"GOOD id:{event['event_id']} app_id:{event['app_id']} {kind}"
    found = list(error_messages(record))
    more = f"; and {len(found) - _MAX_ERRORS} more" if len(found) > _MAX_ERRORS else ""
    where = _WHERE_SCHEMAS_ARE if any(one.endswith(f": {_NOT_FOUND}") for one in found) else ""
    return f"BAD {_origin(record)}{'; '.join(found[:_MAX_ERRORS])}{more}{where}"


def _origin(record: Mapping[str, JSONValue]) -> str:
    raw = record["rawEvent"]
    return "" if raw is None else f"id:{raw['parameters'].get('eid')} app_id:{raw['parameters'].get('aid')} "


def error_messages(record: Mapping[str, JSONValue]) -> Iterator[str]:
    """Give the problems of the bad event *record*, each as one sentence."""
    for text in record["errors"][1:]:
        failure = json.loads(text)["data"]["failure"]
        messages = failure.get("messages") or [failure.get("message", failure)]
        for message in messages:
            yield from _sentences(message)


def _sentences(message: JSONObject) -> Iterator[str]:
    match message:
        case {"message": dict() as inner}:
            yield from _sentences(inner)
        case {"schemaKey": schema, "error": {"dataReports": reports}}:
            for report in reports:
                yield f"{report['message']} ({schema})"
        case {"schemaKey": schema, "error": {"lookupHistory": history}}:
            reason = history[0]["errors"][0]
            yield f"schema {schema}: {reason.get('message', _NOT_FOUND)}"
        case {"schemaKey": schema, "schemaCriterion": criterion}:
            yield f"schema {schema}: must be {criterion}"
        case {"field": field, "json": value, "error": code}:
            yield f"{field}: {code}, got {json.dumps(value)[:100]}"
        case {"field": field, "value": value}:
            yield f"{field}: {message.get('expectation') or message.get('error')}, got {value!r}"
        case _:
            yield str(message.get("expectation", message))
