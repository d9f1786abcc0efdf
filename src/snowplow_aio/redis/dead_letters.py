"""Dead letters: the records that Redis keeps of events that were given up."""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson

from snowplow_aio.model.payload import Payload

# An entry can be anything, so only its beginning is shown.
_MAX_SHOWN = 100_000


def dead_letter(event: Payload | bytes, reason: str, status: int | None) -> bytes:
    """
    Return the dead letter of an event, as JSON.

    Args:
        event: The event, or the bytes of an entry that is no event.

        reason: Why it was given up.

        status: The HTTP status of the last answer, or None where there was none.
    """
    fields: Mapping[str, object] = {
        "event": orjson.Fragment(event.json) if isinstance(event, Payload) else _shown(event),
        "reason": reason,
        "status": status,
        "at": time.time_ns() // 1_000_000,
    }
    return orjson.dumps(fields)


def _shown(raw: bytes) -> object:
    """Return *raw* as a JSON object if it is one, else as text."""
    try:
        value = orjson.loads(raw)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else raw[:_MAX_SHOWN].decode(errors="backslashreplace")
