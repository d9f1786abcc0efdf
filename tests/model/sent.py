"""What a tracker makes of an event, read back."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

from snowplow_aio import MemoryEmitter, Tracker

NOW = 1_700_000_000_123


def tracker_and_emitter(**options: Any) -> tuple[Tracker, MemoryEmitter]:
    """Return a tracker whose clock stands still, and where its events are."""
    emitter = MemoryEmitter()
    settings: dict[str, Any] = {"clock": lambda: NOW * 1_000_000, **options}
    return Tracker(emitter, **settings), emitter


def sent(event: Any, *, tracker: dict[str, Any] | None = None, **metadata: Any) -> dict[str, str]:
    """Return the protocol fields of *event*."""
    ours, emitter = tracker_and_emitter(**(tracker or {}))
    ours.track_nowait(event, **metadata)
    (payload,) = emitter.payloads
    return dict(payload)


def read(text: str) -> Any:
    """Return the JSON that *text* is, with exact numbers."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


def read_base64(text: str) -> Any:
    """Return the JSON in URL-safe *text*; its padding must be there."""
    return read(base64.b64decode(text, altchars=b"-_", validate=True).decode())


def data_of(event: Any, **options: Any) -> Any:
    """Return the data of a self-describing *event* as it is sent."""
    fields = sent(event, tracker={"encode_base64": False, **options})
    return read(fields["ue_pr"])["data"]["data"]
