"""The oracle's judgement of events, data and schemas, for the tests of all rooms."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio.iglu.registries import shipped_models
from tests.conformance import check_cases
from tests.conformance.check_cases import PAYLOAD_DATA, TP2
from tests.conformance.envelopes import ENVELOPES
from tests.conformance.json_schema import Registry, validator_of
from tests.conformance.validate import Checker, Verdict

# A warning of this kind ends so; it begins with the place and the schema.
_UNCHECKED = " is not in this registry, not checked"
# Schemas that tests make up, which nobody has.
_MADE_UP = "iglu:com.acme/"

NO_PUBLIC_SCHEMAS = "SNOWPLOW_CONFORMANCE does not name the folder with the public schemas"


def public_schemas() -> Path | None:
    """Return the folder with the public schema files, or None where none is set."""
    folder = os.environ.get("SNOWPLOW_CONFORMANCE")
    return Path(folder) if folder else None


def for_each_public_schema(values: Sequence[Any]) -> list[Any]:
    """
    Return parameters for tests that compare with the public schemas: one for each of *values*.

    Without the public schemas it is one that is skipped, whatever the number of values.
    """
    if public_schemas() is not None:
        return list(values)
    skip = pytest.mark.skip(f"{NO_PUBLIC_SCHEMAS}: not compared for {len(values)} schemas")
    return [pytest.param(None, marks=skip, id="no public schemas")]


class Oracle:
    """
    Gives the pipeline's verdict: ``oracle(payload)`` is why it loses an event, or an empty list.

    Args:
        folder: The folder with the public schemas. Without it the envelopes are
            checked against schemas of the oracle's own, events and entities
            against those of the models that the library ships, and data of other
            schemas not at all.
    """

    def __init__(self, folder: Path | None) -> None:
        self._has_public_schemas = folder is not None
        self.registry = Registry([], _known_schemas()) if folder is None else Registry([folder])
        self._checker = Checker(self.registry, allow_unknown_schema=True)

    def compare(self, expected: Mapping[str, Any], events: Sequence[Mapping[str, str]]) -> list[str]:
        """Return the differences between a case's expectation and the events that were sent."""
        return check_cases.compare(expected, events)

    def verdicts(self, request: Mapping[str, Any]) -> list[Verdict]:
        """Return the verdict on each event of a recorded *request*; unknown schemas are warnings."""
        return list(self._checker.request(0, request))

    def judge(self, request: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """Return the id of each event in a recorded *request*, with its errors and doubts."""
        return [
            (str(verdict.event_id), verdict.errors + self._doubts(verdict))
            for verdict in self.verdicts(request)
        ]

    def _doubts(self, verdict: Verdict) -> list[str]:
        unchecked = _unchecked(verdict)
        expected = [text for text in unchecked if _MADE_UP in text or not self._has_public_schemas]
        return [text for text in verdict.warnings if text not in expected]

    def unknown_schemas(self, request: Mapping[str, Any]) -> list[str]:
        """Return the schemas in *request* that the oracle does not have, but for made-up ones."""
        found = [text for verdict in self.verdicts(request) for text in _unchecked(verdict)]
        return [text.removesuffix(_UNCHECKED).split()[-1] for text in found if _MADE_UP not in text]

    def complaints(self, *events: Mapping[str, str]) -> list[str]:
        """Return the errors and doubts about *events*, sent at the time of the last one."""
        return [problem for _, problems in self.judge(_posted(events)) for problem in problems]

    def losses(self, *events: Mapping[str, str]) -> list[str]:
        """Return the errors for which the pipeline loses *events*, which one request has."""
        return [error for verdict in self.verdicts(_posted(events)) for error in verdict.errors]

    def __call__(self, payload: Mapping[str, str]) -> list[str]:
        """Return why the pipeline would lose *payload*; nothing for an event that arrives."""
        body = json.dumps({"schema": PAYLOAD_DATA, "data": [{**payload, "stm": payload.get("dtm", "0")}]})
        headers = {"Content-Type": "application/json"}
        request = {"method": "POST", "path": TP2, "headers": headers, "body": body}
        return [error for verdict in self.verdicts(request) for error in verdict.errors]

    def errors(self, uri: str, data: Any) -> list[str]:
        """Return the rules of the schema *uri* that *data* breaks."""
        return self.registry.errors(uri, data)

    def accepts(self, schema: Mapping[str, Any], data: Any) -> bool:
        """Return whether *data* fits *schema* for the pipeline's validator."""
        valid: bool = validator_of(schema).is_valid(data)
        return valid

    def public_schema(self, uri: str) -> dict[str, Any]:
        """Return the public schema *uri*."""
        assert self._has_public_schemas, NO_PUBLIC_SCHEMAS
        schema: dict[str, Any] = self.registry.validator(uri).schema
        return schema


def _posted(events: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the request that has *events*, sent at the time of the last one."""
    latest = max(int(event.get("dtm", 0)) for event in events)
    sent = [{**event, "stm": str(latest)} for event in events]
    body = json.dumps({"schema": PAYLOAD_DATA, "data": sent})
    return {"method": "POST", "path": TP2, "headers": {"Content-Type": "application/json"}, "body": body}


def _unchecked(verdict: Verdict) -> list[str]:
    return [text for text in verdict.warnings if text.endswith(_UNCHECKED)]


def _known_schemas() -> dict[str, Mapping[str, Any]]:
    return {**ENVELOPES, **{str(key): model.iglu_schema() for key, model in shipped_models().items()}}
