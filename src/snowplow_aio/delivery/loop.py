"""
The one delivery loop: a store on one side, a transport on the other.

One root task per emitter decides when a request is due and starts senders. A
sender leases events, makes one attempt, and settles them. Plain functions
decide (`verdict.decide`, `Batching.is_due`, `CircuitBreaker.admits`); the
coroutines here carry the decisions out.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import assert_never

from snowplow_aio.abc import EventStore, Response, Transport
from snowplow_aio.delivery.batch import Batch
from snowplow_aio.delivery.circuit_breaker import CircuitBreaker
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.hooks import Hooks
from snowplow_aio.delivery.reporting import Reporter
from snowplow_aio.delivery.verdict import (
    BackOff,
    Ending,
    Isolate,
    OpenCircuit,
    SetAside,
    Settle,
    Split,
    TryAgain,
    decide,
    rejection,
)
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.stored_event import StoredEvent, attempt
from snowplow_aio.outcomes import EmitterStats
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.runtime.tasks import start_task


class DeliveryLoop:
    """
    Moves events from a store to a transport until it is stopped.

    Args:
        name: The emitter's name, for outcomes and logs.

        store: Holds the events that wait.

        transport: Makes the requests.

        batching: Says when a request is due and how much goes into it; may be replaced while the loop runs.

        retry: Says what happens to events that were not delivered.

        counters: Where events are counted out.

        hooks: Called with every outcome.

    Attributes:
        breaker: Keeps all senders from a destination that failed.

        reporter: Records what became of events.

        restarts: Senders that were cancelled from outside.
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
        self.batching: Batching = batching
        self.breaker: CircuitBreaker = CircuitBreaker(retry)
        self.reporter: Reporter = Reporter(name, counters, hooks)
        self.restarts: int = 0
        # Events that were rejected in a row, without a delivery between them.
        self._refusals = 0
        self._flush_until = -1
        # Events accepted up to this time are sent, in as many requests as they need.
        self._due_until = -math.inf
        self._senders: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._is_abandoned = False
        # The batch of each sender, for the case that the loop is closed under them.
        self._in_hand: set[Batch] = set()

    # --- the root task

    async def deliver(self, until: int | None = None) -> None:
        """
        Deliver until cancelled, or until everything up to the flush window *until* is settled.

        Leased events are back in the store when it ends.
        """
        loop = asyncio.get_running_loop()
        self._is_stopping = False
        try:
            while not self._is_abandoned and (until is None or not self._counters.is_settled(until)):
                # One time for both: a pause that ends between two looks would be waited for for ever.
                now = loop.time()
                if self._is_due(now, in_flight=len(self._senders)):
                    if self._transport.max_events < self.batching.max_batch:
                        # What waits would fit into one request of another transport.
                        self._due_until = now
                    self._start_sender()
                    # The sender leases in its first step; then the store says what is left.
                    await asyncio.sleep(0)
                else:
                    await self._wait(now)
        except GeneratorExit:
            # The event loop is gone, so nothing can be waited for.
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
            flushing=oldest.window <= self._flush_until or oldest.accepted_at <= self._due_until,
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
        Send everything up to the flush *window* at once; a destination that failed gets one probe.

        Args:
            window: The number of the flush window.

            now: The present, in seconds of the loop's clock.

            ends_at: When the delivery ends, on the same clock, so that pauses are short until then; or None.
        """
        self.breaker.ends_at = ends_at or self.breaker.ends_at
        self._flush_until = max(self._flush_until, window)
        self.breaker.allow_probe(now)
        self._store.notify()

    def _start_sender(self) -> None:
        sender = start_task(asyncio.get_running_loop(), self._send())
        self._senders.add(sender)
        sender.add_done_callback(self._sender_ended)

    def _sender_ended(self, sender: asyncio.Task[None]) -> None:
        self._senders.discard(sender)
        if sender.cancelled():
            self.restarts += not self._is_stopping
        elif (error := sender.exception()) is not None:
            self.reporter.sender_failed(error)
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
        Give up an event loop that was closed without ending its tasks; return the events leased in it.

        If the tasks run again after all, they settle nothing.
        """
        self._is_abandoned = True
        return [event for batch in self._in_hand for event in batch.unsettled()]

    def stats(self, now: float) -> EmitterStats:
        """Return the numbers of counters, store and loop at *now*, in seconds of the loop's clock."""
        return self.reporter.stats(now, self._store, self.breaker, self.restarts)

    # --- one sender

    async def _send(self) -> None:
        """Make requests as long as they are due."""
        loop = asyncio.get_running_loop()
        while not self._is_abandoned:
            leased = await self._store.lease(
                max_events=min(self.batching.max_batch, self._transport.max_events),
                max_bytes=self.batching.byte_limit - self._transport.request_bytes,
                event_bytes=self._transport.event_bytes,
            )
            if leased:
                await self._settle(Batch(leased))
            # An eager task gets here before it is in the set.
            others = self._senders - {asyncio.current_task()}
            if not self._is_due(loop.time(), in_flight=len(others)):
                return

    # At the end of the interpreter modules are gone that compiled code needs.
    _is_ending = staticmethod(sys.is_finalizing)

    async def _settle(self, batch: Batch) -> None:
        """Send *batch* and settle its events; whatever ends this, the others wait again."""
        self._in_hand.add(batch)
        try:
            await self._drop_expired(batch)
            await self._send_parts(batch)
        finally:
            self._in_hand.discard(batch)
            # Also after a cancellation.
            is_over = self._is_abandoned or self._is_ending()
            if (unsettled := batch.unsettled()) and not is_over:
                await self._store.release(unsettled)

    async def _drop_expired(self, batch: Batch) -> None:
        """Drop the events of *batch* that are too old; none of it was sent yet."""
        max_age, now = self._retry.max_age, asyncio.get_running_loop().time()
        if max_age is None or not (expired := batch.put_first(lambda one: now - one.accepted_at > max_age)):
            return

        def record() -> None:
            batch.settle()
            self.reporter.dropped(expired, "expired")

        await self._end(self._store.give_up(expired, reason="expired", status=None), record)

    async def _send_parts(self, batch: Batch) -> None:
        """Send *batch* in one request, or in as many as refusals ask for."""
        if self.breaker.is_open:
            batch.isolate(1)
        while part := batch.next_part():
            started = asyncio.get_running_loop().time()
            response = await self._attempt(part)
            if self._is_abandoned:
                return
            is_probe, refusals = self.breaker.is_open, self._refusals
            decision = decide(response, batch.state(), self._retry, is_probe=is_probe, refusals=refusals)
            match decision:
                case Settle() as settlement:
                    await self._settle_part(batch, settlement, response)
                case Split():
                    batch.split()
                case Isolate(count):
                    batch.isolate(count)
                case SetAside():
                    batch.set_aside(response)
                case TryAgain():
                    batch.try_again()
                case BackOff(retry_after):
                    self._back_off(batch, response, started, retry_after)
                    return
                case OpenCircuit():
                    self._open_circuit(batch, response, started)
                    return
                case _:  # pragma: no cover
                    assert_never(decision)

    async def _attempt(self, part: Sequence[StoredEvent]) -> Response:
        """Send *part* once; return the answer, of status 0 where there was none."""
        self.reporter.requests += 1
        try:
            response = await self._transport.send(attempt(part))
        except TransportError as error:
            cause = error.__cause__ or error
            self.reporter.no_answer(len(part), error)
            return Response(status=0, reason=type(cause).__name__, detail=str(error))
        except Exception as error:  # noqa: BLE001 - whatever the transport does
            # A fault of the transport itself: the events wait, the breaker keeps it from spinning.
            self.reporter.transport_failed(error)
            return Response(status=0, reason=type(error).__name__)
        self.reporter.answered(len(part), response)
        return response

    # --- what follows a decision

    async def _settle_part(self, batch: Batch, settlement: Settle, response: Response) -> None:
        part = batch.next_part()

        def record() -> None:
            batch.settle()
            self._record(part, settlement, response)

        await self._end(self._removal(part, settlement, response), record)
        if settlement.ending is Ending.DELIVERED:
            await self._reject_suspects(batch)

    async def _reject_suspects(self, batch: Batch) -> None:
        """Reject the events that were set aside: the destination has taken another one of *batch*."""
        batch.is_proven = True
        while batch.suspects:
            await self._reject_suspect(batch, *batch.suspects[-1])

    async def _reject_suspect(self, batch: Batch, event: StoredEvent, response: Response) -> None:
        settlement = rejection(response)

        def record() -> None:
            batch.suspects.pop()
            self._record([event], settlement, response)

        await self._end(self._removal([event], settlement, response), record)

    async def _end(self, removal: Awaitable[None], record: Callable[[], None]) -> None:
        """Await the *removal* of settled events from the store, and *record* their end."""
        try:
            await removal
        except asyncio.CancelledError:
            # The destination has answered, and the store completes what it has begun.
            if not self._is_abandoned:
                record()
            raise
        if not self._is_abandoned:
            record()

    def _removal(
        self, events: Sequence[StoredEvent], settlement: Settle, response: Response
    ) -> Awaitable[None]:
        """Return what removes settled *events* from the store, once it is awaited."""
        if settlement.ending is Ending.DELIVERED:
            return self._store.ack(events)
        return self._store.give_up(events, reason=settlement.reason, status=response.status or None)

    def _record(self, events: Sequence[StoredEvent], settlement: Settle, response: Response) -> None:
        """Record the end of *events*, which are out of the store; no cancellation can come between."""
        ending = settlement.ending
        match ending:
            case Ending.DELIVERED:
                self._note_success()
                self.reporter.delivered(events, response.status)
            case Ending.REJECTED:
                # The destination works: it has read the event and refuses it.
                self.breaker.succeed()
                self._refusals += 1
                self.reporter.rejected(events, settlement.reason, response)
            case Ending.DROPPED:
                self.reporter.failed(response)
                self.reporter.dropped(events, settlement.reason, status=response.status or None)
            case _:  # pragma: no cover
                assert_never(ending)

    def _note_success(self) -> None:
        if self.breaker.is_open:
            self.reporter.closed()
        if self.breaker.failures:
            # The root task waits for this sender, the probe; now others may help it.
            self._store.notify()
        self.breaker.succeed()
        self._refusals = 0

    def _back_off(self, batch: Batch, response: Response, started: float, retry_after: float | None) -> None:
        """Pause after a failure that may pass. The caller releases the events."""
        pause = self.breaker.fail(started, asyncio.get_running_loop().time(), retry_after)
        self.reporter.backed_off(batch.unsettled(), response, pause)

    def _open_circuit(self, batch: Batch, response: Response, started: float) -> None:
        """Keep all but probes from a destination that refuses everything. The caller releases the events."""
        is_news = not self.breaker.is_open
        pause = self.breaker.open(started, asyncio.get_running_loop().time())
        self.reporter.opened(batch.unsettled(), response, pause, is_news=is_news)
