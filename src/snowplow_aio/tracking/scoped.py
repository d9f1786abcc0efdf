"""A tracker whose events belong to one scope, whatever is bound where they are tracked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from snowplow_aio.model.payload import Payload
from snowplow_aio.tracking.payload_builder import PendingPayloads
from snowplow_aio.tracking.scope import TrackingScope, held_apart

_Tracker = TypeVar("_Tracker")


def scoped(tracker: _Tracker, scope: TrackingScope) -> _Tracker:
    """
    Return *tracker*, of either kind, for events of *scope*, wherever they are tracked.

    Both have the same emitters, subject, global contexts and enrichers. Nothing stays
    bound to the task or the thread that tracks.
    """
    own = vars(tracker)
    if "_prepare" not in own:
        # Something of a test that stands in for a tracker, and sends nothing.
        return tracker
    # All that a tracker can change is in objects that both have. An application may have a class of its own.
    found = object.__new__(type(tracker))
    vars(found).update(own, _prepare=partial(_prepared, scope, own["_prepare"]))
    return found


def _prepared(
    scope: TrackingScope, prepare: Callable[..., PendingPayloads], *event: Any, **metadata: Any
) -> PendingPayloads:
    with held_apart(scope):
        made = prepare(*event, **metadata)
    if made.ready is not None:
        return made

    async def later() -> tuple[Payload, ...]:
        with held_apart(scope):
            return await made.later()

    return PendingPayloads(made.event_id, None, later)
