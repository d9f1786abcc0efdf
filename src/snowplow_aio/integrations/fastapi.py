"""
The tracker in a FastAPI application.

`lifespan` makes and closes the tracker, and `SnowplowMiddleware` adds the visitor
of a request to its events. An endpoint's parameter ``tracker: CurrentTracker`` is
the tracker.
"""

from __future__ import annotations

from typing import Annotated

from snowplow_aio.integrations.asgi import SnowplowMiddleware, lifespan, page_url_of, tracker_of
from snowplow_aio.integrations.page_views import PageViews
from snowplow_aio.runtime.optional import Needs
from snowplow_aio.tracking.tracker import Tracker

with Needs("fastapi"):
    from fastapi import Depends
    from starlette.requests import HTTPConnection

__all__ = ["CurrentTracker", "PageViews", "SnowplowMiddleware", "lifespan", "page_url_of", "tracker_of"]


# A coroutine function, because FastAPI runs plain functions in a thread.
async def _current_tracker(connection: HTTPConnection) -> Tracker:
    return tracker_of(connection)


CurrentTracker = Annotated[Tracker, Depends(_current_tracker)]
"""The type of an endpoint's parameter for the tracker of the application."""
