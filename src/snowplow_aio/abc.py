"""
The seams: emitter, event store and transport, and the callables that go with them.

An emitter takes events and says what became of them. The usual one is a store,
one delivery loop and a transport; an implementation of one of these never
learns which others it is used with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.outcomes import EmitterStats, FlushResult, Outcome


class Hook(Protocol):
    """Called with every outcome; a plain or a coroutine function."""

    def __call__(self, outcome: Outcome, /) -> Awaitable[None] | None:
        """Hear of *outcome*. What is raised is logged and harms nothing."""


class Clock(Protocol):
    """The wall clock, like `time.time_ns`."""

    def __call__(self) -> int:
        """Return nanoseconds since the epoch."""
        ...


class NewId(Protocol):
    """Makes event ids."""

    def __call__(self) -> str:
        """Return a new UUID in its canonical form."""
        ...


class Emitter(ABC):
    """
    Takes events from a tracker and brings them somewhere.

    A tracker also takes any object with an `input` method, plain or coroutine;
    `flush`, `aclose` and `stats` are called where they exist.

    Attributes:
        name: What statistics and logs call it.
    """

    name: str

    @abstractmethod
    async def input(self, payload: Mapping[str, str]) -> None:
        """
        Take one event: a `Payload`, or a mapping of protocol fields.

        Raises InvalidEventError when a mapping is no event, QueueFullError when
        there is no room and the overflow policy is RAISE.
        """

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:  # noqa: ARG002
        """
        Have everything sent that was taken before the call.

        Args:
            timeout: Longest wait, in seconds; None for as long as it takes.

            wait: Whether to wait at all.
        """
        return FlushResult()

    async def aclose(self, timeout: float | None = None) -> FlushResult:  # noqa: ARG002
        """
        Send what is left and end; a second call gives the same answer.

        Args:
            timeout: Longest wait, in seconds; None for the emitter's own.
        """
        return FlushResult()

    def stats(self) -> EmitterStats:
        """Return the emitter's numbers; cheap and never waits."""
        return EmitterStats()


class AcceptingEmitter(Emitter):
    """An emitter that takes events in one step, so that nothing can happen between two of them."""

    @abstractmethod
    def accept(self, payloads: Sequence[Payload]) -> Awaitable[None] | None:
        """
        Take events from inside the event loop, all or none of them.

        Returns what the caller must await, or None when there is nothing to wait for.

        Raises QueueFullError when there is no room and the overflow policy is RAISE.
        """

    @abstractmethod
    def accept_nowait(self, payloads: Sequence[Payload]) -> None:
        """
        Take events without waiting, all or none of them; safe from any thread.

        Raises QueueFullError when there is no room and the overflow policy is RAISE.
        """

    @abstractmethod
    def watch(self, payload: Payload) -> Awaitable[str | None]:
        """
        Return what ends when *payload*, which is about to be taken, is settled.

        It gives None for a delivered event, else why it was rejected or dropped.
        """

    async def input(self, payload: Mapping[str, str]) -> None:
        """Take one event, as `Emitter.input` says."""
        wait = self.accept((Payload.of(payload),))
        if wait is not None:
            await wait

    def input_nowait(self, payload: Mapping[str, str]) -> None:
        """
        Take one event without waiting; safe from any thread.

        Raises InvalidEventError when a mapping is no event, QueueFullError when
        there is no room and the overflow policy is RAISE.
        """
        self.accept_nowait((Payload.of(payload),))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """
    The numbers of a store.

    Attributes:
        pending: Events that wait.

        leased: Events that are leased.

        pending_bytes: Bytes of the waiting events, as JSON.

        bytes: Bytes of all events, as JSON.

    Example:
        Read how many events a store holds::

            statistics = store.statistics()
            print(statistics.pending + statistics.leased)
    """

    pending: int
    leased: int
    pending_bytes: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    The answer to one attempt.

    Attributes:
        status: An HTTP status; transports that have none use 200 for success,
            and 0 where there was no answer.

        reason: A word or two for logs and statistics, never a payload.

        detail: What a reader of a log wants to know besides, never a payload.

        retry_after: Seconds for which the destination wants to be left alone, or None.

        is_misconfigured: Whether nothing can be delivered until somebody
            changes a setting, here or at the destination.
    """

    status: int
    reason: str = ""
    detail: str = ""
    retry_after: float | None = None
    is_misconfigured: bool = False


class EventStore(ABC):
    """
    Keeps events until they are settled. This is the side that the delivery loop uses.

    The delivery leases events. It acknowledges them, which removes them, or releases
    them, which puts them back in front of all that wait. A store never gives
    one event to two leases at a time, and keeps the waiting events in order.

    Example:
        Take a batch, send it, and settle it::

            batch = await store.lease(max_events=50, max_bytes=40_000, event_bytes=1)
            try:
                await send(batch)
            except ConnectionError:
                await store.release(batch)
            else:
                await store.ack(batch)
    """

    @abstractmethod
    async def lease(self, *, max_events: int, max_bytes: int, event_bytes: int) -> Sequence[StoredEvent]:
        """
        Hand out the events that have waited longest, for one request.

        Anonymous and other events are not mixed.

        Args:
            max_events: Most events, from 1.

            max_bytes: Most bytes of their JSON, with *event_bytes* added for each.
                A first event that is larger comes alone.

            event_bytes: Bytes that each event takes in the request besides its JSON.

        Returns:
            The events; an empty sequence when nothing waits.
        """

    @abstractmethod
    async def ack(self, events: Sequence[StoredEvent]) -> None:
        """Remove leased *events*: they are settled."""

    async def give_up(self, events: Sequence[StoredEvent], *, reason: str, status: int | None) -> None:  # noqa: ARG002
        """
        Remove leased *events* that are rejected or dropped.

        A store that outlives the process keeps them as dead letters.

        Args:
            events: The events.

            reason: Why they are given up.

            status: The status of the last answer; None where there was none.
        """
        await self.ack(events)

    @abstractmethod
    async def release(self, events: Sequence[StoredEvent]) -> None:
        """Put leased *events* back in front, in their order."""

    @abstractmethod
    async def wait(self, *, count: float, size: float, timeout: float | None) -> None:
        """
        Return when enough events wait, or `notify` was called. May return early: the caller looks again.

        Args:
            count: So many events are enough.

            size: So many bytes of JSON are enough.

            timeout: Longest wait, in seconds; None for as long as it takes.
        """

    @abstractmethod
    def notify(self) -> None:
        """Have `wait` return: the one under way, else the next one; safe from any thread."""

    @abstractmethod
    def oldest(self) -> StoredEvent | None:
        """Return the event that has waited longest, or None."""

    @abstractmethod
    def statistics(self) -> StoreStatistics:
        """Return the store's numbers; cheap."""

    @abstractmethod
    def abandon(self) -> None:
        """Forget everything without touching it: after a fork it belongs to the parent process."""

    async def aclose(self) -> None:
        """Let go of what the store holds open."""
        return


class LocalStore(EventStore):
    """
    A store of this process: the events of a `track` are in it when that call returns.

    Example:
        Give an emitter a store of its own::

            HttpEmitter("https://collector.example.com", store=MemoryStore(capacity=10_000))
    """

    @abstractmethod
    def add_nowait(self, payloads: Sequence[Payload], now: float, window: int) -> Sequence[StoredEvent]:
        """
        Take all of *payloads* or none of them. Never waits; safe from any thread and any signal handler.

        Args:
            payloads: The events, at least one.

            now: The time, in seconds of the loop's clock.

            window: The flush window that they belong to.

        Returns:
            The events that were dropped: the new ones, or older ones that made room for them.

        Raises:
            QueueFullError: If there is no room and the overflow policy is RAISE.
        """

    @property
    def waits_for_room(self) -> bool:
        """Whether `add` may wait, so that it must be awaited."""
        return False

    async def add(
        self,
        payloads: Sequence[Payload],
        *,
        now: float,
        window: int,
        dropped: Callable[[Sequence[StoredEvent]], None],
    ) -> None:
        """
        Take all of *payloads* or none of them, and wait for room where the overflow policy is WAIT.

        Args:
            payloads: The events, at least one.

            now: The time, in seconds of the loop's clock.

            window: The flush window that they belong to.

            dropped: Called with the events that were dropped, also when the caller is
                cancelled while it waits.

        Raises:
            QueueFullError: If there is no room and the overflow policy is RAISE.
        """
        dropped(self.add_nowait(payloads, now=now, window=window))

    @abstractmethod
    def withdraw(self) -> Sequence[StoredEvent]:
        """Remove and return all events that wait, also for room: the store is being closed."""

    @property
    def is_above_high_water(self) -> bool:
        """Whether the store is so full that callers should wait a little before they add more."""
        return False

    async def below_high_water(self) -> None:
        """Return when the store is below its high water."""
        return


class SharedStore(EventStore):
    """
    A store outside the process: some put events into it, others take them out and deliver them.

    Whoever takes holds a number of events; `lease` hands out of these. Held
    events of a process that dies are given to others.
    """

    @abstractmethod
    async def put(self, payloads: Sequence[Payload]) -> Response:
        """
        Make one attempt to store all of *payloads*, at least one, or none of them.

        Raises TransportError when there was no answer.
        """

    @abstractmethod
    def take_for(self, accept: Callable[[int], int]) -> None:
        """
        Begin to take events out.

        Args:
            accept: Called with the number of events that were taken; returns their window.
        """

    @abstractmethod
    def stop_taking(self) -> None:
        """Take no more events out; what is held can still be leased."""

    @abstractmethod
    async def give_back(self) -> int:
        """Give what is held, and not leased, to others. Returns how many events that were."""


class Transport(ABC):
    """
    Brings events to a destination, one attempt at a time.

    Attributes:
        request_bytes: Bytes of a request besides its events.

        event_bytes: Bytes that each event takes besides its JSON.
    """

    request_bytes: int = 0
    event_bytes: int = 0

    @abstractmethod
    async def send(self, payloads: Sequence[Payload]) -> Response:
        """
        Make one attempt to send *payloads*, at least one, in one request.

        Raises TransportError when there was no answer.
        """

    def abandon(self) -> None:  # noqa: B027 - most transports hold nothing
        """Forget open connections without touching them: they belong to a parent process or a dead loop."""

    async def aclose(self) -> None:
        """Close what the transport has opened, and only that."""
        return
