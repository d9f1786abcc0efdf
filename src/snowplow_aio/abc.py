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
    A store's numbers.

    Attributes:
        pending: Events that wait.

        leased: Events that are leased.

        pending_bytes: Bytes of the waiting events, as JSON.

        bytes: Bytes of all events, as JSON.
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
    Keeps events until they are settled: the side of it that the delivery loop sees.

    An event is leased and then either acknowledged, which removes it, or
    released, which puts it back in front of all that wait. A store never gives
    one event to two leases at a time, and keeps the order of what waits.
    """

    @abstractmethod
    async def lease(self, *, max_events: int, max_bytes: int, event_bytes: int) -> Sequence[StoredEvent]:
        """
        Hand out what has waited longest; an empty sequence when nothing waits.

        All of it goes into one request: anonymous and other events are not mixed.

        Args:
            max_events: Most events.

            max_bytes: Most bytes of their JSON, with *event_bytes* added for each.
                A first event that is larger comes alone.
        """

    @abstractmethod
    async def ack(self, entries: Sequence[StoredEvent]) -> None:
        """Remove leased *entries*: they are settled."""

    async def give_up(self, entries: Sequence[StoredEvent], *, reason: str, status: int | None) -> None:  # noqa: ARG002
        """
        Remove leased *entries* that are rejected or dropped, for *reason*.

        A store that outlives the process keeps them aside for somebody to look at.
        *status* is that of the last answer, or None where there was none.
        """
        await self.ack(entries)

    @abstractmethod
    async def release(self, entries: Sequence[StoredEvent]) -> None:
        """Put leased *entries* back in front, in their order."""

    @abstractmethod
    async def wait(self, *, events: float, size: float, timeout: float | None) -> None:
        """
        Return when *events* events or *size* bytes wait, or `notify` was called.

        Not later than after *timeout* seconds. May return early: whoever waits looks again.
        """

    @abstractmethod
    def notify(self) -> None:
        """Have `wait` return; safe from any thread."""

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
    """A store of this process: what `track` hands over is in it when the call returns."""

    @abstractmethod
    def add_nowait(self, payloads: Sequence[Payload], now: float, window: int) -> Sequence[StoredEvent]:
        """
        Take all of *payloads* or none of them, without waiting; safe from any thread.

        Returns the events that were dropped: the new ones, or older ones that made room for them.

        Raises QueueFullError when there is no room and the overflow policy is RAISE.
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
        Do the same, and wait for room where the overflow policy is WAIT.

        What is dropped is handed to *dropped*, also when the caller is cancelled while it waits.
        """
        dropped(self.add_nowait(payloads, now=now, window=window))

    @abstractmethod
    def withdraw(self) -> Sequence[StoredEvent]:
        """Remove and return all events that wait, also for room: the store is being closed."""

    @property
    def is_above_high_water(self) -> bool:
        """Whether it would be kind to wait for room before adding more."""
        return False

    async def relief(self) -> None:
        """Return when the store is not crowded any more."""
        return


class SharedStore(EventStore):
    """
    A store outside the process, in which others put the events that this process takes out and delivers.

    The store holds a number of events for this process, of which `lease` hands out some. The held events
    of a process that dies are given to others.
    """

    @abstractmethod
    def take_for(self, taken: Callable[[int], int], gone: Callable[[int], None]) -> None:
        """
        Begin to take events out.

        Args:
            taken: Called with the number of events that were taken; returns their flush window.

            gone: Called with the number of taken events that others have now, so that they are not
                settled here.
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

        Events of an attempt that failed come again: in any division, in other objects perhaps, and always
        with the same bytes (`Payload.json`). A transport that wants to recognise them compares these.

        Raises:
            TransportError: If there was no answer.
        """

    def abandon(self) -> None:  # noqa: B027 - most transports hold nothing
        """Forget open connections without touching them: they belong to a parent process or a dead loop."""

    async def aclose(self) -> None:
        """Close what the transport has opened, and only that."""
        return
