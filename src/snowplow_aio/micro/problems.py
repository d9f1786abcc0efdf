"""
What is wrong with a request or an event, in the words of the pipeline's bad rows.

The shapes are those of the failure details in
``iglu:com.snowplowanalytics.snowplow.badrows/*`` (PROTOCOL §4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from snowplow_aio.exceptions import complaint
from snowplow_aio.micro.jsontext import JSONObject, JSONValue, plain
from snowplow_aio.model.schema_key import SchemaKey

ATOMIC_SCHEMA = "iglu:com.snowplowanalytics.snowplow/atomic/jsonschema/1-0-0"
REGISTRY = "snowplow-aio micro"

_LONGEST_VALUE = 200


class Stage(Enum):
    """The stages of the pipeline, in their order; the value is the bad row it makes."""

    SIZE = ("size_violation", "1-0-0")
    COLLECTOR_PAYLOAD = ("collector_payload_format_violation", "1-0-0")
    TRACKER_PROTOCOL = ("tracker_protocol_violations", "1-0-1")
    ADAPTER = ("adapter_failures", "1-0-0")
    SCHEMA = ("schema_violations", "2-0-1")
    ENRICHMENT = ("enrichment_failures", "2-0-1")
    # Reported as SCHEMA is, and yet later: its own member, not an alias.
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
        stage: Where it is lost.

        detail: The message of the bad row.
    """

    stage: Stage
    detail: JSONObject


class RefusedError(Exception):
    """Something is refused at one stage; *details* are the messages of its bad row."""

    def __init__(self, *details: JSONObject) -> None:
        super().__init__(*details)
        self.details = details


def shortened(text: str) -> str:
    """Return *text*, or its beginning and its length where it is long."""
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_LONGEST_VALUE]}... ({len(text)} characters)"


def invalid_input(field: str, value: str | None, expectation: str) -> JSONObject:
    """Return the detail for an input that breaks a rule of the protocol."""
    return {
        "field": field,
        "value": None if value is None else shortened(value),
        "expectation": expectation,
    }


def not_json(field: str, value: str, error: str) -> JSONObject:
    """Return the detail for a text that is not JSON, or nested too deep."""
    return {"field": field, "value": shortened(value), "error": error}


def not_iglu(field: str, value: JSONValue, error: str) -> JSONObject:
    """Return the detail for JSON that is not self-describing."""
    return {"field": field, "json": plain(value), "error": error}


def criterion_mismatch(key: SchemaKey, criterion: str) -> JSONObject:
    """Return the detail for a schema that is not the one expected here."""
    return {"schemaKey": str(key), "schemaCriterion": criterion}


def unresolved(key: SchemaKey, error: JSONObject) -> JSONObject:
    """Return the detail for a schema that no registry has, or none could read."""
    history = [{"repository": REGISTRY, "errors": [error], "attempts": 1}]
    return {"schemaKey": str(key), "error": {"error": "ResolutionError", "lookupHistory": history}}


def invalid_data(schema: str, reports: Sequence[JSONObject]) -> JSONObject:
    """Return the detail for data that does not fit *schema*."""
    return {"schemaKey": schema, "error": {"error": "ValidationError", "dataReports": list(reports)}}


def report(message: str, path: str, keyword: str, targets: Sequence[str] = ()) -> JSONObject:
    """Return one report of a validation error."""
    return {"message": message, "path": path, "keyword": keyword, "targetList": list(targets)}


def unreadable_field(key: str, column: str, value: str, rule: str) -> JSONObject:
    """Return the detail for a value of *key* that does not fit its *column*."""
    message = complaint(key if key == column else f"{key} ({column})", value, rule)
    return invalid_data(ATOMIC_SCHEMA, [report(message, column, "type", [key])])
