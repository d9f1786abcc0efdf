"""A Flask application whose views track; its answers are event ids."""

from __future__ import annotations

from uuid import uuid4

from asgiref.sync import async_to_sync
from flask import Flask

from tests.faults.servers.served.shop import COLLECTOR, PAGE, make_tracker

app = Flask("shop")
tracker = None if COLLECTOR is None else make_tracker()


async def _track() -> str:
    return str(uuid4()) if tracker is None else await tracker.track(PAGE)


@app.get("/awaited")
async def awaited() -> str:
    """Track in an async view, which has a loop of its own."""
    return await _track()


@app.get("/threaded")
def threaded() -> str:
    """Track in a sync view."""
    return async_to_sync(_track)()
