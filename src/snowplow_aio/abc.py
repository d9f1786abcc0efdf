"""
The interfaces: emitter, event store and transport, and the callables that go with them.

An emitter takes events and reports how they left. The usual one consists of a
store, one delivery loop and a transport. An implementation of one of these does
not know which others it is used with.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from snowplow_aio.model.old_names import OldArguments, OldAttributes
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.outcomes import EmitterStats, FlushResult, Health, Outcome
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.runtime.done import Done


class Hook(Protocol):
    """
    A plain or coroutine function that is called with every outcome.

    Example:
        Count the events that are lost::

            def count_losses(outcome: Outcome) -> None:
                if isinstance(outcome, Rejected | Dropped):
                    losses.inc(len(outcome.payloads))

            HttpEmitter("https://collector.example.com", hooks=[count_losses])
    """

    def __call__(self, outcome: Outcome, /) -> Awaitable[None] | None:
        """Take note of *outcome*. An exception is logged and harms nothing."""


class Clock(Protocol):
    """
    The wall clock, like `time.time_ns`.

    Example:
        Let time stand still in a test::

            tracker = Tracker(MemoryEmitter(), clock=lambda: 1_700_000_000_000_000_000)
    """

    def __call__(self) -> int:
        """Return nanoseconds since the epoch."""
        ...


class NewId(Protocol):
    """
    A function that makes event ids.

    Example:
        Make random ids with the standard library::

            tracker = Tracker(emitter, new_id=lambda: str(uuid.uuid4()))
    """

    def __call__(self) -> str:
        """Return a new UUID in its canonical form."""
        ...


class Emitter(OldArguments, OldAttributes, ABC):
    """
    Takes events from a tracker and brings them to a destination.

    A tracker also takes any object with an `input` method, plain or coroutine;
    `flush`, `aclose` and `stats` are called if they exist.

    Attributes:
        name: The name of the emitter in statistics and logs.

    Example:
        ::

            class PrintingEmitter(Emitter):
                name = "print"

                async def input(self, payload: Mapping[str, str]) -> None:
                    print(payload["e"])
    """

    name: str

    if not TYPE_CHECKING:
        # Type checkers would take any arguments.

        def __new__(cls, *args: object, **kwargs: object) -> Any:
            """Name a class that can be made where this one is called."""
            if cls is Emitter:
                raise TypeError("Emitter() is what all emitters have in common: use HttpEmitter(...)")
            if (args or kwargs) and cls.__init__ is object.__init__:
                raise TypeError(f"{cls.__name__}() takes no arguments")
            return super().__new__(cls)

    @abstractmethod
    async def input(self, payload: Mapping[str, str]) -> None:
        """
        Take one event.

        Args:
            payload: A `Payload`, or a mapping of protocol fields to strings.

        Raises:
            InvalidEventError: If a mapping is no event.
            QueueFullError: If there is no room and the overflow policy is `Overflow.RAISE`.
        """

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:  # noqa: ARG002
        """
        Send all events that were taken before the call.

        Args:
            timeout: Longest wait, in seconds, at least 0; None for as long as it takes.

            wait: Whether to wait until they are settled.

        Returns:
            How these events left, and how many are pending.
        """
        return FlushResult()

    async def aclose(self, timeout: float | None = None) -> FlushResult:  # noqa: ARG002
        """
        Send the events that are left, and end. A second call returns the same result.

        Args:
            timeout: Longest wait, in seconds, at least 0; None for the emitter's own.

        Returns:
            How the events since the last flush left.
        """
        return FlushResult()

    def stats(self) -> EmitterStats:
        """Return the emitter's numbers. It is cheap and never waits."""
        return EmitterStats()


class AcceptingEmitter(NeverCopied, Emitter):
    """
    An emitter that takes all events of a call in one step: no cancellation comes between two of them.

    Attributes:
        closer: The call that closes it, as the application writes it; for logs.

        waits_for_room: Whether `input` waits where there is no room, so that it must be awaited.

    Example:
        ::

            class ListEmitter(AcceptingEmitter):
                name = "list"

                def __init__(self) -> None:
                    self.events: list[Payload] = []

                def accept(self, payloads: Sequence[Payload]) -> None:
                    self.events.extend(payloads)

                def accept_nowait(self, payloads: Sequence[Payload]) -> None:
                    self.events.extend(payloads)

                async def watch(self, payload: Payload) -> None:
                    return None
    """

    closer: str = "aclose()"
    waits_for_room: bool = False

    @abstractmethod
    def accept(self, payloads: Sequence[Payload]) -> Awaitable[None] | None:
        """
        Take events from inside the event loop, all or none of them.

        Returns:
            An awaitable that the caller must await, or None if there is nothing to wait for.

        Raises:
            QueueFullError: If there is no room and the overflow policy is `Overflow.RAISE`.
        """

    @abstractmethod
    def accept_nowait(self, payloads: Sequence[Payload]) -> None:
        """
        Take events without waiting, all or none of them. Safe from any thread.

        Raises:
            QueueFullError: If there is no room and the overflow policy is `Overflow.RAISE`.
        """

    @abstractmethod
    def watch(self, payload: Payload) -> Awaitable[str | None]:
        """
        Return an awaitable for the end of *payload*, which is about to be taken.

        It gives None if the event is delivered, else the reason for which it was
        rejected or dropped.
        """

    def deliver_in_thread(self) -> None:
        """
        Deliver in a thread with a loop of its own from now on, whatever loops the program runs.

        Raises:
            ConfigurationError: If the emitter needs a loop of the application.
        """
        return

    def start_delivery(self) -> None:
        """Have a thread with a loop of its own deliver, where no loop of the application does."""
        return

    @property
    def running_loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that delivers, or will in a moment; None if there is none."""
        return None

    @property
    def closing_seconds(self) -> float:
        """Longest time that `aclose` takes where its caller does not say, in seconds."""
        return 5.0

    def accept_blocking(self, payloads: Sequence[Payload]) -> None:
        """
        Take events in a thread without a loop, all or none of them.

        It waits where `accept` would have its caller wait, and delivers where no loop does.

        Raises:
            QueueFullError: If there is no room and the overflow policy is `Overflow.RAISE`.
        """
        self.accept_nowait(payloads)

    async def bind(self) -> None:
        """Deliver in the running event loop from now on, also what other threads track."""
        return

    def input(  # pyright: ignore[reportIncompatibleMethodOverride] - a coroutine of another class
        self, payload: Mapping[str, str]
    ) -> Coroutine[Any, Any, None]:
        """
        Take one event, as `Emitter.input` says.

        The event is taken at the call. So a callback that is a plain function need not await the result,
        unless the emitter's overflow policy is `Overflow.WAIT`.
        """
        payloads = (Payload.of(payload),)
        if asyncio._get_running_loop() is None:  # noqa: SLF001 - public in C, and does not raise
            self.accept_nowait(payloads)
            return Done(None)
        return self._input(payloads) if self.waits_for_room else Done(self.accept(payloads))

    async def _input(self, payloads: Sequence[Payload]) -> None:
        wait = self.accept(payloads)
        if wait is not None:
            await wait

    def input_nowait(self, payload: Mapping[str, str]) -> None:
        """
        Take one event without waiting. Safe from any thread.

        Args:
            payload: A `Payload`, or a mapping of protocol fields to strings.

        Raises:
            InvalidEventError: If a mapping is no event.
            QueueFullError: If there is no room and the overflow policy is `Overflow.RAISE`.
        """
        self.accept_nowait((Payload.of(payload),))


@runtime_checkable
class BlockingTracker(Protocol):
    """
    A tracker for programs without an event loop, as the integrations know it: `snowplow_aio.sync.Tracker`.

    Example:
        Make one in a function that an integration calls in the process that serves::

            def make_tracker() -> BlockingTracker:
                return snowplow_aio.sync.Tracker(HttpEmitter("https://collector.example.com"), app_id="shop")
    """

    @property
    def track(self) -> Callable[..., str]:
        """Track an event with the metadata of `Tracker.track`, and return its id."""
        ...

    @property
    def track_nowait(self) -> Callable[..., str]:
        """Do the same without waiting."""
        ...

    def set_default_platform(self, platform: str) -> Any:
        """Set the platform code of events whose subject has none."""
        ...

    def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:
        """Send everything that was tracked before the call."""
        ...

    def close(self, timeout: float | None = None) -> FlushResult:
        """Send the events that are left, and close every emitter."""
        ...

    def stats(self) -> Mapping[str, EmitterStats]:
        """Return the numbers of each emitter by name."""
        ...

    def health(self) -> Health:
        """Return whether events arrive and, in one line, why not."""
        ...


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
        status: An HTTP status. Transports without statuses use 200 for success;
            0 means that there was no answer.

        reason: A word or two for logs and statistics, never a payload.

        detail: Further text for the reader of a log, never a payload.

        retry_after: The pause that the destination asks for, in seconds, or None.

        is_misconfigured: Whether nothing can be delivered until somebody
            changes a setting, here or at the destination.

    Example:
        ``Response(status=503, retry_after=30)`` asks for a pause of half a minute.
    """

    status: int
    reason: str = ""
    detail: str = ""
    retry_after: float | None = None
    is_misconfigured: bool = False


class EventStore(NeverCopied, OldArguments, ABC):
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
        """
        Remove leased *events*: they are settled.

        A call that is cancelled removes them all the same, at once or later. The destination has
        answered, and they are counted as settled.
        """

    async def give_up(self, events: Sequence[StoredEvent], *, reason: str, status: int | None) -> None:  # noqa: ARG002
        """
        Remove leased *events* that are rejected or dropped, also when the call is cancelled, as `ack` does.

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

    def add_if_room(self, payloads: Sequence[Payload], now: float, window: int) -> bool:  # noqa: ARG002
        """Take all of *payloads* if there is room and nobody waits for it; return whether they were taken."""
        return False

    def has_taken(self, payload: Payload) -> bool:  # noqa: ARG002
        """
        Return whether the last call of this thread that put events in has put in that of *payload*.

        It is asked when a signal handler has raised in the midst of `add_nowait` or `add_if_room`. After True
        the event stays counted; a store that cannot tell says True, as this method does.
        """
        return True

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
        """Remove and return all events that wait, also those that wait for room: the store is closing."""

    @property
    def is_above_high_water(self) -> bool:
        """Whether the store is so full that callers should wait a little before they add more."""
        return False

    async def below_high_water(self) -> None:
        """Return when the store is below its high water."""
        return


class SharedStore(EventStore):
    """
    A store outside the process, in which others put the events that this process takes out and delivers.

    The store holds a number of events for this process, of which `lease` hands out some. The held events
    of a process that dies are given to others.

    Example:
        Hold events, then leave the ones that are not delivered to others::

            store.take_for(counters.accept, gone)
            await deliver_until_stopped(store)
            store.stop_taking()
            print(f"{await store.give_back()} events were given back")
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


class Transport(NeverCopied, OldArguments, ABC):
    """
    Brings events to a destination, one attempt at a time.

    Attributes:
        request_bytes: Bytes of a request besides its events.

        event_bytes: Bytes that each event takes besides its JSON.

        max_events: Most events that one request can have, from 1.
        needs_its_loop: Whether it can send in one event loop only, like that of a session of the
            application. Others go on, when that loop has ended, in the next one or in a thread of ours.

    Example:
        ::

            class PrintingTransport(Transport):
                async def send(self, payloads: Sequence[Payload]) -> Response:
                    for payload in payloads:
                        print(payload.json.decode())
                    return Response(status=200)
    """

    request_bytes: int = 0
    event_bytes: int = 0
    max_events: int = sys.maxsize
    needs_its_loop: bool = False

    @abstractmethod
    async def send(self, payloads: Sequence[Payload]) -> Response:
        """
        Make one attempt to send *payloads*, at least one, in one request.

        Events of an attempt that failed come again: in any division, in other objects perhaps, and always
        with the same bytes (`Payload.json`). A transport that wants to recognise them compares these.

        Raises:
            TransportError: If there was no answer.
        """

    def abandon(self) -> None:
        """Forget open connections without touching them: they belong to a parent process or a dead loop."""

    def discard(self) -> None:
        """
        Close open connections silently: the emitter was forgotten, and says so itself.

        It is called by the garbage collector, in any thread, with or without a running loop.
        """

    async def aclose(self) -> None:
        """Close the connections that the transport has opened, and no others."""
        return
