"""The tracker: takes events, builds their payloads and hands them to the emitters."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Never, Self, Unpack
from uuid import UUID

from snowplow_aio.abc import AcceptingEmitter, Clock, Emitter, NewId
from snowplow_aio.exceptions import DeliveryError, InvalidEventError
from snowplow_aio.model.arguments import check_argument, check_flush_timeout, check_function, check_seconds
from snowplow_aio.model.old_names import OnlyAsync, explains_arguments, refuse_unknown
from snowplow_aio.model.payload import Event, Payload
from snowplow_aio.model.subject import Subject, platform_code, protocol_text
from snowplow_aio.model.timestamps import TrueTimestamp
from snowplow_aio.outcomes import EmitterStats, FlushResult, Health
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.tracking.custom_emitter import accepting_emitter
from snowplow_aio.tracking.enricher_chain import EnricherChain, EnrichmentStats
from snowplow_aio.tracking.enrichers import Enricher, EnrichFunction, OnFault
from snowplow_aio.tracking.event_id import new_event_id
from snowplow_aio.tracking.global_contexts import ContextSource, GlobalContext, Rules
from snowplow_aio.tracking.json_encoder import JSONDefault
from snowplow_aio.tracking.payload_builder import PayloadBuilder, checked_subject
from snowplow_aio.tracking.track_methods import (
    AllMetadata,
    Context,
    HandOver,
    Timestamp,
    TrackCall,
    TrackMethods,
    like_coroutine_function,
    shown_without,
)
from snowplow_aio.version import __version__

log: QuietLogger = quiet_logger("snowplow_aio.tracking")

TRACKER_VERSION = f"pyaio-{__version__}"


class Tracker(NeverCopied, OnlyAsync, TrackMethods):
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

    @explains_arguments
    def __init__(
        self,
        emitters: Emitter | Sequence[Emitter] | Any,
        *,
        namespace: str | None = None,
        app_id: str | None = None,
        subject: Subject | None = None,
        platform: str | None = None,
        encode_base64: bool = True,
        json_default: JSONDefault | None = None,
        anonymous: bool = False,
        clock: Clock = time.time_ns,
        new_id: NewId = new_event_id,
    ) -> None:
        names = _names(namespace, app_id)
        fixed = {
            "tv": TRACKER_VERSION,
            **names,
            "p": platform_code("platform", "pc" if platform is None else platform),
        }
        check_function("json_default", json_default, optional=True)
        check_function("clock", clock)
        check_function("new_id", new_id)
        rule = "must be True or False"
        check_argument(isinstance(encode_base64, bool), "encode_base64", encode_base64, rule)
        check_argument(isinstance(anonymous, bool), "anonymous", anonymous, rule)
        self._builder = PayloadBuilder(
            fixed,
            _subject(subject),
            encode_base64=encode_base64,
            json_default=json_default,
            is_anonymous=anonymous,
            clock=clock,
            new_id=new_id,
        )
        self._chain = EnricherChain(self._builder)
        # Kept, because a bound method of the tracker would be made anew for each event.
        self._prepare = self._chain.prepare
        self._has_platform = platform is not None
        self._namespace = namespace or ""
        self._throttled = ThrottledLog(log)
        self._emitters: list[AcceptingEmitter] = []
        self._hand_over = _handing_over_to(self._emitters)
        given = list(emitters) if isinstance(emitters, list | tuple) else [emitters]
        check_argument(bool(given), "emitters", emitters, "must be an emitter or a sequence of at least one")
        for emitter in given:
            self._add("emitters", emitter)

    def __repr__(self) -> str:
        return f"<Tracker {self._namespace!r} to {', '.join(self.stats())}>"

    @property
    def subject(self) -> Subject:
        """The subject of events. It may be changed, and replaced by `set_subject`."""
        return self._builder.subject

    @subject.setter
    def subject(self, subject: Subject) -> None:
        self._builder.subject = subject

    @property
    def emitters(self) -> tuple[Emitter, ...]:
        """The emitters. An object of the application's own is wrapped in one."""
        return tuple(self._emitters)

    def add_emitter(self, emitter: Emitter | Any) -> Self:
        """
        Hand events to one more emitter, from now on.

        Args:
            emitter: An emitter, or an object of the application's own with a method `input`.

        Returns:
            The tracker.

        Raises:
            ConfigurationError: If *emitter* has no `input`.
        """
        self._add("emitter", emitter)
        return self

    def _add(self, argument: str, emitter: Any) -> None:
        rule = "must be an emitter: an object with an input method"
        has_input = callable(getattr(emitter, "input", None)) and not isinstance(emitter, type)
        check_argument(has_input, argument, emitter, rule)
        self._emitters.append(accepting_emitter(emitter))

    def set_subject(self, subject: Subject | None) -> Self:
        """
        Set the subject of events, from now on.

        Args:
            subject: The subject; a new one if it is None.

        Returns:
            The tracker.

        Raises:
            InvalidEventError: If *subject* is no `Subject`.
        """
        self._builder.subject = _subject(subject)
        return self

    def set_default_platform(self, platform: str) -> Self:
        """
        Set the platform code of events whose subject has none.

        It changes nothing if the tracker was made with a platform. The integrations
        call it: a web service is ``srv``.

        Args:
            platform: The platform code, like ``web``, ``mob`` or ``srv``.

        Returns:
            The tracker.

        Raises:
            InvalidEventError: If *platform* is no platform code.
        """
        code = platform_code("platform", platform)
        if not self._has_platform:
            self._builder.set_platform(code)
        return self

    def add_global_context(
        self, context: ContextSource, *, include: Rules = None, exclude: Rules = None
    ) -> Self:
        """
        Send entities with every event, from now on.

        They stand behind those of the call and those of `use_context`. When a function
        fails, this is counted, and the event is sent without its entities.

        Args:
            context: An entity, a sequence of entities, or a plain or a coroutine function of
                a `Draft` that returns an entity, a sequence of entities or None. A coroutine
                function is called when the event is awaited, and has one second to answer.

            include: A rule, or a sequence of rules, on the Iglu URIs of events, of which
                one must match: ``iglu:com.acme/*/jsonschema/1-*-*``; None for all events.

            exclude: Rules of which none may match.

        Returns:
            The tracker.

        Raises:
            ConfigurationError: If an argument is something else.
            InvalidEventError: If the entities cannot be sent.

        Example:
            Send the version of the application with everything::

                tracker.add_global_context(Application(version="1.1.0"))
        """
        self._chain.add_context(GlobalContext(context, include=include, exclude=exclude))
        return self

    def add_enricher(
        self,
        enricher: EnrichFunction,
        *,
        include: Rules = None,
        exclude: Rules = None,
        on_fault: OnFault = "keep",
    ) -> Self:
        """
        Send every event through a function, from now on.

        Enrichers are called after all global contexts, in the order in which they were added.

        Args:
            enricher: A plain or a coroutine function of a `Draft` that returns the draft, another
                draft, or None for an event that is not to be tracked. A coroutine function is
                called when the event is awaited, and has one second to answer.

            include: A rule, or a sequence of rules, on the Iglu URIs of events, of which
                one must match; None for all events.

            exclude: Rules of which none may match.

            on_fault: What happens to an event when the function fails: ``keep`` tracks it
                as it was before, ``drop`` does not track it. Both are counted.

        Returns:
            The tracker.

        Raises:
            ConfigurationError: If an argument is something else.

        Example:
            Track no events of robots::

                def without_robots(draft: Draft) -> Draft | None:
                    return None if "bot" in (draft.subject.useragent or "") else draft

                tracker.add_enricher(without_robots)
        """
        added = Enricher(enricher, include=include, exclude=exclude, on_fault=on_fault)
        self._chain.add_enricher(added)
        return self

    def enrichment_stats(self) -> EnrichmentStats:
        """Return the numbers of global contexts and enrichers; cheap and never waits."""
        return self._chain.stats()

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

    def track_nowait(self, event: Event, **metadata: Unpack[AllMetadata]) -> str:
        """
        Track an event without waiting, from any thread, with or without a running loop.

        Args:
            event: The event.

            **metadata: The other arguments of `track`.

        Returns:
            The id of the event.

        Raises:
            InvalidEventError: If an argument breaks a rule, or a global context or an enricher
                that is for the event is a coroutine function, which would have to be awaited.
            QueueFullError: If an emitter has no room and its overflow policy is
                `Overflow.RAISE`.

        Example:
            Track from a signal handler or a thread::

                tracker.track_nowait(StructuredEvent(category="worker", action="stop"))
        """
        try:
            made = self._prepare(event, **metadata)
        except TypeError:
            refuse_unknown("track_nowait", metadata, AllMetadata.__annotations__)
            raise
        payloads = made.ready
        if payloads is None:
            raise made.must_be_awaited()
        if not payloads:
            return made.event_id
        failure: Exception | None = None
        for emitter in self._emitters:
            try:
                emitter.accept_nowait(payloads)
            except Exception as error:  # noqa: BLE001 - it keeps the event from no other emitter
                failure = error
        if failure is not None:
            raise failure
        return made.event_id

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

    def _emitter_names(self) -> list[str]:
        """Return a name for each emitter; a name that comes again gets a number."""
        names: list[str] = []
        for emitter in self._emitters:
            name, number = emitter.name, 2
            while name in names:
                name, number = f"{emitter.name}-{number}", number + 1
            names.append(name)
        return names

    def stats(self) -> Mapping[str, EmitterStats]:
        """Return the numbers of each emitter by name; cheap and never waits."""
        numbers = (emitter.stats() for emitter in self._emitters)
        return MappingProxyType(dict(zip(self._emitter_names(), numbers, strict=True)))

    def health(self) -> Health:
        """Return whether events arrive and, in one line, why not; cheap and never waits."""
        return Health.of(self.stats())

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


def _handing_over_to(emitters: Sequence[AcceptingEmitter]) -> HandOver:
    """Return a function that gives payloads, in one piece, to all *emitters* that there are at the time."""

    def hand_over(payloads: tuple[Payload, ...]) -> Awaitable[None] | None:
        if not payloads:
            # An enricher has left the event out, or the scope does not permit it.
            return None
        if len(emitters) == 1:
            # The usual tracker needs no lists.
            return emitters[0].accept(payloads)
        waits: list[Awaitable[None]] = []
        failure: Exception | None = None
        for emitter in emitters:
            try:
                wait = emitter.accept(payloads)
            except Exception as error:  # noqa: BLE001 - it keeps the event from no other emitter
                failure = error
            else:
                if wait is not None:
                    waits.append(wait)
        if failure is None and not waits:
            return None
        return waits[0] if failure is None and len(waits) == 1 else _wait_for_all(waits, failure)

    return hand_over


async def _wait_for_all(waits: Sequence[Awaitable[None]], failure: Exception | None) -> None:
    await asyncio.gather(*waits)
    if failure is not None:
        raise failure


def _subject(subject: Subject | None) -> Subject:
    return Subject() if subject is None else checked_subject(subject)


def _names(namespace: str | None, app_id: str | None) -> dict[str, str]:
    names: dict[str, str] = {}
    if namespace is not None:
        names["tna"] = protocol_text("tna", "namespace", namespace)
        if set(":;") & set(namespace):
            raise InvalidEventError.about("namespace", namespace, "must not contain ':' or ';'")
    if app_id is not None:
        names["aid"] = protocol_text("aid", "app_id", app_id)
    return {key: name for key, name in names.items() if name}
