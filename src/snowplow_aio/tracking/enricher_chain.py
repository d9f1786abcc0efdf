"""
What is done to an event between `track` and its encoding: global contexts, then enrichers.

The functions are the application's, and what goes wrong in one must not cost
the event: a function that fails leaves the draft as it was.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from snowplow_aio.events.page import PageView
from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.primitive_event import PrimitiveEvent
from snowplow_aio.model.subject import Subject, merged, subject_with
from snowplow_aio.model.timestamps import DeviceTimestamp
from snowplow_aio.runtime import fork
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.tracking.draft import Draft, schema_of
from snowplow_aio.tracking.enrichers import Enricher
from snowplow_aio.tracking.global_contexts import GlobalContext, WrongResultError, bound_contexts
from snowplow_aio.tracking.payload_builder import PayloadBuilder, checked_subject
from snowplow_aio.tracking.scope import Permission, TrackingScope, bound_scope, bound_subject

log: QuietLogger = quiet_logger("snowplow_aio.tracking")

Payloads = tuple[Payload, ...]
Later = Callable[[], Coroutine[Any, Any, Payloads]]
"""Makes payloads once what is async can be awaited."""

# What `track` waits for a function that does not answer.
_FUNCTION_SECONDS = 1.0

_NOBODY = Subject()
_NOTHING: Mapping[str, str] = MappingProxyType({})

# With which entities are tried out.
_PROBE = PageView(page_url="https://example.com/")
_PROBE_ID = "00000000-0000-4000-8000-000000000000"

_T = TypeVar("_T")


def _nothing() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichmentStats:
    """
    What became of events before they were accepted, since the tracker was made.

    Attributes:
        filtered: Events for which an enricher returned None.

        lost: Events that were not tracked because an enricher failed whose
            ``on_fault`` is ``drop``.

        faults: How often a function failed, by its name.
    """

    filtered: int = 0
    lost: int = 0
    faults: Mapping[str, int] = field(default_factory=_nothing)


@dataclass(slots=True)
class _Report:
    """
    What functions did to one event.

    Attributes:
        faults: The functions that failed, and how.

        is_filtered: Whether an enricher returned None.

        is_lost: Whether the event is not tracked because one failed.
    """

    faults: list[tuple[GlobalContext | Enricher, str]] = field(default_factory=list)
    is_filtered: bool = False
    is_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """
    One call of `track` as it was made: nothing that changes later reaches it.

    Attributes:
        plain: Encodes what was given, untouched; raises what is the caller's fault.

        drafts: The event, and those that follow it.

        functions: The global contexts and enrichers, in their order.

        can_wait: Whether there is something async, so that the rest is done when it can be awaited.
    """

    plain: Callable[[], tuple[Payloads, str]]
    drafts: Sequence[Draft]
    functions: Sequence[GlobalContext | Enricher]
    tstamp: Any
    true_timestamp: Any
    can_wait: bool


class _PageAlone(TrackingScope):
    """What is left of an occasion whose subject and permission are known."""

    __slots__ = ("_page",)

    def __init__(self, page: Mapping[str, str]) -> None:
        self._page = page

    def permission(self) -> Permission:
        return "all"

    def fields(self) -> Mapping[str, str]:
        return _NOTHING

    def page(self) -> Mapping[str, str]:
        return self._page


class _Running:
    """A function that is being called. Tasks that it leaves behind see that it has ended."""

    __slots__ = ("is_active", "of")

    def __init__(self, of: EnricherChain) -> None:
        self.of = of
        self.is_active = True


_running: ContextVar[tuple[_Running, ...]] = ContextVar("snowplow_aio.tracking.enricher_chain", default=())


class EnricherChain:
    """
    The global contexts and enrichers of a tracker; encodes as its `Encoder` does, after them.

    Args:
        encoder: The tracker's.

        is_anonymous: Whether every event is anonymous.

        clock: The wall clock in nanoseconds since the epoch.

        new_id: Makes event ids.
    """

    def __init__(
        self,
        encoder: PayloadBuilder,
        *,
        is_anonymous: bool,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._encoder = encoder
        self._is_anonymous = is_anonymous
        self._clock = clock
        self._new_id = new_id
        self._contexts: tuple[GlobalContext, ...] = ()
        self._enrichers: tuple[Enricher, ...] = ()
        self._throttled = ThrottledLog(log)
        # Events are tracked from any thread.
        self._lock, self._process_marker = threading.Lock(), fork.process_marker()
        self._filtered = self._lost = 0
        self._faults: Counter[str] = Counter()

    def add_context(self, context: GlobalContext) -> None:
        """Add *context*. Raises InvalidEventError when its entities cannot be sent."""
        time = DeviceTimestamp(0)
        self._encoder.encode(_PROBE, _NOBODY, context.entities, time, None, None, _PROBE_ID, False)  # noqa: FBT003
        self._contexts = (*self._contexts, context)

    def add_enricher(self, enricher: Enricher) -> None:
        """Add *enricher*."""
        self._enrichers = (*self._enrichers, enricher)

    def stats(self) -> EnrichmentStats:
        """Return the numbers; cheap and never waits."""
        with self._counting():
            faults = MappingProxyType(dict(self._faults))
            return EnrichmentStats(filtered=self._filtered, lost=self._lost, faults=faults)

    def encode(
        self,
        event: Any,
        tracker_subject: Subject,
        context: Any,
        tstamp: Any,
        true_timestamp: Any,
        subject: Any,
        event_id: Any,
        anonymous: Any,
    ) -> tuple[Payloads | Later, str]:
        """
        Return what `Encoder.encode` returns, or instead of payloads what makes them once one can wait.

        Raises InvalidEventError when something that was given breaks a rule,
        or the caller is one of the functions.
        """
        if any(running.is_active and running.of is self for running in _running.get()):
            raise InvalidEventError("track: must not be called by a context or an enricher of the tracker")
        if tstamp is None:
            tstamp = DeviceTimestamp(self._clock() // 1_000_000)
        scope, bound = bound_scope.get(), bound_subject.get()
        visitor, page = None, _NOTHING
        if scope is not None:
            visitor, page = subject_with(scope.fields()), scope.page()
        permission = "all" if scope is None else scope.permission()
        given = None if subject is None else checked_subject(subject)
        layers = [layer for layer in (tracker_subject, visitor, bound, given) if layer is not None]
        everybody = merged(layers)
        own_id = self._new_id() if event_id is None else event_id
        is_anonymous = self._is_anonymous or bool(anonymous) or permission == "anonymous"
        plain = partial(
            self._encode, event, everybody, page, context, tstamp, true_timestamp, own_id, is_anonymous
        )
        drafts = self._drafts(event, everybody, page, context, own_id, is_anonymous=is_anonymous)
        if drafts is None:
            # Something is wrong, and the encoder says what.
            return plain()
        if permission == "nothing":
            return (), plain()[1]
        functions: tuple[GlobalContext | Enricher, ...] = (
            *(bound_contexts.get() or ()),
            *self._contexts,
            *self._enrichers,
        )
        can_wait = any(f.is_async and f.rules.accept(d.schema) for f in functions for d in drafts)
        call = _Call(
            plain=plain,
            drafts=drafts,
            functions=functions,
            tstamp=tstamp,
            true_timestamp=true_timestamp,
            can_wait=can_wait,
        )
        if can_wait:
            return partial(self._payloads, call), plain()[1]
        return _at_once(self._payloads(call)), drafts[0].event_id

    def _encode(
        self,
        event: Any,
        subject: Subject,
        page: Mapping[str, str],
        context: Any,
        tstamp: Any,
        true_timestamp: Any,
        event_id: Any,
        is_anonymous: bool,  # noqa: FBT001
    ) -> tuple[Payloads, str]:
        # The subject is whole already, and of the occasion nothing is left but the page.
        token = bound_subject.set(None)
        occasion_token = bound_scope.set(_PageAlone(page))
        try:
            return self._encoder.encode(
                event, _NOBODY, context, tstamp, true_timestamp, subject, event_id, is_anonymous
            )
        finally:
            bound_scope.reset(occasion_token)
            bound_subject.reset(token)

    def _drafts(
        self,
        event: Any,
        subject: Subject,
        page: Mapping[str, str],
        context: Any,
        event_id: Any,
        *,
        is_anonymous: bool,
    ) -> list[Draft] | None:
        """Return a draft of *event* and of each that follows it, or None where something is wrong."""
        parts = [(event, context), *(event.followers() if isinstance(event, PrimitiveEvent) else ())]
        drafts: list[Draft] = []
        for one, entities in parts:
            if not (entities is None or isinstance(entities, (list, tuple))) or schema_of(one) is None:
                return None
            draft = Draft(
                event=_alone(one),
                context=tuple(entities or ()),
                subject=merged([subject]),
                anonymous=is_anonymous,
                event_id=self._new_id() if drafts else str(event_id).lower(),
                page=page,
            )
            drafts.append(draft)
        return drafts

    async def _payloads(self, call: _Call) -> Payloads:
        payloads = [await self._payload(call, draft) for draft in call.drafts]
        return tuple(payload for payload in payloads if payload is not None)

    async def _payload(self, call: _Call, draft: Draft) -> Payload | None:
        """Return what is sent of *draft*, or None where nothing is."""
        report = _Report()
        try:
            payload = await self._enriched(call, draft, report, is_careful=False)
        except Exception:  # noqa: BLE001 - whatever the functions have made up
            # Is it the caller's fault? Then this raises.
            call.plain()
            # Whose is it? Once more, and each result is tried out.
            report = _Report()
            payload = await self._enriched(call, draft, report, is_careful=True)
        self._note(report)
        return payload

    async def _enriched(
        self, call: _Call, draft: Draft, report: _Report, *, is_careful: bool
    ) -> Payload | None:
        """
        Return what is sent of *draft* after all functions, or None where nothing is.

        Raises what encoding raises, unless *is_careful*: then a result that cannot be encoded is a fault.
        """
        current = draft
        for function in call.functions:
            if not function.rules.accept(current.schema):
                continue
            try:
                result = await self._ask(function, current, can_wait=call.can_wait)
                if result is not None and is_careful:
                    self._encoded(call, draft, result)
            except (Exception, asyncio.CancelledError) as error:
                if _is_cancelled(error):
                    raise
                log.debug("%s failed", function.name, exc_info=error)
                report.faults.append((function, _said(error)))
                if function.loses:
                    report.is_lost = True
                    return None
            else:
                if result is None:
                    report.is_filtered = True
                    return None
                current = result
        return self._encoded(call, draft, current)

    async def _ask(self, function: GlobalContext | Enricher, draft: Draft, *, can_wait: bool) -> Draft | None:
        """Return what *function* makes of *draft*. Raises what it raises, and what `applied` does."""
        running = _Running(self)
        token = _running.set((*_running.get(), running))
        try:
            result = function(draft)
            if function.is_async and can_wait:
                async with asyncio.timeout(_FUNCTION_SECONDS):
                    result = await result
            elif inspect.iscoroutine(result):
                # Never awaited, it would complain.
                result.close()
            return function.applied(draft, result)
        finally:
            running.is_active = False
            # Ended from outside by the garbage collector, this is another context.
            with suppress(ValueError):
                _running.reset(token)

    def _encoded(self, call: _Call, draft: Draft, result: Draft) -> Payload:
        """Return *result*, which functions have made of *draft*, as it is sent."""
        (payload,), _ = self._encode(
            _alone(result.event),
            result.subject,
            result.page,
            result.context,
            call.tstamp,
            call.true_timestamp,
            draft.event_id,
            draft.anonymous,
        )
        return payload

    def _counting(self) -> threading.Lock:
        # One that was held while the process forked is never released in the child.
        if not self._process_marker[0]:
            self._lock, self._process_marker = threading.Lock(), fork.process_marker()
        return self._lock

    def _note(self, report: _Report) -> None:
        if not (report.faults or report.is_filtered):
            return
        with self._counting():
            self._filtered += report.is_filtered
            self._lost += report.is_lost
            self._faults.update(function.name for function, _ in report.faults)
        for function, said in report.faults:
            outcome = "the event is not tracked" if function.loses else "the event goes on without it"
            message = "%s failed (%s); %s"
            self._throttled.log(function.name, logging.ERROR, message, function.name, said, outcome)


def _alone(event: Any) -> Any:
    return event.alone() if isinstance(event, PrimitiveEvent) else event


def _at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return what *coroutine*, in which nothing waits, returns."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise AssertionError("it must not wait")  # pragma: no cover


def _is_cancelled(error: BaseException) -> bool:
    """Return whether *error* comes of the cancellation of this task, and not out of a function."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    with suppress(RuntimeError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return False


def _said(error: BaseException) -> str:
    """Return the kind of *error* and its place. Not its message, which may quote the event."""
    if isinstance(error, WrongResultError):
        return f"it {error}"
    link = error.__traceback__
    while link is not None and link.tb_next is not None:
        link = link.tb_next
    kind = type(error).__name__
    return (
        kind if link is None else f"{kind} at {Path(link.tb_frame.f_code.co_filename).name}:{link.tb_lineno}"
    )
