"""The FastAPI application under Datadog or OpenTelemetry, as the environment says."""

from __future__ import annotations

import importlib
import os

if os.environ.get("SHOP_INSTRUMENT") == "Datadog":
    importlib.import_module("ddtrace.auto")
else:
    for module, instrumentor in (
        ("asyncio", "AsyncioInstrumentor"),
        ("aiohttp_client", "AioHttpClientInstrumentor"),
    ):
        loaded = importlib.import_module(f"opentelemetry.instrumentation.{module}")
        getattr(loaded, instrumentor)().instrument()

from tests.faults.servers.served.fastapi_app import app

__all__ = ["app"]
