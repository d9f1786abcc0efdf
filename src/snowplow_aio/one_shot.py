"""`track_once`, for a script that tracks one event and exits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from snowplow_aio.abc import Emitter
from snowplow_aio.delivery import at_exit
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
    Deliver *event* with a tracker of its own, which is closed afterwards.

    Each call opens a connection and closes it: a program that tracks more than
    once should make a `Tracker`. After an error the event is given up and nothing
    goes on. It may have arrived all the same, if only the answer was lost: track it
    again with the same `event_id`, and the pipeline can recognise the duplicate.

    Args:
        emitters: The collector's host or URL, or the emitters of a `Tracker`, which
            are closed at the end.

        event: The event.

        namespace: The tracker's name, sent with the event.

        app_id: The id of the application.

        timeout: Seconds to wait at most, at least 0; None to wait without end. Within
            this time an outage of the collector is waited out.

        **metadata: Other arguments of `Tracker.track`: `context`, `tstamp`,
            `true_timestamp`, `subject`, `event_id` and `anonymous`.

    Returns:
        The event id.

    Raises:
        DeliveryError: If an emitter has rejected or dropped the event.
        TimeoutError: If an emitter has not settled the event in time.
        ConfigurationError: If an argument of the emitters or the tracker breaks a rule.
        InvalidEventError: If the event or an argument of it breaks a rule.

    Example:
        >>> await track_once("collector.example.com", PageView(page_url="https://example.com"))
    """
    check_seconds("timeout", timeout, optional=True, zero=True)
    given = HttpEmitter(emitters) if isinstance(emitters, str) else emitters
    tracker = Tracker(given, namespace=namespace, app_id=app_id)
    try:
        return await tracker.track_and_confirm(event, timeout=timeout, **metadata)
    except TimeoutError:
        late = f"the event was not delivered within {timeout} s ({_undelivered(tracker)})"
        with at_exit.loss_is_told():
            await tracker.aclose(0)
        raise TimeoutError(late) from None
    finally:
        # The event is settled or given up: there is nothing to wait for.
        await tracker.aclose(0)


def _undelivered(tracker: Tracker) -> str:
    """Return why each emitter of *tracker* has not delivered yet."""
    said = []
    for emitter, (name, stats) in zip(tracker.emitters, tracker.stats().items(), strict=True):
        summary = stats.summary
        if stats.state == "ok" and not stats.delivered:
            # No request has failed so far, but none has an answer either.
            waits_for = emitter.waits_for if isinstance(emitter, HttpEmitter) else ""
            summary = summary.replace("ok", f"no {waits_for or 'answer'} yet", 1)
        said.append(f"{name}: {summary}")
    return " | ".join(said)
