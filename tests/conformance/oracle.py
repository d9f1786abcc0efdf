"""The conformance folder's judgement of events, data and schemas."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TP2 = "/com.snowplowanalytics.snowplow/tp2"
PAYLOAD_DATA = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"


class Oracle:
    """Gives the pipeline's verdict; schemas of ``com.acme`` may be unknown to it."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(folder))
        try:
            self._cases = importlib.import_module("check_cases")
            self._validate = importlib.import_module("validate")
        finally:
            sys.path.remove(str(folder))
        self.registry = self._validate.Registry([folder])
        self._checker = self._validate.Checker(self.registry, allow_unknown_schema=True)

    def compare(self, expected: Mapping[str, Any], events: Sequence[Mapping[str, str]]) -> list[str]:
        """Return the differences between a case's expectation and what was sent."""
        problems: list[str] = self._cases.compare(expected, [dict(event) for event in events])
        return problems

    def judge(self, request: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """Return for each event of a recorded *request* its id, and what is wrong or doubtful."""
        verdicts = list(self._checker.request(0, dict(request)))
        return [(str(item.get("event_id")), item["errors"] + _doubts(item["warnings"])) for item in verdicts]

    def complaints(self, *events: Mapping[str, str]) -> list[str]:
        """Return all that is wrong or doubtful about *events*, sent at the time of the last one."""
        latest = max(int(event.get("dtm", 0)) for event in events)
        sent = [{**event, "stm": str(latest)} for event in events]
        body = json.dumps({"schema": PAYLOAD_DATA, "data": sent})
        headers = {"Content-Type": "application/json"}
        request = {"method": "POST", "path": TP2, "headers": headers, "body": body}
        return [problem for _, problems in self.judge(request) for problem in problems]

    def errors(self, uri: str, data: Any) -> list[str]:
        """Return what is wrong with *data* by the public schema *uri*."""
        errors: list[str] = self.registry.errors(uri, data)
        return errors

    def accepts(self, schema: Mapping[str, Any], data: Any) -> bool:
        """Return whether *schema* takes *data*, as the pipeline's validator sees it."""
        rules = {name: rule for name, rule in schema.items() if name != "$schema"}
        valid: bool = self._validate.Validator(rules, format_checker=self._validate.formats).is_valid(data)
        return valid

    def public_schema(self, uri: str) -> dict[str, Any]:
        """Return the public schema *uri*."""
        schema: dict[str, Any] = self.registry.validator(uri).schema
        return schema


def _doubts(warnings: Sequence[str]) -> list[str]:
    return [w for w in warnings if "schema iglu:com.acme/" not in w]


def folder() -> Path | None:
    """Return the conformance folder, or None where none is set."""
    place = os.environ.get("SNOWPLOW_CONFORMANCE")
    return Path(place) if place else None


def cases() -> list[dict[str, Any]]:
    """Return the tracker cases; none where no folder is set."""
    place = folder()
    if place is None:
        return []
    found: list[dict[str, Any]] = json.loads((place / "cases.json").read_text("utf-8"))["cases"]
    return found
