"""
The tracker for programs without an event loop: Django and Flask views, scripts, notebooks, threads.

It is the same engine, in a thread with a loop of its own. The thread starts with the first
event, and again in the child of a fork. `from_async` gives a tracker that exists a blocking face.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, NoReturn, Self, TypeVar, Unpack
from uuid import UUID

from snowplow_aio.delivery import at_exit
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_flush_timeout, check_seconds
from snowplow_aio.model.old_names import explains_arguments, refuse_unknown
from snowplow_aio.model.payload import Event, Payload
from snowplow_aio.model.subject import Subject
from snowplow_aio.model.timestamps import TrueTimestamp
from snowplow_aio.outcomes import EmitterStats, FlushResult
from snowplow_aio.runtime import portal
from snowplow_aio.runtime.foreign_text import shown
from snowplow_aio.runtime.midst import busy, here
from snowplow_aio.runtime.tasks import start_task
from snowplow_aio.runtime.throttled_log import QuietLogger, quiet_logger
from snowplow_aio.runtime.waiting import LoopEndedError, LoopLateError, result_of
from snowplow_aio.tracking import tracker as awaited
from snowplow_aio.tracking.any_tracker import AnyTracker
from snowplow_aio.tracking.payload_builder import PendingPayloads
from snowplow_aio.tracking.track_methods import AllMetadata, Context, Metadata, Timestamp, TrackMethods

if TYPE_CHECKING:
    from snowplow_aio.redis.blocking_worker import RedisWorker

__all__ = ["RedisWorker", "Tracker", "from_async"]

_Result = TypeVar("_Result")

log: QuietLogger = quiet_logger("snowplow_aio.sync")

# So long `track` waits for coroutine functions in all, each of which has one second to answer. Then the event
# goes on its way by itself.
_FUNCTIONS_SECONDS = 5.0

# A call exceeds its timeout by so much at most, where something blocks the loop that delivers.
_LATE_SECONDS = 0.5

# What `close` of a blocking face gets where its caller does not say, in seconds.
_FACE_SECONDS = 5.0


class Tracker(TrackMethods["Tracker"], AnyTracker):
    """
    Tracks events from programs without an event loop: every name of the async tracker, without ``await``.

    ``with Tracker(...) as tracker`` closes it at the end. One that nobody closes sends what is left
    when the interpreter ends, for as long as the `drain_timeout` of its emitters allows. It may be
    made at the top of a module: its thread starts with the first event, and again after a fork.

    The arguments are those of `snowplow_aio.Tracker`.

    Raises:
        ConfigurationError: If there is no emitter, an emitter has no `input` or needs a loop of the
            application, or an argument that must be a function is none.
        InvalidEventError: If *namespace*, *app_id*, *subject* or *platform* breaks a rule of
            the protocol.

    Example:
        Track two page views::

            with Tracker(HttpEmitter("https://collector.example.com"), app_id="shop") as tracker:
                tracker.track_page_view("https://shop.example/").track_page_view("https://shop.example/cart")
    """

    # The async tracker that this one is a face of; None for one with a thread of its own.
    _face_of: awaited.Tracker | None = None

    def _add(self, argument: str, emitter: Any) -> None:
        super()._add(argument, emitter)
        if self._face_of is None:
            added = self._emitters[-1]
            try:
                added.deliver_in_thread()
            except ConfigurationError:
                self._emitters.remove(added)
                raise
            if isinstance(added, at_exit.Owner):
                at_exit.watch(added)

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
        **unknown: Never,
    ) -> str:
        """
        Track an event.

        The event is checked, encoded and handed to the emitters, which does not wait for the collector.
        The call waits, as the async one does, for coroutine functions among global contexts and
        enrichers, and for room where an emitter's store is nearly full.

        Args:
            event: An event model like `PageView`, a `SelfDescribing` model or a
                `SelfDescribingJson`.

            context: The entities of the event; None or an empty list for none.

            tstamp: The time of the event: milliseconds since the epoch, an aware `datetime`, a
                `DeviceTimestamp` or a `TrueTimestamp`. None for now.

            true_timestamp: The true time of the event, sent besides that of the device.

            subject: Fields that go before those of the tracker's subject and of `use_subject`.

            event_id: The id of the event, a UUID; None for a new one.

            anonymous: Whether the fields that identify the user are left out.

        Returns:
            The id of the event.

        Raises:
            InvalidEventError: If an argument breaks a rule of the protocol, something in it is
                not JSON, or the event is too large for the collector.
            QueueFullError: If an emitter has no room and its overflow policy is
                `Overflow.RAISE`.

        Example:
            Track a page view with an entity::

                event_id = tracker.track(
                    PageView(page_url="https://shop.example/shoes"), context=[User(id_="u-42")]
                )
        """
        if unknown:
            refuse_unknown("track", unknown, AllMetadata.__annotations__)
        made = self._prepare(event, context, tstamp, true_timestamp, subject, event_id, anonymous)
        if made.ready is not None:
            self._give(made.ready, waits=True)
        else:
            self._give_later(made)
        return made.event_id

    def _tracked(self, event: Event, context: Context, tstamp: Timestamp, metadata: Metadata) -> Tracker:
        self.track(event, context=context, tstamp=tstamp, **metadata)  # pyright: ignore[reportArgumentType] - it takes a TypedDict for open
        return self

    def _give(self, payloads: tuple[Payload, ...], *, waits: bool) -> None:
        is_in_the_midst = here.is_busy
        try:
            here.is_busy = True
            super()._give(payloads, waits=waits and not is_in_the_midst and not self._is_delivering_here())
            if not waits and self._face_of is not None:
                for emitter in self._emitters:
                    emitter.start_delivery()
        finally:
            here.is_busy = is_in_the_midst

    def _give_later(self, made: PendingPayloads) -> None:
        """Give the payloads of an event to the emitters when its coroutine functions have answered."""

        async def giving() -> None:
            wait = self._hand_over(await made.later())
            if wait is not None:
                await wait

        if self._cannot_wait():
            self._in_loop(giving)
            return
        for emitter in self._emitters:
            emitter.start_delivery()
        with suppress(LoopLateError):
            self._waited_for(giving, _FUNCTIONS_SECONDS)

    def stats(self) -> Mapping[str, EmitterStats]:
        """Return the numbers of each emitter by name; cheap and never waits."""
        with busy():
            return super().stats()

    def track_and_confirm(
        self, event: Event, *, timeout: float | None = 5.0, **metadata: Unpack[AllMetadata]
    ) -> str:
        """
        Track an event and wait until every emitter has settled it.

        When the wait ends early, the event stays: it is delivered later if that is possible.

        Args:
            event: The event.

            timeout: Longest wait, in seconds, at least 0; None for as long as it takes.

            **metadata: The other arguments of `track`.

        Returns:
            The id of the event.

        Raises:
            DeliveryError: If an emitter has rejected or dropped the event.
            TimeoutError: If an emitter has not settled it in time.
            InvalidEventError: If an argument breaks a rule.
            QueueFullError: If an emitter has no room and its overflow policy is
                `Overflow.RAISE`.
            ConfigurationError: If it is called in the loop that delivers, where it would wait for itself.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        refuse_unknown("track_and_confirm", metadata, AllMetadata.__annotations__)
        self._check_can_wait("track_and_confirm")
        if self._cannot_wait():
            self.track(event, **metadata)  # pyright: ignore[reportArgumentType] - likewise
            raise TimeoutError("the call interrupts one that gives events to the emitters, and cannot wait")
        confirming = self._awaited.track_and_confirm
        try:
            return self._waited_for(partial(confirming, event, timeout=timeout, **metadata), timeout)
        except LoopLateError:
            raise TimeoutError(f"the loop that delivers stands still ({self.health()})") from None

    # --- flush and close

    @explains_arguments
    def flush(
        self,
        timeout: float | bool | None = None,  # noqa: FBT001 - `flush(False)`, as in the manual
        *,
        wait: bool = True,
    ) -> FlushResult:
        """
        Send everything that was tracked before the call.

        Args:
            timeout: Longest wait, in seconds, at least 0; None for as long as it takes. False is the
                same as ``wait=False``, as in the tracker of the manual.

            wait: Whether to wait at all.

        Returns:
            The numbers of the events that were tracked since the last flush.

        Raises:
            ConfigurationError: If *timeout* is out of range, or the call would wait for itself: in a hook,
                or in the loop that delivers.

        Example:
            Wait for up to five seconds::

                result = tracker.flush(timeout=5)
                print(result.delivered, result.pending)
        """
        if isinstance(timeout, bool):
            wait = timeout
            timeout = None
        check_flush_timeout(timeout)
        check_argument(isinstance(wait, bool), "wait", wait, "must be True or False")
        if wait:
            self._check_can_wait("flush")
        return self._flushed(partial(self._awaited.flush, timeout, wait=wait), timeout if wait else 0.0)

    def close(self, timeout: float | None = None) -> FlushResult:
        """
        Send the events that are left, and close every emitter.

        Events that cannot be sent in time are dropped and counted. Tracking afterwards
        does not raise: these events are counted as dropped. A face of an async tracker sends what is
        left, and leaves that tracker open.

        Args:
            timeout: Longest wait, in seconds, at least 0; None for the `drain_timeout` of each emitter.

        Returns:
            The numbers of the events that were tracked since the last flush.

        Raises:
            ConfigurationError: If *timeout* is out of range, or the call would wait for itself: in a hook,
                or in the loop that delivers.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        self._check_can_wait("close")
        if self._face_of is not None:
            seconds = _FACE_SECONDS if timeout is None else timeout
            return self._flushed(partial(self._awaited.flush, seconds), seconds)
        # Beyond its timeout an emitter may take some time to end.
        longest = max(emitter.closing_seconds for emitter in self._emitters)
        return self._flushed(
            partial(self._awaited.aclose, timeout), longest + (0.0 if timeout is None else timeout)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- the loop that delivers

    @property
    def _awaited(self) -> awaited.Tracker:
        """The async tracker with all that this one has."""
        if self._face_of is not None:
            return self._face_of
        tracker = object.__new__(awaited.Tracker)
        vars(tracker).update(vars(self))
        return tracker

    @property
    def _loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that delivers; None if there is none."""
        loops = (emitter.running_loop for emitter in self._emitters)
        return next((loop for loop in loops if loop is not None), None)

    def _is_delivering_here(self) -> bool:
        """Return whether the loop that delivers, or will, is the running one: it cannot wait for itself."""
        running = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
        if running is None:
            return False
        delivers = any(emitter.running_loop is running for emitter in self._emitters)
        return delivers or (self._face_of is None and portal.is_here())

    def _check_can_wait(self, method: str) -> None:
        if self._is_delivering_here():
            instead = "call `flush(False)`, which does not wait"
            if self._face_of is not None:
                name = "aclose" if method == "close" else method
                instead = f"use `await tracker.{name}()` of the async tracker"
            raise ConfigurationError(f"{method}: would wait for the loop in which it is called: {instead}")

    def _cannot_wait(self) -> bool:
        """Return whether to wait for the loop that delivers would be to wait for ever."""
        return here.is_busy or portal.is_held_here() or self._is_delivering_here()

    def _waited_for(self, call: Callable[[], Coroutine[Any, Any, _Result]], seconds: float | None) -> _Result:
        """
        Return the result of *call*, a coroutine function, which runs in the loop that delivers.

        Raises:
            LoopLateError: If it takes longer than *seconds*, or has to go on when this call is over.
        """
        guest = object()
        longest = None if seconds is None else seconds + _LATE_SECONDS
        try:
            loop = self._loop if self._face_of is not None else None
            try:
                loop = portal.entered(guest) if loop is None else loop
            except RuntimeError as error:
                # At the very end of the interpreter no thread can be started any more.
                running = asyncio._get_running_loop()  # noqa: SLF001 - public in C, and does not raise
                if isinstance(error.__cause__, OSError):
                    # No descriptor is free, for no other loop either.
                    raise LoopLateError from error
                if running is None:
                    return asyncio.run(call())
                # This call is a step of that loop, which goes on afterwards.
                going_on = start_task(running, call(), context=contextvars.copy_context())
                going_on.add_done_callback(_log_failure)
                raise LoopLateError from None
            try:
                return result_of(call, loop, longest)
            except LoopEndedError:
                # A loop of the application, for which the thread stands in.
                return result_of(call, portal.entered(guest), longest)
        finally:
            portal.leave(guest)

    def _flushed(
        self, call: Callable[[], Coroutine[Any, Any, FlushResult]], seconds: float | None
    ) -> FlushResult:
        """Return the result of *call*, a flush or a close; do not wait for it where that could never end."""
        if self._cannot_wait():
            self._in_loop(call)
        else:
            with suppress(LoopLateError):
                return self._waited_for(call, seconds)
        return FlushResult(pending=sum(stats.pending + stats.leased for stats in self.stats().values()))

    def _in_loop(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Have the loop that delivers run *call*, a coroutine function, and do not wait for it."""
        for emitter in self._emitters:
            emitter.start_delivery()
        loop = self._loop
        if loop is not None:
            calling = call()
            try:
                asyncio.run_coroutine_threadsafe(calling, loop).add_done_callback(_log_failure)
            except RuntimeError:
                # The loop was closed meanwhile.
                calling.close()

    if not TYPE_CHECKING:
        # Type checkers would take the statement.

        async def __aenter__(self) -> NoReturn:
            raise TypeError("this tracker blocks: use 'with Tracker(...)', or snowplow_aio.Tracker")

        async def __aexit__(self, *_error: object) -> None:
            """Never called."""


def _log_failure(ended: concurrent.futures.Future[Any] | asyncio.Future[Any]) -> None:
    """Log the error of a call whose caller could not wait for it."""
    error = None if ended.cancelled() else ended.exception()
    if error is not None:
        log.warning("a call that nobody waits for failed: %s", shown(error))


def from_async(tracker: awaited.Tracker) -> Tracker:
    """
    Return a blocking face of *tracker*, for the threads and the plain functions of an async application.

    Both have the same emitters, subject, global contexts and enrichers. Events are delivered in the loop
    that *tracker* is bound to; where it has none, in a thread with a loop of its own. Closing the face
    does not close *tracker*.

    Args:
        tracker: The async tracker.

    Raises:
        ConfigurationError: If *tracker* is none.

    Example:
        Give it to code that knows no ``await``::

            blocking = from_async(tracker)
            await asyncio.to_thread(import_orders, blocking)
    """
    rule = "must be an async tracker, of the class snowplow_aio.Tracker"
    check_argument(isinstance(tracker, awaited.Tracker), "tracker", tracker, rule)
    face = object.__new__(Tracker)
    # All that a tracker can change is in objects that both have.
    vars(face).update(vars(tracker), _face_of=tracker)
    return face


if not TYPE_CHECKING:
    # Type checkers would take every name.

    def __getattr__(name: str) -> Any:
        if name != "RedisWorker":
            package = sys.modules["snowplow_aio"]
            if not name.startswith("_") and name in package.__all__:
                # For an AttributeError, `from ... import` says only that.
                raise ImportError(f"{__name__} has no {name!r}: import it from snowplow_aio", name=__name__)
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from snowplow_aio.redis.blocking_worker import RedisWorker  # noqa: PLC0415 - loads redis-py

        return RedisWorker
