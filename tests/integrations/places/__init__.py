"""
Applications that track at every place where code of a request can run.

Each module has one framework. Its `visit` starts an application with *trackers*
and the *options* of the integration, sends it one request for each place, with
*headers*, and stops it. The action of an event is the place where it was tracked;
`PLACES` has them all.
"""

from __future__ import annotations

from snowplow_aio import StructuredEvent, Tracker


def at(place: str) -> StructuredEvent:
    """Return the event of a *place*."""
    return StructuredEvent(category="place", action=place)


async def track(tracker: Tracker, place: str) -> None:
    """Track the event of a *place*."""
    await tracker.track(at(place))
