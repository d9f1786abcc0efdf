"""One event and no more: for a script that tracks once and exits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from snowplow_aio.abc import Emitter
from snowplow_aio.http.emitter import HttpEmitter
from snowplow_aio.model.arguments import check_seconds
from snowplow_aio.model.payload import Event
from snowplow_aio.tracking.track_methods import AllMetadata
from snowplow_aio.tracking.tracker import Tracker


async def track_once(
    emitters: str | Emitter | Sequence[Emitter] | Any,
    event: Event,
    *,
    namespace: str | None = None,
    app_id: str | None = None,
    timeout: float | None = 5.0,
    **metadata: Unpack[AllMetadata],
) -> str:
    """
    Deliver *event* by a tracker of its own, and leave nothing behind. Returns the event id.

    Each call opens a connection and closes it, so whoever tracks more than
    once makes a `Tracker`. After an error nothing goes on: the event is given
    up. It may have arrived all the same where only the answer was lost; tracked
    again with the same `event_id` it can be told as the same one.

    Args:
        emitters: The collector's host or URL, or the emitters of a `Tracker`,
            which are closed at the end.

        event: The event; *metadata* are the other arguments of `Tracker.track`:
            `context`, `tstamp`, `true_timestamp`, `subject`, `event_id` and `anonymous`.

        namespace: The tracker's name, sent with the event.

        app_id: The application's id.

        timeout: Longest wait, in seconds; None for as long as it takes. An
            outage of the collector is waited out within it.

    Raises DeliveryError when an emitter has rejected or dropped the event,
    TimeoutError when one has not settled it in time, ConfigurationError or
    InvalidEventError when an argument breaks a rule.
    """
    check_seconds("timeout", timeout, optional=True, zero=True)
    given = HttpEmitter(emitters) if isinstance(emitters, str) else emitters
    tracker = Tracker(given, namespace=namespace, app_id=app_id)
    try:
        return await tracker.track_and_confirm(event, timeout=timeout, **metadata)
    except TimeoutError:
        late = f"the event was not delivered within {timeout} s ({tracker.health()})"
        raise TimeoutError(late) from None
    finally:
        # It is settled, or given up.
        await tracker.aclose(0)
