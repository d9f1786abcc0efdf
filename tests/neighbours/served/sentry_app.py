"""The FastAPI application under Sentry; ``/seen`` says what Sentry was told."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import sentry_sdk
from fastapi.responses import PlainTextResponse
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.aiohttp import AioHttpIntegration
from sentry_sdk.integrations.asyncio import AsyncioIntegration
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration
from sentry_sdk.transport import Transport

told: list[dict[str, Any]] = []


class Kept(Transport):
    """Sends nothing."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep what would be sent."""
        told.extend(item.payload.json for item in envelope.items if item.payload.json)


# Here a server's loop runs, which the integration of asyncio needs.
sentry_sdk.init(
    "http://key@127.0.0.1:9/1",
    transport=Kept,
    traces_sample_rate=1.0,
    integrations=[AioHttpIntegration(), AsyncioIntegration(), FastApiIntegration(), StarletteIntegration()],
    # It would import every package that it knows, which takes longer than all else.
    auto_enabling_integrations=False,
)

from tests.faults.servers.served.fastapi_app import app  # noqa: E402

__all__ = ["app"]


@app.get("/seen", response_class=PlainTextResponse)
async def seen() -> str:
    """Tell which requests Sentry has seen, and which errors; and all of it as text."""
    transactions = Counter(item["transaction"] for item in told if item.get("type") == "transaction")
    errors = [item for item in told if "exception" in item]
    clients = [span for item in told for span in item.get("spans", ()) if span["op"] == "http.client"]
    return json.dumps(
        {
            "transactions": transactions,
            "errors": len(errors),
            "clients": len(clients),
            "text": json.dumps(told, default=str),
        }
    )
