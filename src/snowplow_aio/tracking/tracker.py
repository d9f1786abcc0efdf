"""The tracker: takes events, builds their payloads and hands them to the emitters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Never, Self, Unpack
from uuid import UUID

from snowplow_aio.exceptions import DeliveryError
from snowplow_aio.model.arguments import check_flush_timeout, check_seconds
from snowplow_aio.model.old_names import OnlyAsync, refuse_unknown
from snowplow_aio.model.payload import Event
from snowplow_aio.model.subject import Subject
from snowplow_aio.model.timestamps import TrueTimestamp
from snowplow_aio.outcomes import FlushResult
from snowplow_aio.tracking.any_tracker import AnyTracker
from snowplow_aio.tracking.track_methods import (
    AllMetadata,
    AwaitedTrackMethods,
    Context,
    Timestamp,
    TrackCall,
    like_coroutine_function,
    shown_without,
)

__all__ = ["Tracker"]


class Tracker(OnlyAsync, AwaitedTrackMethods, AnyTracker):
    """
    Tracks events: builds their payloads and hands them to its emitters.

    ``async with Tracker(...) as tracker`` closes it at the end. It needs no loop
    before the first event.

    Args:
        emitters: An emitter, or a sequence of at least one. An object of the
            application's own with a method `input` is taken, too.

        namespace: The name of the tracker, which is sent with every event; at most 128
            characters, without ``:`` and ``;``.

        app_id: The id of the application; at most 255 characters.

        subject: The subject of events; a new one if it is None.

        platform: The platform code of events whose subject has none. None is ``pc``, which an
            integration may replace.

        encode_base64: Whether self-describing data is sent as URL-safe base64.

        json_default: A function that turns a value that JSON does not know into one that it does.

        anonymous: Whether every event is anonymous: the fields of the subject that identify
            the user are left out, and the collector is asked to keep nothing either.

        clock: The wall clock in nanoseconds since the epoch.

        new_id: A function that makes event ids, which are UUIDs.

    Raises:
        ConfigurationError: If there is no emitter, an emitter has no `input`, or an
            argument that must be a function is none.
        InvalidEventError: If *namespace*, *app_id*, *subject* or *platform* breaks a rule of
            the protocol.

    Example:
        Track one page view::

            async with Tracker(HttpEmitter("https://collector.example.com"), app_id="shop") as tracker:
                await tracker.track(PageView(page_url="https://shop.example/"))
    """

    # --- tracking

    @like_coroutine_function
    @partial(shown_without, name="unknown")
    def track(
        self,
        event: Event,
        *,
        context: Context = None,
        tstamp: Timestamp = None,
        true_timestamp: float | datetime | TrueTimestamp | None = None,
        subject: Subject | None = None,
        event_id: str | UUID | None = None,
        anonymous: bool = False,
        **unknown: Never,
    ) -> Coroutine[Any, Any, str]:
        """
        Track an event.

        The event is checked and encoded at the call. Awaiting the result hands it to the
        emitters, which does not wait for the collector.

        Args:
            event: An event model like `PageView`, a `SelfDescribing` model or a
                `SelfDescribingJson`.

            context: The entities of the event; None or an empty list for none.

            tstamp: The time of the event: milliseconds since the epoch, an aware
                `datetime` or a `DeviceTimestamp` are sent as ``dtm``, a `TrueTimestamp` is
                sent as ``ttm`` instead. None for now. A number below 100000000000 is refused:
                it looks like seconds.

            true_timestamp: The time of the event as the application knows it: milliseconds
                since the epoch or an aware `datetime`, sent as ``ttm`` besides ``dtm``.

            subject: Fields that go before those of the tracker's subject and of `use_subject`.

            event_id: The id of the event, a UUID; None for a new one.

            anonymous: Whether the fields that identify the user are left out and the
                collector is asked to keep nothing either (``SP-Anonymous``).

        Returns:
            A coroutine that gives the id of the event. It has the tracking methods, too,
            so that calls can be chained.

        Raises:
            InvalidEventError: If an argument breaks a rule of the protocol, something in it is
                not JSON, or the event is too large for the collector. Raised at the call.
            QueueFullError: If an emitter has no room and its overflow policy is
                `Overflow.RAISE`. Raised when the result is awaited.

        Example:
            Track a page view with an entity, an hour late::

                event_id = await tracker.track(
                    PageView(page_url="https://shop.example/shoes"),
                    context=[User(id_="u-42")],
                    tstamp=datetime.now(UTC) - timedelta(hours=1),
                )
        """
        if unknown:
            refuse_unknown("track", unknown, AllMetadata.__annotations__)
        # By position, because a dictionary of arguments takes as long as the JSON of the event.
        prepare = self._prepare
        first = prepare(event, context, tstamp, true_timestamp, subject, event_id, anonymous)
        return TrackCall(prepare, self._hand_over, first)

    async def track_and_confirm(
        self,
        event: Event,
        *,
        timeout: float | None = 5.0,
        **metadata: Unpack[AllMetadata],
    ) -> str:
        """
        Track an event and wait until every emitter has settled it.

        When the wait ends early, the event stays: it is delivered later if that is possible.

        Args:
            event: The event.

            timeout: Longest wait, in seconds, at least 0; None for as long as it takes.

            **metadata: The other arguments of `track`.

        Returns:
            The id of the event.

        Raises:
            DeliveryError: If an emitter has rejected or dropped the event.
            TimeoutError: If an emitter has not settled it in time.
            InvalidEventError: If an argument breaks a rule.
            QueueFullError: If an emitter has no room and its overflow policy is
                `Overflow.RAISE`.

        Example:
            Be sure that an order has reached the collector::

                await tracker.track_and_confirm(EcommerceTransaction(order_id="o-7", total_value=35))
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        refuse_unknown("track_and_confirm", metadata, AllMetadata.__annotations__)
        made = self._prepare(event, **metadata)
        watched: list[tuple[str, asyncio.Future[str | None]]] = []
        try:
            async with asyncio.timeout(timeout):
                payloads = made.ready if made.ready is not None else await made.later()
                watched += [
                    (name, asyncio.ensure_future(emitter.watch(payload)))
                    for name, emitter in zip(self._emitter_names(), self._emitters, strict=True)
                    for payload in payloads
                ]
                wait = self._hand_over(payloads)
                if wait is not None:
                    await wait
                await self.flush(wait=False)
                faults = [(name, await settled) for name, settled in watched]
        except TimeoutError as error:
            if timeout is None or error.args:
                raise
            late = f"the event was not delivered within {timeout:g} s ({self.health()})"
            raise TimeoutError(late) from None
        finally:
            for _, settled in watched:
                settled.cancel()
        lost = [f"{name} ({fault})" for name, fault in faults if fault is not None]
        if lost:
            raise DeliveryError(f"event {made.event_id} was not delivered by {', '.join(lost)}")
        return made.event_id

    # --- flush and close

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:
        """
        Send everything that was tracked before the call.

        Args:
            timeout: Longest wait, in seconds, at least 0; None for as long as it takes.

            wait: Whether to wait at all.

        Returns:
            The numbers of the events that were tracked since the last flush.

        Raises:
            ConfigurationError: If *timeout* is out of range.

        Example:
            Wait for up to five seconds::

                result = await tracker.flush(timeout=5)
                print(result.delivered, result.pending)
        """
        check_flush_timeout(timeout)
        calls = [emitter.flush(timeout, wait=wait) for emitter in self._emitters]
        return await self._total(calls, "flush")

    async def aclose(self, timeout: float | None = None) -> FlushResult:
        """
        Send the events that are left, and close every emitter.

        Events that cannot be sent in time are dropped and counted. Tracking afterwards
        does not raise: these events are counted as dropped.

        Args:
            timeout: Longest wait, in seconds, at least 0; None for the `drain_timeout` of each emitter.

        Returns:
            The numbers of the events that were tracked since the last flush.

        Raises:
            ConfigurationError: If *timeout* is out of range.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        return await self._total([emitter.aclose(timeout) for emitter in self._emitters], "aclose")

    async def _total(self, calls: Sequence[Coroutine[Any, Any, FlushResult]], method: str) -> FlushResult:
        """Await *calls* of *method*, one for each emitter; what one of them raises reaches no other."""
        results = await asyncio.gather(*calls, return_exceptions=True)
        by_emitter = {}
        for name, result in zip(self._emitter_names(), results, strict=True):
            by_emitter[name] = result if isinstance(result, FlushResult) else FlushResult()
            if isinstance(result, BaseException):
                error = type(result).__name__
                self._throttled.log(
                    f"{name}.{method}", logging.ERROR, "%s: %s failed: %s", name, method, error
                )
        return FlushResult.of(by_emitter)

    async def __aenter__(self) -> Self:
        # Whatever other threads track from now on is delivered here, though nothing here tracks.
        for emitter in self._emitters:
            await emitter.bind()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
