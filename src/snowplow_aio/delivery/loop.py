"""
The one delivery loop: a store on one side, a transport on the other.

One root task per emitter decides when a request is due and starts senders; a
sender leases events, makes one attempt, and settles them. What is decided, is
decided by plain functions; the coroutines only move things.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, assert_never

from snowplow_aio.abc import EventStore, Response, Transport
from snowplow_aio.delivery.batch import Batch
from snowplow_aio.delivery.circuit_breaker import CircuitBreaker
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.hooks import Hooks
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.stored_event import StoredEvent, attempt, windows_of
from snowplow_aio.outcomes import Delivered, Dropped, EmitterStats, Outcome, Rejected, Retried, State
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.runtime.confirmations import Confirmations
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.delivery")


# Statuses about the bytes of a request, and those that pass by themselves. All
# others below 500 (a redirect, a wrong path, missing rights) are about the destination.
_ABOUT_THE_EVENTS = frozenset([400, 413, 414, 422, 431])
_PASSING = frozenset([408, 425, 429])

# How many attempts with a single event are refused before a destination is
# taken for one that refuses everything.
_TRIALS = 2

# So many refusals in a row without a delivery between them say the same.
_MOST_REFUSALS = 20


class Verdict(Enum):
    """What an answer means for the events of its request."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    RETRY = "retry"
    SPLIT = "split"
    UNWELCOME = "unwelcome"


def classify(status: int, count: int, retry: Retry, *, is_proven: bool = False) -> Verdict:
    """
    Return what the answer *status* means for a request of *count* events.

    Success is decided at the status line. What is refused for its bytes (400,
    413 ...) is pinned to single events by splitting. Where the destination
    itself seems to be the wrong one (3xx, 401, 404 ...) the request is
    unwelcome, unless *is_proven*: the destination takes other events (DELIVERY_NOTES.md §4.3).
    """
    if 200 <= status < 300:
        return Verdict.DELIVERED
    passes = status in _PASSING or not 300 <= status < 500
    if retry.retry_codes.get(status, passes):
        return Verdict.RETRY
    is_about_the_events = status in _ABOUT_THE_EVENTS or status in retry.retry_codes
    if not is_about_the_events and not is_proven:
        return Verdict.UNWELCOME
    return Verdict.SPLIT if count > 1 else Verdict.REJECTED


def _reason(response: Response) -> str:
    """Return why an event was rejected, for statistics and hooks."""
    return "too_large" if response.status == 413 else "refused"


class DeliveryLoop:
    """
    Moves events from a store to a transport until it is stopped.

    Args:
        name: The emitter's name, for outcomes and logs.

        store: Where the events wait.

        transport: How they are sent.

        batching: When a request is due; may be replaced while the loop runs.

        retry: What happens to those that were not delivered.

        ledger: Where their ends are counted.

        hooks: Who is told.

    Attributes:
        requests: Attempts made.

        retries: Attempts that failed and are repeated, by reason.

        restarts: Senders that were cancelled from outside.

        last_error: The latest failure, or None.

        last_success: When a request was last answered with success, in seconds of the loop's clock, or None.

        watchers: Who waits for single events.
    """

    def __init__(
        self,
        *,
        name: str,
        store: EventStore,
        transport: Transport,
        batching: Batching,
        retry: Retry,
        counters: Counters,
        hooks: Hooks,
    ) -> None:
        self._name = name
        self._store = store
        self._transport = transport
        self._retry = retry
        self._counters = counters
        self._hooks = hooks
        self._senders: set[asyncio.Task[None]] = set()
        self._throttled = ThrottledLog(log)
        self.batching: Batching = batching
        self.breaker: CircuitBreaker = CircuitBreaker(retry)
        self.requests: int = 0
        self.retries: Counter[str] = Counter()
        self.restarts: int = 0
        self.last_error: str | None = None
        self.last_success: float | None = None
        self._refusals = 0
        self._flush_until = -1
        self.confirmations: Confirmations = Confirmations()
        self._is_stopping = False
        self._is_abandoned = False
        # What each sender has leased, for the case that its loop is closed under it.
        self._in_hand: set[Batch] = set()

    # --- the root task

    async def deliver(self, until: int | None = None) -> None:
        """
        Deliver until cancelled, or until everything up to the window *until* is settled.

        What was leased is back in the store when it ends.
        """
        loop = asyncio.get_running_loop()
        self._is_stopping = False
        try:
            while until is None or not self._counters.is_settled(until):
                if self._is_due(loop.time(), in_flight=len(self._senders)):
                    self._start(self._send())
                    # The sender leases in its first step; then the store says what is left.
                    await asyncio.sleep(0)
                else:
                    await self._wait(loop.time())
        except GeneratorExit:
            # Its loop is gone, and with it all that could be waited for.
            self._is_abandoned = True
            raise
        finally:
            if not self._is_abandoned:
                await self._stop_senders()
                await self._transport.aclose()

    def _is_due(self, now: float, *, in_flight: int) -> bool:
        oldest = self._store.oldest()
        if oldest is None or not self.breaker.admits(now, in_flight):
            return False
        statistics = self._store.statistics()
        return self.batching.is_due(
            waiting=statistics.pending,
            waiting_bytes=statistics.pending_bytes,
            waited=now - oldest.accepted_at,
            in_flight=in_flight,
            flushing=oldest.window <= self._flush_until,
        )

    async def _wait(self, now: float) -> None:
        """Wait until a request may be due. A sender that ends notifies the store."""
        oldest = self._store.oldest()
        if oldest is None:
            await self._store.wait(count=1, size=math.inf, timeout=None)
        elif len(self._senders) >= self.batching.max_connections:
            await self._store.wait(count=math.inf, size=math.inf, timeout=None)
        elif not self.breaker.admits(now, len(self._senders)):
            pause = None if self._senders else max(0.0, self.breaker.not_before - now)
            await self._store.wait(count=math.inf, size=math.inf, timeout=pause)
        else:
            enough = self.batching.max_batch if self._senders else self.batching.batch_size
            interval = self.batching.flush_interval
            # The difference that `is_due` looks at: rounded otherwise, it might not be due at the end.
            linger = None if interval is None else max(0.0, interval - (now - oldest.accepted_at))
            await self._store.wait(count=enough, size=self.batching.byte_limit, timeout=linger)

    def flush_soon(self, window: int, now: float, *, ends_at: float | None = None) -> None:
        """
        Have everything up to *window* sent without lingering; a destination that failed gets one probe.

        Where the delivery *ends_at* a time, in seconds of the loop's clock, pauses are short from now on.
        """
        self.breaker.ends_at = ends_at or self.breaker.ends_at
        self._flush_until = max(self._flush_until, window)
        self.breaker.allow_probe(now)
        self._store.notify()

    def _start(self, sender: Coroutine[Any, Any, None]) -> None:
        # An empty context: a request of the application must not live as long as the delivery.
        task = asyncio.get_running_loop().create_task(sender, context=contextvars.Context())
        self._senders.add(task)
        task.add_done_callback(self._sender_ended)

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        self._senders.discard(task)
        if task.cancelled():
            self.restarts += not self._is_stopping
        elif (error := task.exception()) is not None:
            log.error("%s: a sender failed; its events are sent again", self._name, exc_info=error)
        self._store.notify()

    async def _stop_senders(self) -> None:
        self._is_stopping = True
        senders = list(self._senders)
        for sender in senders:
            sender.cancel()
        if senders:
            await asyncio.wait(senders)

    def abandon(self) -> list[StoredEvent]:
        """
        Give up a loop that was closed without ending its tasks; return the events that it had leased.

        Should the tasks run again after all, they settle nothing.
        """
        self._is_abandoned = True
        return [entry for lease in self._in_hand for entry in lease.unsettled()]

    # --- one sender

    async def _send(self) -> None:
        """Make requests as long as they are due."""
        loop = asyncio.get_running_loop()
        while True:
            entries = await self._store.lease(
                max_events=self.batching.max_batch,
                max_bytes=self.batching.byte_limit - self._transport.request_bytes,
                event_bytes=self._transport.event_bytes,
            )
            if fresh := await self._without_expired(entries, loop.time()):
                await self._settle(fresh)
            if not self._is_due(loop.time(), in_flight=len(self._senders) - 1):
                return

    async def _without_expired(self, entries: Sequence[StoredEvent], now: float) -> Sequence[StoredEvent]:
        """Return *entries* without those that are too old, which are dropped."""
        max_age = self._retry.max_age
        if max_age is None or all(now - entry.accepted_at <= max_age for entry in entries):
            return entries
        expired = [entry for entry in entries if now - entry.accepted_at > max_age]
        await self._store.give_up(expired, reason="expired", status=None)
        self.drop(expired, "expired")
        return [entry for entry in entries if now - entry.accepted_at <= max_age]

    # Whether the interpreter is: then modules are gone that compiled code must have.
    _is_ending = staticmethod(sys.is_finalizing)

    async def _settle(self, leased: Sequence[StoredEvent]) -> None:
        """Send *leased* events in one request, or in as many as a refusal makes of it, and settle each."""
        lease = Batch(leased)
        if self.breaker.is_open:
            lease.single_out(1)
        self._in_hand.add(lease)
        try:
            while entries := lease.part():
                started = asyncio.get_running_loop().time()
                response = await self._attempt(entries)
                if self._is_abandoned:
                    return
                verdict = self._judge(response, lease)
                if verdict is Verdict.SPLIT:
                    lease.split()
                elif verdict is Verdict.RETRY and not self._retry.gives_up:
                    self._put_off(lease, started, response)
                    return
                elif verdict is Verdict.UNWELCOME and not self._retry.gives_up:
                    if self._is_hopeless(lease, response):
                        self._hold(lease, started, response)
                        return
                else:
                    await self._let_go(entries, verdict, response)
                    lease.settle()
                    self._record(entries, verdict, response)
                    if verdict is Verdict.DELIVERED:
                        await self._prove(lease)
        finally:
            self._in_hand.discard(lease)
            # Whatever ended this, also a cancellation: what is not settled waits again.
            is_over = self._is_abandoned or self._is_ending()
            if (unsettled := lease.unsettled()) and not is_over:
                await self._store.release(unsettled)

    def _judge(self, response: Response, lease: Batch) -> Verdict:
        if response.is_misconfigured:
            return Verdict.UNWELCOME
        verdict = classify(response.status, len(lease.part()), self._retry, is_proven=lease.is_proven)
        # Who has said that a status is not to be retried gets each event back.
        is_sure = lease.is_proven or response.status in self._retry.retry_codes
        if verdict is Verdict.REJECTED and not is_sure and self._refusals >= _MOST_REFUSALS:
            return Verdict.UNWELCOME
        return verdict

    def _is_hopeless(self, lease: Batch, response: Response) -> bool:
        """Take in that the next part of *lease* was unwelcome; return whether everything would be."""
        if response.is_misconfigured or self._refusals >= _MOST_REFUSALS:
            return True
        is_probe = self.breaker.is_open
        if len(lease.part()) > 1:
            lease.single_out(_TRIALS)
            return is_probe
        return lease.doubt(response) == _TRIALS or is_probe

    async def _prove(self, lease: Batch) -> None:
        """Reject what was refused alone before: the destination has taken another event of *lease*."""
        lease.is_proven = True
        while lease.suspects:
            entry, response = lease.suspects[-1]
            await self._let_go([entry], Verdict.REJECTED, response)
            lease.suspects.pop()
            self._record([entry], Verdict.REJECTED, response)

    async def _let_go(self, entries: Sequence[StoredEvent], verdict: Verdict, response: Response) -> None:
        """Have the store forget *entries*, which are settled."""
        if verdict is Verdict.DELIVERED:
            await self._store.ack(entries)
        else:
            reason = _reason(response) if verdict is Verdict.REJECTED else "not_retried"
            await self._store.give_up(entries, reason=reason, status=response.status or None)

    async def _attempt(self, entries: Sequence[StoredEvent]) -> Response:
        self.requests += 1
        try:
            response = await self._transport.send(attempt(entries))
        except TransportError as error:
            cause = error.__cause__ or error
            log.debug("%s: no answer for %d events: %r", self._name, len(entries), cause)
            return Response(status=0, reason=type(cause).__name__, detail=str(error))
        except Exception as error:
            # A fault of the transport itself: the events wait, the breaker keeps it from spinning.
            log.exception("%s: the transport failed", self._name)
            return Response(status=0, reason=type(error).__name__)
        log.debug("%s: %d events answered with %d", self._name, len(entries), response.status)
        return response

    def _record(self, entries: Sequence[StoredEvent], verdict: Verdict, response: Response) -> None:
        """Count acknowledged *entries* out, and tell the hooks."""
        windows = windows_of(entries)
        match verdict:
            case Verdict.DELIVERED:
                self._succeeded()
                self._counters.deliver(windows)
                self._confirm(entries, None)
                self._tell(Delivered, entries, status=response.status)
            case Verdict.REJECTED:
                # The destination works: it has read the event and refuses it.
                self.breaker.succeed()
                self._refusals += 1
                reason = _reason(response)
                self._failed(response)
                self._counters.reject(windows, reason)
                self._confirm(entries, reason)
                self._throttled.log(
                    reason,
                    logging.ERROR,
                    "%s: an event was rejected with status %d",
                    self._name,
                    response.status,
                )
                self._tell(Rejected, entries, reason=reason, status=response.status)
            case Verdict.RETRY | Verdict.UNWELCOME:
                self._failed(response)
                self.drop(entries, "not_retried")
            case Verdict.SPLIT:  # pragma: no cover - handled by the caller
                raise AssertionError(verdict)
            case _:  # pragma: no cover
                assert_never(verdict)

    def _succeeded(self) -> None:
        if self.breaker.is_open:
            log.warning("%s: events are taken again", self._name)
        if self.breaker.failures:
            # The root waits for this sender, the probe; now others may help it.
            self._store.notify()
        self.breaker.succeed()
        self._refusals = 0
        self.last_success = asyncio.get_running_loop().time()

    def _put_off(self, lease: Batch, started: float, response: Response) -> None:
        """Close the breaker after a failure that may pass. The caller releases the events."""
        now = asyncio.get_running_loop().time()
        pause = self.breaker.fail(started, now, response.retry_after)
        message = "%s: %d events were not delivered (%s) and are kept; next attempt in %.1f s"
        left, failure = len(lease.unsettled()), self._failed(response)
        self._throttled.log(response.reason, logging.WARNING, message, self._name, left, failure, pause)
        self._keep(lease, response, pause)

    def _hold(self, lease: Batch, started: float, response: Response) -> None:
        """Close the breaker to a destination that refuses everything. The caller releases the events."""
        now = asyncio.get_running_loop().time()
        was_held = self.breaker.is_open
        pause = self.breaker.open(started, now)
        failure = self._failed(response)
        if not was_held:
            message = "%s: misconfigured: everything is refused (%s); events are kept, one is tried in %.0f s"
            self._throttled.log("misconfigured", logging.ERROR, message, self._name, failure, pause)
        self._keep(lease, response, pause)

    def _keep(self, lease: Batch, response: Response, pause: float) -> None:
        self.retries[response.reason] += 1
        status = response.status or None
        self._tell(Retried, lease.unsettled(), reason=response.reason, status=status, pause=pause)

    def _failed(self, response: Response) -> str:
        detail = f": {response.detail}" if response.detail else ""
        self.last_error = f"{response.reason or f'status {response.status}'}{detail}"
        return self.last_error

    def _confirm(self, entries: Sequence[StoredEvent], fault: str | None) -> None:
        if self.confirmations:
            for entry in entries:
                self.confirmations.tell(entry.payload, fault)

    def stats(self, now: float) -> EmitterStats:
        """Return the numbers of books, store and loop at *now*, in seconds of the loop's clock."""
        store, counters, oldest = self._store.statistics(), self._counters, self._store.oldest()
        state: State = (
            "misconfigured" if self.breaker.is_open else "backing_off" if self.breaker.failures else "ok"
        )
        return EmitterStats(
            accepted=counters.accepted,
            pending=store.pending,
            leased=store.leased,
            delivered=counters.delivered,
            rejected=MappingProxyType(dict(counters.rejected)),
            dropped=MappingProxyType(dict(counters.dropped)),
            bytes=store.bytes,
            requests=self.requests,
            retries=MappingProxyType(dict(self.retries)),
            restarts=self.restarts,
            hook_errors=self._hooks.errors,
            oldest_age=None if oldest is None else max(0.0, now - oldest.accepted_at),
            last_success_age=None if self.last_success is None else max(0.0, now - self.last_success),
            next_attempt=max(0.0, self.breaker.not_before - now) if self.breaker.failures else None,
            last_error=self.last_error,
            state=state,
        )

    # --- what ends without an attempt

    def drop(self, entries: Sequence[StoredEvent], reason: str, *, is_told: bool = True) -> None:
        """Count out *entries*, which are in no store any more; tell the hooks where *is_told*."""
        if not entries:
            return
        self._counters.drop(windows_of(entries), reason)
        self._confirm(entries, reason)
        self._throttled.log(
            f"dropped:{reason}",
            logging.WARNING,
            "%s: events are dropped (%s)",
            self._name,
            reason,
            count=len(entries),
        )
        if is_told:
            self._tell(Dropped, entries, reason=reason)

    def _tell(self, kind: Callable[..., Outcome], entries: Sequence[StoredEvent], **details: object) -> None:
        if self._hooks:
            loop = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
            since = min(entry.accepted_at for entry in entries)
            outcome = kind(
                emitter=self._name,
                payloads=tuple(entry.payload for entry in entries),
                attempts=max(entry.attempts for entry in entries),
                waited=max(0.0, loop.time() - since) if loop is not None else 0.0,
                **details,
            )
            self._hooks.call(outcome)
