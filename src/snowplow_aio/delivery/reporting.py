"""Telling of what became of events: counters, confirmations, logs, hooks and statistics."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from types import MappingProxyType

from snowplow_aio.abc import EventStore, Response
from snowplow_aio.delivery.circuit_breaker import CircuitBreaker
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.hooks import Hooks
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.stored_event import StoredEvent, windows_of
from snowplow_aio.outcomes import Delivered, Dropped, EmitterStats, Outcome, Rejected, Retried, State
from snowplow_aio.runtime import losses
from snowplow_aio.runtime.confirmations import Confirmations
from snowplow_aio.runtime.foreign_text import events_text, shown
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.delivery")

# A destination that has taken nothing after so many attempts is not only slow to start.
_UNREACHED_ATTEMPTS = 3


class Reporter:
    """
    Counts, logs and announces what became of events; it decides nothing.

    Each method of a settled event records its end synchronously, and calls the
    hooks last: at that moment the numbers are right again.

    Args:
        name: The emitter's name, for outcomes and logs.

        counters: Where events are counted out.

        hooks: Called with every outcome.

    Attributes:
        requests: Attempts made.

        retries: Attempts that failed and are repeated, by reason.

        last_error: The latest failure, or None.

        last_success: When a request was last answered with success, in seconds of the loop's clock, or None.

        confirmations: Callers that wait for the end of single events.
    """

    def __init__(self, name: str, counters: Counters, hooks: Hooks) -> None:
        self._name = name
        self._counters = counters
        self._hooks = hooks
        self._throttled = ThrottledLog(log)
        self.requests: int = 0
        self.retries: Counter[str] = Counter()
        self.last_error: str | None = None
        self.last_success: float | None = None
        self.confirmations: Confirmations = Confirmations()

    def continue_from(self, earlier: Reporter) -> None:
        """Go on with the numbers of an *earlier* reporter of the same emitter."""
        self.requests, self.retries = earlier.requests, earlier.retries
        self.last_error, self.last_success = earlier.last_error, earlier.last_success

    # --- ends of events

    def delivered(self, events: Sequence[StoredEvent], status: int) -> None:
        """Record that the destination has taken *events*."""
        self.last_success = asyncio.get_running_loop().time()
        self._counters.deliver(windows_of(events))
        self._confirm(events, None)
        self._call_hooks(Delivered, events, status=status)

    def rejected(self, events: Sequence[StoredEvent], reason: str, response: Response) -> None:
        """Record that the destination refuses *events* for good."""
        self.failed(response)
        self._counters.reject(windows_of(events), reason)
        self._confirm(events, reason)
        message = "%s: an event was rejected with status %d"
        self._throttled.log(reason, logging.ERROR, message, self._name, response.status)
        losses.say_once("rejected", message, self._name, response.status, count=len(events))
        self._call_hooks(Rejected, events, reason=reason, status=response.status)

    def dropped(
        self,
        events: Sequence[StoredEvent],
        reason: str,
        *,
        status: int | None = None,
        calls_hooks: bool = True,
        counted: list[int] | None = None,
    ) -> None:
        """
        Record that *events*, which are in no store any more, were given up after an answer *status*.

        *counted* is that of `Counters.drop`.
        """
        if not events:
            return
        self._counters.drop(windows_of(events), reason, counted)
        self._confirm(events, reason)
        message = "%s: events are dropped (%s)"
        kind = f"dropped:{reason}"
        self._throttled.log(kind, logging.WARNING, message, self._name, reason, count=len(events))
        if reason != "closed":
            # A close says in one line what it has lost.
            losses.say_once(reason, message, self._name, reason, count=len(events))
        if calls_hooks:
            self._call_hooks(Dropped, events, reason=reason, status=status)

    # --- attempts that failed

    def failed(self, response: Response) -> str:
        """Make *response* the latest failure; return it as text."""
        detail = f": {response.detail}" if response.detail else ""
        self.last_error = shown(f"{response.reason or f'status {response.status}'}{detail}")
        return self.last_error

    def no_answer(self, count: int, error: TransportError) -> None:
        """Log that a request with *count* events had no answer because of *error*."""
        # The cause may hold the headers of the request.
        log.debug("%s: no answer for %s: %s", self._name, events_text(count), shown(error))

    def transport_failed(self, error: Exception) -> None:
        """Log *error*, a fault of the transport itself: its events are sent again."""
        self._fault("the transport", error)

    def sender_failed(self, error: BaseException) -> None:
        """Log *error*, which has ended a sender: its events are sent again."""
        self._fault("a sender", error)

    def _fault(self, what: str, error: BaseException) -> None:
        # Not the error itself: its traceback has the text of all its causes.
        name, place = type(error).__name__, _place(error)
        message = "%s: %s failed with %s in %s: %s; the events are sent again"
        kind = f"{what}:{name}"
        self._throttled.log(kind, logging.ERROR, message, self._name, what, name, place, shown(error))

    def answered(self, count: int, response: Response) -> None:
        """Log that a request with *count* events had *response* as its answer."""
        log.debug("%s: %s answered with %d", self._name, events_text(count), response.status)

    def backed_off(self, kept: Sequence[StoredEvent], response: Response, pause: float) -> None:
        """Record a failure that may pass: *kept* will be sent again, after *pause* seconds."""
        failure = self.failed(response)
        message = "%s: %s not delivered (%s) and kept; next attempt in %.1f s"
        self._throttled.log(
            response.reason, logging.WARNING, message, self._name, events_text(len(kept)), failure, pause
        )
        self._retried(kept, response, pause)

    def opened(self, kept: Sequence[StoredEvent], response: Response, pause: float, *, is_news: bool) -> None:
        """Record that everything is refused: *kept* will be sent again, the first after *pause* seconds."""
        failure = self.failed(response)
        if is_news:
            message = "%s: misconfigured: everything is refused (%s); events are kept, one is tried in %.0f s"
            self._throttled.log("misconfigured", logging.ERROR, message, self._name, failure, pause)
            losses.say_once("misconfigured", message, self._name, failure, pause)
        self._retried(kept, response, pause)

    def closed(self) -> None:
        """Log that a destination that refused everything takes events again."""
        log.warning("%s: events are taken again", self._name)

    def _retried(self, kept: Sequence[StoredEvent], response: Response, pause: float) -> None:
        self.retries[response.reason] += 1
        if self.last_success is None and self.retries.total() >= _UNREACHED_ATTEMPTS:
            message = "%s: nothing has been delivered so far: %s; events are kept and tried again"
            losses.say_once("unreached", message, self._name, self.last_error)
        status = response.status or None
        self._call_hooks(Retried, kept, reason=response.reason, status=status, pause=pause)

    # --- who is told

    def _confirm(self, events: Sequence[StoredEvent], fault: str | None) -> None:
        if self.confirmations:
            for event in events:
                self.confirmations.tell(event.payload, fault)

    def _call_hooks(
        self, kind: Callable[..., Outcome], events: Sequence[StoredEvent], **details: object
    ) -> None:
        if self._hooks:
            loop = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
            since = min(event.accepted_at for event in events)
            outcome = kind(
                emitter=self._name,
                payloads=tuple(event.payload for event in events),
                attempts=max(event.attempts for event in events),
                waited=max(0.0, loop.time() - since) if loop is not None else 0.0,
                **details,
            )
            self._hooks.call(outcome)

    def stats(self, now: float, store: EventStore, breaker: CircuitBreaker, restarts: int) -> EmitterStats:
        """Return the numbers of counters, *store* and *breaker* at *now*, in seconds of the loop's clock."""
        held, oldest = store.statistics(), store.oldest()
        # Of one moment, whatever other threads do: each event that has not left is leased or waits.
        # The store is asked before, and an event is accepted before it is in the store; so the two
        # numbers of the store alone need not add up with these.
        totals = self._counters.totals()
        leased = min(held.leased, totals.unsettled)
        state: State = "misconfigured" if breaker.is_open else "backing_off" if breaker.failures else "ok"
        return EmitterStats(
            accepted=totals.accepted,
            pending=totals.unsettled - leased,
            leased=leased,
            delivered=totals.delivered,
            rejected=MappingProxyType(totals.rejected),
            dropped=MappingProxyType(totals.dropped),
            bytes=held.bytes,
            requests=self.requests,
            retries=MappingProxyType(dict(self.retries)),
            restarts=restarts,
            hook_errors=self._hooks.errors,
            oldest_age=None if oldest is None else max(0.0, now - oldest.accepted_at),
            last_success_age=None if self.last_success is None else max(0.0, now - self.last_success),
            next_attempt=max(0.0, breaker.not_before - now) if breaker.failures else None,
            last_error=self.last_error,
            state=state,
        )


def _place(error: BaseException) -> str:
    """Return where *error* was raised: the innermost function, with its file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name} ({frames[-1].filename}:{frames[-1].lineno})" if frames else "an unknown place"
