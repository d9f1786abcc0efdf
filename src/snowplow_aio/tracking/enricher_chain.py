"""
The enricher chain: global contexts and enrichers, which stand between resolving and building an event.

The functions are the application's, and a mistake in one must not cost the
event: a function that fails leaves the draft as it was. None is called twice
for one event.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from snowplow_aio.events.page import PageView
from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.subject import Subject
from snowplow_aio.runtime import fork
from snowplow_aio.runtime.copies import CopiedByFields
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.tracking.draft import Draft
from snowplow_aio.tracking.enrichers import Enricher
from snowplow_aio.tracking.global_contexts import GlobalContext, WrongResultError
from snowplow_aio.tracking.payload_builder import PayloadBuilder, PendingPayloads, ResolvedCall
from snowplow_aio.tracking.scope import bound_contexts
from snowplow_aio.tracking.unchecked import fault_in, fault_of_call

log: QuietLogger = quiet_logger("snowplow_aio.tracking")

# The event with which entities are tried out when they are added.
_PROBE = PageView(page_url="https://example.com/")
_PROBE_ID = "00000000-0000-4000-8000-000000000000"
_PROBE_TIMES = '"dtm":"0"'

# Looked at for each event.
_bound_contexts: Final = bound_contexts.get

_Function = GlobalContext | Enricher
_T = TypeVar("_T")


def _nothing() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichmentStats(CopiedByFields):
    """
    The numbers of a tracker's global contexts and enrichers, since the tracker was made.

    Attributes:
        filtered: Events that were not tracked because an enricher returned None.

        lost: Events that were not tracked because an enricher with ``on_fault="drop"`` failed.

        faults: How often each function failed, by its name.

    Example:
        Complain about functions that fail::

            for name, count in tracker.enrichment_stats().faults.items():
                print(f"{name} failed {count} times")
    """

    filtered: int = 0
    lost: int = 0
    faults: Mapping[str, int] = field(default_factory=_nothing)


@dataclass(slots=True)
class _Passage:
    """
    One event on its way through the functions.

    Attributes:
        original: The draft of the call, which has the id and says whether the event is anonymous.

        draft: The draft after all functions so far.

        sendable: The last draft that is known to be sendable.

        payload: The payload of `draft`, once that is built.

        untried: The functions since `sendable`, with their results.

        faults: The functions that failed, and how.

        is_filtered: Whether an enricher returned None.

        is_lost: Whether the event is not tracked because a function failed.
    """

    original: Draft
    draft: Draft
    sendable: Draft
    payload: Payload | None = None
    untried: list[tuple[_Function, Any]] = field(default_factory=list)
    faults: list[tuple[_Function, str]] = field(default_factory=list)
    is_filtered: bool = False
    is_lost: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is sent."""
        return self.is_filtered or self.is_lost

    def take(self, function: _Function, result: Any) -> None:
        """
        Take the *result* of *function*.

        Raises:
            WrongResultError: If the function must not return such a thing.
        """
        draft = function.applied(self.draft, result)
        if draft is None:
            self.is_filtered = True
        elif draft is not self.draft:
            self.draft, self.payload = draft, None
            self.untried.append((function, result))

    def fail(self, function: _Function, error: BaseException) -> None:
        """Note that *function* failed."""
        log.debug("%s failed", function.name, exc_info=error)
        self.faults.append((function, _described(error)))
        self.is_lost = self.is_lost or function.loses


class _Running:
    """A function that is being called. Tasks that it leaves behind see that it has ended."""

    __slots__ = ("is_active", "of")

    def __init__(self, of: EnricherChain) -> None:
        self.of = of
        self.is_active = True


_running: ContextVar[tuple[_Running, ...]] = ContextVar("snowplow_aio.running_functions", default=())


class EnricherChain:
    """
    The global contexts and enrichers of a tracker.

    Args:
        builder: Builds the payloads of drafts.

        function_timeout: Longest wait for one coroutine function, in seconds, above 0.

    Attributes:
        functions: The global contexts, then the enrichers, each in the order in which they were added.
    """

    def __init__(self, builder: PayloadBuilder, *, function_timeout: float = 1.0) -> None:
        self._builder = builder
        self._function_timeout = function_timeout
        self.functions: tuple[_Function, ...] = ()
        self._throttled = ThrottledLog(log)
        # Events are tracked from any thread.
        self._lock, self._process_marker = threading.RLock(), fork.process_marker()
        self._filtered = self._lost = 0
        self._faults: Counter[str] = Counter()

    def add_context(self, context: GlobalContext) -> None:
        """
        Add a global context, before all enrichers.

        Raises:
            InvalidEventError: If its entities cannot be sent.
        """
        probe = Draft(
            event=_PROBE, context=context.entities, subject=Subject(), anonymous=False, event_id=_PROBE_ID
        )
        try:
            self._builder.build(probe, _PROBE_TIMES)
        except InvalidEventError:
            raise
        except Exception:
            fault = fault_in(context.entities, "context")
            if fault is None:
                raise
            raise fault from None
        contexts = [function for function in self.functions if isinstance(function, GlobalContext)]
        self.functions = (*contexts, context, *self.functions[len(contexts) :])

    def add_enricher(self, enricher: Enricher) -> None:
        """Add an enricher, after all others."""
        self.functions = (*self.functions, enricher)

    def stats(self) -> EnrichmentStats:
        """Return the numbers; cheap and never waits."""
        with self._counting():
            faults = MappingProxyType(dict(self._faults))
            return EnrichmentStats(filtered=self._filtered, lost=self._lost, faults=faults)

    def prepare(
        self,
        event: Any,
        context: Any = None,
        tstamp: Any = None,
        true_timestamp: Any = None,
        subject: Any = None,
        event_id: Any = None,
        anonymous: Any = False,  # noqa: FBT002 - every tracking method has it as a keyword
    ) -> PendingPayloads:
        """
        Do all that is done at the call of a tracking method: resolve, run the functions, build.

        The arguments are those of `Tracker.track`, and it raises the same errors.
        """
        try:
            if not self.functions and _bound_contexts() is None:
                return self._builder.payloads(
                    event, context, tstamp, true_timestamp, subject, event_id, anonymous
                )
            return self.run(
                self._builder.resolve(event, context, tstamp, true_timestamp, subject, event_id, anonymous)
            )
        except InvalidEventError:
            raise
        except Exception:
            fault = fault_of_call(event, context)
            if fault is None:
                raise
            raise fault from None

    def run(self, call: ResolvedCall) -> PendingPayloads:
        """
        Send the drafts of *call* through the functions that are for them, and build the results.

        Returns:
            The payloads. They are not ready yet if a coroutine function must be awaited.

        Raises:
            InvalidEventError: If the caller's event breaks a rule, or the caller is one
                of the functions.
        """
        if any(running.is_active and running.of is self for running in _running.get()):
            raise InvalidEventError("track: must not be called by a context or an enricher of the tracker")
        event_id = call.drafts[0].event_id
        if not call.is_permitted:
            self._builder.build_all(call)
            return PendingPayloads(event_id, ())
        functions: tuple[_Function, ...] = (*(_bound_contexts() or ()), *self.functions)
        if any(f.is_async and f.rules.accept(d.schema) for f in functions for d in call.drafts):
            # What is wrong with the event itself is said at the call, and not when it is awaited.
            self._builder.build_all(call)
            return PendingPayloads(event_id, None, partial(self._payloads, call, functions, can_wait=True))
        return PendingPayloads(event_id, _without_waiting(self._payloads(call, functions, can_wait=False)))

    async def _payloads(
        self, call: ResolvedCall, functions: Sequence[_Function], *, can_wait: bool
    ) -> tuple[Payload, ...]:
        payloads: list[Payload] = []
        for draft in call.drafts:
            passage = _Passage(draft, draft, draft)
            payload = await self._payload(call, passage, functions, can_wait=can_wait)
            self._note(passage)
            if payload is not None:
                payloads.append(payload)
        return tuple(payloads)

    async def _payload(
        self, call: ResolvedCall, passage: _Passage, functions: Sequence[_Function], *, can_wait: bool
    ) -> Payload | None:
        """Return the payload of an event after all *functions*, or None if nothing is sent."""
        for function in functions:
            # An enricher must see all that will be sent: if a result before it had to be taken back
            # afterwards, the event would be sent with parts that this one has never seen.
            if passage.untried and isinstance(function, Enricher):
                self._try_out(call, passage, is_last=False)
            if not passage.is_over and function.rules.accept(passage.draft.schema):
                await self._ask(function, passage, can_wait=can_wait)
            if passage.is_over:
                return None
        self._try_out(call, passage, is_last=True)
        return None if passage.is_over else passage.payload

    def _try_out(self, call: ResolvedCall, passage: _Passage, *, is_last: bool) -> None:
        """
        Build the payload; if that fails, leave out the results that cannot be sent.

        Raises:
            InvalidEventError: If the mistake is in the caller's event, and *is_last* says that no
                enricher comes that might correct it.
        """
        if passage.payload is not None:
            return
        try:
            passage.payload = self._built(call, passage, passage.draft)
        except Exception:  # noqa: BLE001 - whatever the functions have made up
            try:
                self._builder.build_all(call)
            except Exception:
                if is_last:
                    raise
                return
            # It is not the caller's mistake. Try the results one by one.
            passage.draft = passage.sendable
            for function, result in passage.untried:
                self._try_result(call, passage, function, result)
        passage.sendable = passage.draft
        passage.untried.clear()
        if passage.payload is None and not passage.is_over:
            passage.payload = self._built(call, passage, passage.draft)

    def _try_result(self, call: ResolvedCall, passage: _Passage, function: _Function, result: Any) -> None:
        try:
            draft = function.applied(passage.draft, result) or passage.draft
            passage.payload = self._built(call, passage, draft)
        except Exception as error:  # noqa: BLE001 - likewise
            passage.fail(function, error)
        else:
            passage.draft = draft

    def _built(self, call: ResolvedCall, passage: _Passage, draft: Draft) -> Payload:
        original = passage.original
        if draft is not original:
            # An enricher can neither change the id of an event nor make an anonymous one say who it was.
            draft = Draft(
                event=draft.event,
                context=draft.context,
                subject=draft.subject,
                anonymous=original.anonymous,
                event_id=original.event_id,
                page=draft.page,
            )
        return self._builder.build(draft, call.times)

    async def _ask(self, function: _Function, passage: _Passage, *, can_wait: bool) -> None:
        """Call *function*, and take its result or note its failure."""
        running = _Running(self)
        token = _running.set((*_running.get(), running))
        try:
            result = function(passage.draft)
            if function.is_async and can_wait:
                async with asyncio.timeout(self._function_timeout):
                    result = await result
            elif inspect.iscoroutine(result):
                # Never awaited, it would warn.
                result.close()
            passage.take(function, result)
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled(error):
                raise
            passage.fail(function, error)
        finally:
            running.is_active = False
            # When the garbage collector ends the coroutine, this is another context.
            with suppress(ValueError):
                _running.reset(token)

    def _counting(self) -> threading.RLock:
        # A lock that was held while the process forked is never released in the child.
        if not self._process_marker[0]:
            self._lock, self._process_marker = threading.RLock(), fork.process_marker()
        return self._lock

    def _note(self, passage: _Passage) -> None:
        if not (passage.faults or passage.is_filtered):
            return
        with self._counting():
            self._filtered += passage.is_filtered
            self._lost += passage.is_lost
            self._faults.update(function.name for function, _ in passage.faults)
        for function, said in passage.faults:
            outcome = "the event is not tracked" if function.loses else "the event goes on without it"
            message = "%s failed (%s); %s"
            self._throttled.log(function.name, logging.ERROR, message, function.name, said, outcome)


def _without_waiting(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of *coroutine*, in which nothing waits: no loop is needed for it."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise AssertionError("it must not wait")  # pragma: no cover


def _is_cancelled(error: BaseException) -> bool:
    """Return whether *error* is the cancellation of this task, and was not raised by a function."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    with suppress(RuntimeError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return False


def _described(error: BaseException) -> str:
    """Return the kind of *error* and its place; not its message, which may quote the event."""
    if isinstance(error, WrongResultError):
        return f"it {error}"
    link = error.__traceback__
    while link is not None and link.tb_next is not None:
        link = link.tb_next
    kind = type(error).__name__
    return (
        kind if link is None else f"{kind} at {Path(link.tb_frame.f_code.co_filename).name}:{link.tb_lineno}"
    )
