"""
The problems of a request or an event, in the words of the pipeline's bad rows.

The shapes are those of the failure details in the schemas
``iglu:com.snowplowanalytics.snowplow.badrows/*`` (docs/explanation/protocol.md,
"Snowplow Micro's REST API").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from snowplow_aio.exceptions import complaint
from snowplow_aio.iglu.json_text import JSONObject, JSONValue, plain
from snowplow_aio.iglu.reports import Failure, InvalidData, Report, Unresolved
from snowplow_aio.model.schema_key import SchemaKey
from snowplow_aio.runtime.foreign_text import cut

ATOMIC_SCHEMA = SchemaKey.parse("iglu:com.snowplowanalytics.snowplow/atomic/jsonschema/1-0-0")
REGISTRY = "snowplow-aio micro"


class Stage(Enum):
    """A stage of the pipeline, in order. Its value is the name and version of the bad row that it makes."""

    SIZE = ("size_violation", "1-0-0")
    COLLECTOR_PAYLOAD = ("collector_payload_format_violation", "1-0-0")
    TRACKER_PROTOCOL = ("tracker_protocol_violations", "1-0-1")
    ADAPTER = ("adapter_failures", "1-0-0")
    SCHEMA = ("schema_violations", "2-0-1")
    ENRICHMENT = ("enrichment_failures", "2-0-1")
    # Its bad row is that of SCHEMA. The third part keeps Enum from making an alias of it.
    ATOMIC = ("schema_violations", "2-0-1", "lengths")

    @property
    def schema(self) -> str:
        """The Iglu URI of the bad row."""
        return f"iglu:com.snowplowanalytics.snowplow.badrows/{self.value[0]}/jsonschema/{self.value[1]}"


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One reason why the pipeline loses a request or an event.

    Args:
        stage: The stage that loses it.

        detail: The message in the bad row.
    """

    stage: Stage
    detail: JSONObject


class RefusedError(Exception):
    """One stage refuses a request or an event. *details* are the messages of its bad row."""

    def __init__(self, *details: JSONObject) -> None:
        super().__init__(*details)
        self.details = details


def invalid_input(field: str, value: str | None, expectation: str) -> JSONObject:
    """Return the detail for an input that breaks a rule of the protocol."""
    return {
        "field": field,
        "value": None if value is None else cut(value),
        "expectation": expectation,
    }


def not_json(field: str, value: str, error: str) -> JSONObject:
    """Return the detail for a text that is not JSON, or is nested too deep."""
    return {"field": field, "value": cut(value), "error": error}


def not_iglu(field: str, value: JSONValue, error: str) -> JSONObject:
    """Return the detail for JSON that is not self-describing."""
    return {"field": field, "json": plain(value), "error": error}


def criterion_mismatch(key: SchemaKey, criterion: str) -> JSONObject:
    """Return the detail for a schema that is not the one expected here."""
    return {"schemaKey": str(key), "schemaCriterion": criterion}


def schema_failure(failure: Failure) -> JSONObject:
    """Return the detail for data that could not be matched with its schema."""
    match failure:
        case Unresolved(key, error):
            code = {"error": "NotFound"} if error is None else {"error": "ClientFailure", "message": error}
            history = [{"repository": REGISTRY, "errors": [code], "attempts": 1}]
            found: JSONObject = {"error": "ResolutionError", "lookupHistory": history}
        case InvalidData(key, reports):
            found = {"error": "ValidationError", "dataReports": [_data_report(report) for report in reports]}
    return {"schemaKey": str(key), "error": found}


def _data_report(report: Report) -> JSONObject:
    return {
        "message": report.message,
        "path": report.path,
        "keyword": report.keyword,
        "targetList": list(report.targets),
    }


def unreadable_field(key: str, column: str, value: str, rule: str) -> JSONObject:
    """Return the detail for a value of *key* that does not fit its *column*."""
    message = complaint(key if key == column else f"{key} ({column})", value, rule)
    return schema_failure(InvalidData(ATOMIC_SCHEMA, [Report(message, column, "type", [key])]))
