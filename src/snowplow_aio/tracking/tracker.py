"""The tracker: makes events complete and hands them to its emitters."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Awaitable, Coroutine, Generator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType, TracebackType
from typing import Any, Self, Unpack
from uuid import UUID

from snowplow_aio.abc import AcceptingEmitter, Clock, Emitter, NewId
from snowplow_aio.exceptions import DeliveryError, InvalidEventError, QueueFullError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.payload import Event, Payload
from snowplow_aio.model.subject import Subject, platform_code, protocol_text
from snowplow_aio.model.timestamps import TrueTimestamp
from snowplow_aio.outcomes import EmitterStats, FlushResult, Health
from snowplow_aio.tracking.custom_emitter import CustomEmitter
from snowplow_aio.tracking.enricher_chain import Later
from snowplow_aio.tracking.enricher_methods import Enriched
from snowplow_aio.tracking.event_id import new_event_id
from snowplow_aio.tracking.global_contexts import bound_contexts
from snowplow_aio.tracking.json_encoder import JSONDefault
from snowplow_aio.tracking.payload_builder import PayloadBuilder, checked_subject
from snowplow_aio.tracking.track_methods import AllMetadata, Context, Timestamp, TrackMethods
from snowplow_aio.version import __version__

TRACKER_VERSION = f"pyaio-{__version__}"


# What one call made, which reaches each emitter in one piece, and the event id.
Step = tuple[tuple[Payload, ...], str]

# The same of a call whose payloads have to wait for something async.
LaterStep = tuple[tuple[Payload, ...] | Later, str]


class Tracking(TrackMethods, Coroutine[Any, Any, str]):
    """
    Events that are validated and encoded, and reach the emitters when this is awaited.

    It is a coroutine to everything that takes one (`asyncio.create_task`,
    `gather`, task groups, `wait_for`), and chains: each `track` method called on
    it adds an event, in order. Awaiting it gives the id of the last one. Never
    awaited, it warns as a coroutine does.
    """

    __slots__ = ("_run", "_steps", "_tracker")

    def __init__(self, tracker: Tracker, step: LaterStep) -> None:
        self._tracker = tracker
        self._steps = steps = [step]
        # The coroutine knows nothing of this object: forgotten, it warns at once.
        self._run = _hand_over(tracker, steps)

    @property
    def event_id(self) -> str:
        """The id of the last event."""
        return self._steps[-1][1]

    def track(self, event: Event, **metadata: Unpack[AllMetadata]) -> Tracking:
        """Track one more event after those before; takes what `Tracker.track` takes."""
        if inspect.getcoroutinestate(self._run) != inspect.CORO_CREATED:
            raise RuntimeError("these events are tracked already; begin again with the tracker")
        self._steps.append(self._tracker._prepare(event, **metadata))  # noqa: SLF001 - the two are one
        return self

    def __await__(self) -> Generator[Any, Any, str]:
        return self._run.__await__()

    def send(self, value: Any) -> Any:
        """Run until the next wait, as a coroutine does."""
        return self._run.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error where it waits, as a coroutine does."""
        return self._run.throw(*error)

    def close(self) -> None:
        """End it where it waits, as a coroutine does."""
        self._run.close()


async def _hand_over(tracker: Tracker, steps: Sequence[LaterStep]) -> str:
    for payloads, _ in steps:
        wait = tracker.hand_over(payloads if isinstance(payloads, tuple) else await payloads())
        if wait is not None:
            await wait
    return steps[-1][1]


# What Python calls it when it was never awaited.
_hand_over.__qualname__ = "Tracker.track"


class Tracker(TrackMethods, Enriched):
    """
    Tracks events.

    ``async with Tracker(...) as tracker`` closes it at the end; it needs no
    loop before the first event.

    Args:
        emitters: An emitter, or a sequence of at least one. Also an object of
            the application's own with an `input` method.

        namespace: The tracker's name, sent with every event; at most 128
            characters, without ``:`` and ``;``.

        app_id: The application's id; at most 255 characters.

        subject: Whom events are about; a new one where it is None.

        platform: The platform code of events whose subject has none; None for ``pc``, which an
            integration may replace.

        encode_base64: Whether self-describing data is sent as URL-safe base64.

        json_default: Turns values that JSON does not know into some that it does.

        anonymous: Whether every event is anonymous: fields of the subject that
            identify are left out, and the collector is asked to do the same.

        clock: The wall clock in nanoseconds since the epoch.

        new_id: Makes event ids.

    Raises ConfigurationError when there is no emitter, one has no `input`, or
    what must be a function is none, InvalidEventError when a field breaks a
    rule of the protocol.
    """

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
        is_default = json_default is None or callable(json_default)
        check_argument(is_default, "json_default", json_default, "must be a function")
        check_argument(callable(clock), "clock", clock, "must be a function")
        check_argument(callable(new_id), "new_id", new_id, "must be a function")
        rule = "must be True or False"
        check_argument(isinstance(encode_base64, bool), "encode_base64", encode_base64, rule)
        check_argument(isinstance(anonymous, bool), "anonymous", anonymous, rule)
        self._encoder = PayloadBuilder(
            fixed,
            encode_base64=encode_base64,
            json_default=json_default,
            is_anonymous=anonymous,
            clock=clock,
            new_id=new_id,
        )
        self._enrich_with(self._encoder, is_anonymous=anonymous, clock=clock, new_id=new_id)
        self._has_platform = platform is not None
        self._namespace = namespace or ""
        self._emitters: list[AcceptingEmitter] = []
        self.subject: Subject = _subject(subject)
        given = list(emitters) if isinstance(emitters, list | tuple) else [emitters]
        check_argument(bool(given), "emitters", emitters, "must be an emitter or a sequence of at least one")
        for emitter in given:
            self._add("emitters", emitter)

    def __repr__(self) -> str:
        return f"<Tracker {self._namespace!r} to {', '.join(self.stats())}>"

    @property
    def emitters(self) -> tuple[Emitter, ...]:
        """The emitters; an object of the application's own is wrapped in one."""
        return tuple(self._emitters)

    def add_emitter(self, emitter: Emitter | Any) -> Self:
        """
        Hand events to one more *emitter*, from now on. Returns the tracker.

        Raises ConfigurationError when it has no `input`.
        """
        self._add("emitter", emitter)
        return self

    def _add(self, argument: str, emitter: Any) -> None:
        rule = "must be an emitter: an object with an input method"
        has_input = callable(getattr(emitter, "input", None)) and not isinstance(emitter, type)
        check_argument(has_input, argument, emitter, rule)
        # A subclass of one of our emitters may have an `input` of its own, which is what counts.
        if isinstance(emitter, AcceptingEmitter) and type(emitter).input is AcceptingEmitter.input:
            self._emitters.append(emitter)
        else:
            self._emitters.append(CustomEmitter(emitter))

    def set_subject(self, subject: Subject | None) -> Self:
        """Have events be about *subject* from now on; None for a new one. Returns the tracker."""
        self.subject = _subject(subject)
        return self

    def set_default_platform(self, platform: str) -> Self:
        """
        Set the platform code of events whose subject has none, unless the tracker was made with one.

        The integrations call it: a web service is ``srv``. Returns the tracker.

        Raises InvalidEventError when it is no platform code.
        """
        code = platform_code("platform", platform)
        if not self._has_platform:
            self._encoder.set_platform(code)
        return self

    # --- tracking

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
    ) -> Tracking:
        """Track *event*; what the arguments mean stands at `TrackMethods.track`."""
        is_plain = not self._has_functions and bound_contexts.get() is None
        encoder = self._encoder if is_plain else self._enrichment
        # Each by its position: a dictionary of arguments takes as long as the event's JSON.
        step = encoder.encode(
            event, self.subject, context, tstamp, true_timestamp, subject, event_id, anonymous
        )
        return Tracking(self, step)

    def _prepare(
        self,
        event: Event,
        *,
        context: Context = None,
        tstamp: Timestamp = None,
        true_timestamp: float | datetime | TrueTimestamp | None = None,
        subject: Subject | None = None,
        event_id: str | UUID | None = None,
        anonymous: bool = False,
    ) -> LaterStep:
        """Return what a `Tracking` hands over."""
        is_plain = not self._has_functions and bound_contexts.get() is None
        encoder = self._encoder if is_plain else self._enrichment
        return encoder.encode(
            event, self.subject, context, tstamp, true_timestamp, subject, event_id, anonymous
        )

    def track_nowait(self, event: Event, **metadata: Unpack[AllMetadata]) -> str:
        """
        Track *event* without waiting, from any thread, with or without a running loop.

        Takes what `track` takes, and returns the event id.

        Raises InvalidEventError when something breaks a rule or a coroutine function
        would have to be awaited (of a global context or an enricher), QueueFullError
        when an emitter has no room and its overflow policy is RAISE.
        """
        payloads, event_id = self._prepare(event, **metadata)
        if not isinstance(payloads, tuple):
            raise _must_be_awaited()
        if not payloads:
            return event_id
        full: QueueFullError | None = None
        for emitter in self._emitters:
            try:
                emitter.accept_nowait(payloads)
            except QueueFullError as error:
                full = error
        if full is not None:
            raise full
        return event_id

    async def track_and_confirm(
        self,
        event: Event,
        *,
        timeout: float | None = 5.0,
        **metadata: Unpack[AllMetadata],
    ) -> str:
        """
        Track *event* and wait until every emitter has settled it. Returns the event id.

        Whoever stops waiting does not stop the event: it is delivered later if it can be.

        Args:
            event: The event; the other arguments are those of `track`.

            timeout: Longest wait, in seconds; None for as long as it takes.

        Raises DeliveryError when an emitter has rejected or dropped it,
        TimeoutError when one has not settled it in time, and what `track` raises.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        made, event_id = self._prepare(event, **metadata)
        watched: list[tuple[str, asyncio.Future[str | None]]] = []
        try:
            async with asyncio.timeout(timeout):
                payloads = made if isinstance(made, tuple) else await made()
                watched += [
                    (name, asyncio.ensure_future(emitter.watch(payload)))
                    for name, emitter in zip(self._emitter_names(), self._emitters, strict=True)
                    for payload in payloads
                ]
                wait = self.hand_over(payloads)
                if wait is not None:
                    await wait
                await self.flush(wait=False)
                faults = [(name, await settled) for name, settled in watched]
        finally:
            for _, settled in watched:
                settled.cancel()
        lost = [f"{name} ({fault})" for name, fault in faults if fault is not None]
        if lost:
            raise DeliveryError(f"event {event_id} was not delivered by {', '.join(lost)}")
        return event_id

    def encode(self, event: Event, **metadata: Unpack[AllMetadata]) -> Step:
        """
        Return the payloads that `track` would hand over with the same arguments, and the event id.

        Raises what `track` raises, and InvalidEventError when a coroutine function
        would have to be awaited for them.
        """
        payloads, event_id = self._prepare(event, **metadata)
        if not isinstance(payloads, tuple):
            raise _must_be_awaited()
        return payloads, event_id

    def hand_over(self, payloads: Sequence[Payload]) -> Awaitable[None] | None:
        """
        Give *payloads* to every emitter, in one piece; one that fails keeps them from no other.

        Returns what the caller must await, or None.

        Raises QueueFullError when an emitter has no room and its overflow policy is RAISE.
        """
        if not payloads:
            # Left out by an enricher, or for want of a permission.
            return None
        if len(self._emitters) == 1:
            # Nobody to be kept from anything: no lists for the usual tracker.
            return self._emitters[0].accept(payloads)
        waits: list[Awaitable[None]] = []
        full: QueueFullError | None = None
        for emitter in self._emitters:
            try:
                wait = emitter.accept(payloads)
            except QueueFullError as error:
                full = error
            else:
                if wait is not None:
                    waits.append(wait)
        if full is None and not waits:
            return None
        return waits[0] if full is None and len(waits) == 1 else _wait_for_all(waits, full)

    # --- flush and close

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:
        """
        Have everything sent that was tracked before the call.

        Args:
            timeout: Longest wait, in seconds; None for as long as it takes.

            wait: Whether to wait at all.

        Returns what became of what was tracked since the last flush.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        results = await asyncio.gather(*(emitter.flush(timeout, wait=wait) for emitter in self._emitters))
        return self._total(results)

    async def aclose(self, timeout: float | None = None) -> FlushResult:
        """
        Send what is left, and close every emitter; what cannot be sent in time is dropped and counted.

        Tracking afterwards does not raise: the events are counted as dropped.

        Args:
            timeout: Seconds that it takes at most; None for each emitter's own `drain_timeout`.

        Returns what became of what was tracked since the last flush.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        results = await asyncio.gather(*(emitter.aclose(timeout) for emitter in self._emitters))
        return self._total(results)

    def _total(self, results: Sequence[FlushResult]) -> FlushResult:
        return FlushResult.of(dict(zip(self._emitter_names(), results, strict=True)))

    def _emitter_names(self) -> list[str]:
        """Return a name for each emitter; one that comes again gets a number."""
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
        """Return whether events arrive, and in one line why not; cheap and never waits."""
        return Health.of(self.stats())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _must_be_awaited() -> InvalidEventError:
    rule = "must be awaited, as a global context or an enricher of it is a coroutine function"
    return InvalidEventError(f"event: {rule}; use track or track_and_confirm")


def _mark_as_coroutine_function(function: Any) -> None:
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(function)
    else:
        # What asyncio.iscoroutinefunction looks for, which frameworks call.
        function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001


# A framework that is given one of these, for a background task, asks what it is: called as a
# plain function, in a thread, it would track nothing.
_mark_as_coroutine_function(Tracker.track)
for _name, _method in vars(TrackMethods).items():
    if _name.startswith("track_"):
        _mark_as_coroutine_function(_method)


async def _wait_for_all(waits: Sequence[Awaitable[None]], full: QueueFullError | None) -> None:
    await asyncio.gather(*waits)
    if full is not None:
        raise full


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
