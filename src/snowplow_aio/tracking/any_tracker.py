"""A tracker of either kind, without what waits: what it is made of, and how events are built and taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self, Unpack

from snowplow_aio.abc import AcceptingEmitter, Clock, Emitter, NewId
from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.arguments import check_argument, check_function
from snowplow_aio.model.old_names import explains_arguments, refuse_unknown
from snowplow_aio.model.payload import Event, Payload
from snowplow_aio.model.subject import Subject, platform_code, protocol_text
from snowplow_aio.outcomes import EmitterStats, Health
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.tracking.custom_emitter import accepting_emitter
from snowplow_aio.tracking.enricher_chain import EnricherChain, EnrichmentStats
from snowplow_aio.tracking.enrichers import Enricher, EnrichFunction, OnFault
from snowplow_aio.tracking.event_id import new_event_id
from snowplow_aio.tracking.global_contexts import ContextSource, GlobalContext, Rules
from snowplow_aio.tracking.json_encoder import JSONDefault
from snowplow_aio.tracking.payload_builder import PayloadBuilder, checked_subject
from snowplow_aio.tracking.track_methods import AllMetadata, HandOver
from snowplow_aio.version import __version__

log: QuietLogger = quiet_logger("snowplow_aio.tracking")

TRACKER_VERSION = f"pyaio-{__version__}"


class AnyTracker(NeverCopied):
    """What trackers of both kinds, the async and the blocking one, have in common."""

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
        self._app_id = app_id or ""
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
    def namespace(self) -> str:
        """The name of the tracker, which is sent with every event; empty if it has none."""
        return self._namespace

    @property
    def app_id(self) -> str:
        """The id of the application; empty if there is none."""
        return self._app_id

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
        self._give(payloads, waits=False)
        return made.event_id

    def _give(self, payloads: tuple[Payload, ...], *, waits: bool) -> None:
        """Give *payloads* to all emitters from outside their loops; *waits* says whether to wait for room."""
        if not payloads:
            # An enricher has left the event out, or the scope does not permit it.
            return
        failure: Exception | None = None
        for emitter in self._emitters:
            try:
                (emitter.accept_blocking if waits else emitter.accept_nowait)(payloads)
            except Exception as error:  # noqa: BLE001 - it keeps the event from no other emitter
                failure = error
        if failure is not None:
            raise failure

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
