"""Errors as applications raise them, and as they were tracked."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.integrations.made import Trackers, http_scope


class CardError(Exception):
    """An exception that applications answer themselves."""


class NetworkError(CardError):
    """Another one, for which they have the same handler."""


def visit(path: str, /, **fields: Any) -> dict[str, Any]:
    """Return the scope of a request of a visitor who is known."""
    headers = {"Host": "shop.example", "Referer": "https://search.example/", "User-Agent": "Mozilla/5.0"}
    return http_scope(path, **{"headers": headers} | fields)


def data_of(event: dict[str, str]) -> dict[str, Any]:
    """Return the data of an error that was tracked."""
    described = json.loads(base64.urlsafe_b64decode(event["ue_px"] + "=="))["data"]
    assert described["schema"] == "iglu:com.snowplowanalytics.snowplow/application_error/jsonschema/1-0-2"
    data: dict[str, Any] = described["data"]
    return data


def errors_of(trackers: Trackers) -> list[tuple[str, str | None]]:
    """Return the names of the errors that were tracked and the template of each one's route."""
    errors = [event for event in trackers.events if event["e"] == "ue"]
    return [(data_of(event)["exceptionName"].rpartition(".")[2], event.get("page")) for event in errors]
