"""
Reads the events of a collected request.

A POST is read or lost as a whole: a single value that is not a string loses all
its events (docs/explanation/protocol.md, "Verdicts of the pipeline").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from snowplow_aio.iglu.json_text import JSONValue, NotIgluError, decode_base64, parse_json, self_describing
from snowplow_aio.iglu.reports import InvalidData, Report, Unresolved
from snowplow_aio.micro.collector import SNOWPLOW, CollectorPayload
from snowplow_aio.micro.fields import PAYLOAD_KEYS
from snowplow_aio.micro.problems import (
    Problem,
    RefusedError,
    Stage,
    criterion_mismatch,
    invalid_input,
    not_iglu,
    not_json,
    schema_failure,
)
from snowplow_aio.micro.querystring import parse_query
from snowplow_aio.model.payload import REQUIRED_KEYS
from snowplow_aio.model.schema_key import SchemaKey
from snowplow_aio.runtime.foreign_text import cut

CONTENT_TYPES = ("application/json", "application/json; charset=utf-8")

# java.util.UUID.fromString accepts fewer digits in each part.
_JAVA_UUID = re.compile(r"[0-9A-Fa-f]{1,8}(?:-[0-9A-Fa-f]{1,4}){3}-[0-9A-Fa-f]{1,12}")

# By envelope and version: the least number of events or entities in it.
_ENVELOPES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {"contexts": {"1-0-0": 1, "1-0-1": 0}, "unstruct_event": {"1-0-0": 1}}
)


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event before any of its fields was read."""

    payload: CollectorPayload
    parameters: Mapping[str, str | None]


def extract(payload: CollectorPayload) -> list[RawEvent] | list[Problem]:
    """Return the events in *payload*, or the reasons why all of them are lost."""
    try:
        query = dict(_parameters(payload))
    except RefusedError as refused:
        return [Problem(Stage.COLLECTOR_PAYLOAD, detail) for detail in refused.details]
    if payload.vendor != SNOWPLOW or payload.version not in {"tp1", "tp2"}:
        name = f"{payload.vendor}/{payload.version}"
        detail = invalid_input("vendor/version", name, f"must be {SNOWPLOW}/tp2, the tracker protocol")
        return [Problem(Stage.ADAPTER, detail)]
    try:
        return [RawEvent(payload, parameters) for parameters in _events(payload, query)]
    except RefusedError as refused:
        return [Problem(Stage.TRACKER_PROTOCOL, detail) for detail in refused.details]


def _parameters(payload: CollectorPayload) -> list[tuple[str, str | None]]:
    try:
        parameters = parse_query(payload.query)
    except ValueError as error:
        raise RefusedError(invalid_input("querystring", payload.query, str(error))) from None
    if _JAVA_UUID.fullmatch(payload.user_id) is None:
        rule = "must be a UUID: a nuid in the query string or an sp cookie becomes the network user id"
        raise RefusedError(invalid_input("networkUserId", payload.user_id, rule))
    return parameters


def _events(payload: CollectorPayload, query: Mapping[str, str | None]) -> list[dict[str, str | None]]:
    if payload.body is None or payload.version == "tp1":
        if not query:
            raise RefusedError(invalid_input("querystring", None, "must have the event's parameters"))
        return [dict(query)]
    _check_content_type(payload.content_type)
    # The query string of a POST is laid over each of its events.
    return [{**event, **query} for event in _body_events(payload.body)]


def _check_content_type(content_type: str | None) -> None:
    # The HTTP library of the real collector normalises the header.
    form = re.sub(r"\s*;\s*", "; ", (content_type or "").strip()).replace('"', "")
    if form.replace("utf8", "utf-8") not in CONTENT_TYPES:
        raise RefusedError(
            invalid_input("contentType", content_type, f"must be one of {', '.join(CONTENT_TYPES)}")
        )


def _body_events(body: str) -> list[dict[str, str]]:
    key, data = _open("body", body, "payload_data")
    if str(key.version) not in PAYLOAD_KEYS:
        raise RefusedError(schema_failure(Unresolved(key)))
    reports = _payload_reports(data, PAYLOAD_KEYS[str(key.version)])
    if reports:
        raise RefusedError(schema_failure(InvalidData(key, reports)))
    events: list[dict[str, str]] = data
    return events


def _payload_reports(data: JSONValue, keys: frozenset[str]) -> list[Report]:
    if not isinstance(data, list):
        return [Report("$: must be a list of events", "$", "type")]
    if not data:
        return [Report("$: must have at least one event", "$", "minItems")]
    return [found for index, event in enumerate(data) for found in _event_reports(f"$[{index}]", event, keys)]


def _event_reports(path: str, event: JSONValue, keys: frozenset[str]) -> list[Report]:
    if not isinstance(event, dict):
        return [Report(f"{path}: must be an object", path, "type")]
    missing = [
        Report(f"{path}: must have {key}", path, "required", [key])
        for key in REQUIRED_KEYS
        if key not in event
    ]
    unknown = [
        Report(
            f"{path}: must not have {key!r}, this version has no such key",
            path,
            "additionalProperties",
            [key],
        )
        for key in event
        if key not in keys
    ]
    no_strings = [
        Report(f"{path}.{key}: must be a string, got {cut(repr(value))}", f"{path}.{key}", "type")
        for key, value in event.items()
        if key in keys and not isinstance(value, str)
    ]
    return missing + unknown + no_strings


def _open(field: str, text: str, name: str) -> tuple[SchemaKey, JSONValue]:
    try:
        document = parse_json(text)
    except ValueError as error:
        raise RefusedError(not_json(field, text, str(error))) from None
    try:
        key, data = self_describing(document)
    except NotIgluError as error:
        raise RefusedError(not_iglu(field, document, str(error))) from None
    if (key.vendor, key.name, key.format, key.version.model, key.version.revision) != (
        SNOWPLOW, name, "jsonschema", 1, 0,
    ):  # fmt: skip
        raise RefusedError(criterion_mismatch(key, f"iglu:{SNOWPLOW}/{name}/jsonschema/1-0-*"))
    return key, data


def open_envelope(field: str, text: str, name: str) -> tuple[SchemaKey, JSONValue]:
    """
    Return the key and the data of the envelope in *text*.

    Args:
        field: The protocol key of the text. ``cx`` and ``ue_px`` are base64.

        text: The text of that key.

        name: The envelope, ``contexts`` or ``unstruct_event``.

    Raises:
        RefusedError: If the text is not that envelope, or is not well formed.
    """
    key, data = _open(field, decode_base64(text) if field in {"cx", "ue_px"} else text, name)
    least = _ENVELOPES[name].get(str(key.version))
    if least is None:
        raise RefusedError(schema_failure(Unresolved(key)))
    if name == "unstruct_event":
        reports = _envelope_reports("$", data)
    elif not isinstance(data, list):
        reports = [Report("$: must be a list of entities", "$", "type")]
    elif len(data) < least:
        reports = [Report("$: must have at least one entity", "$", "minItems")]
    else:
        reports = [
            found for index, entity in enumerate(data) for found in _envelope_reports(f"$[{index}]", entity)
        ]
    if reports:
        raise RefusedError(schema_failure(InvalidData(key, reports)))
    return key, data


def _envelope_reports(path: str, value: JSONValue) -> list[Report]:
    if isinstance(value, dict) and value.keys() == {"schema", "data"} and isinstance(value["schema"], str):
        return []
    return [Report(f"{path}: must have schema (an Iglu URI) and data, and nothing else", path, "required")]
