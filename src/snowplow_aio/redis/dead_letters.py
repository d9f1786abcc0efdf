"""Dead letters: the records that Redis keeps of events that were given up."""

from __future__ import annotations

import time
from collections.abc import Mapping

import orjson

from snowplow_aio.model.payload import Payload
from snowplow_aio.redis.entries import MAX_SHOWN_BYTES, is_cut


def dead_letter(event: Payload | bytes, reason: str, status: int | None) -> bytes:
    """
    Return the dead letter of an event, as JSON.

    An entry that is a JSON object stands in it as it was. Any other entry, and one that is nested
    too deeply for most programs to read, is shown as text, of which the first 100,000 bytes are kept.

    Args:
        event: The event, or the bytes of an entry that is no event.

        reason: Why it was given up.

        status: The HTTP status of the last answer, or None where there was none.
    """
    fields: Mapping[str, object] = {
        "event": orjson.Fragment(event.json) if isinstance(event, Payload) else _shown(event),
        "reason": reason.encode(errors="backslashreplace").decode(),
        "status": status,
        "at": time.time_ns() // 1_000_000,
    }
    return orjson.dumps(fields)


def _shown(raw: bytes) -> object:
    """Return *raw*, byte for byte, if it is a JSON object that can be read everywhere; else as text."""
    try:
        value = orjson.loads(raw)
        # Raises for more than 254 levels.
        orjson.dumps(value)
    except (ValueError, TypeError):
        value = None
    if isinstance(value, dict):
        return orjson.Fragment(raw)
    beginning = raw[1:] if is_cut(raw) else raw[:MAX_SHOWN_BYTES]
    return beginning.decode(errors="backslashreplace")
