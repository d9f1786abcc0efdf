"""
Taking events out of Redis: the part that a list and a stream share.

Redis decides who has an event. A worker has the events that it takes noted in Redis under its own id, and
shows regularly that it is alive; the events of a worker that shows nothing are given to others. An event
that is settled here is *unacknowledged* until Redis knows it too: this process never delivers it again,
and tells Redis as soon as Redis answers.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import ClassVar

from snowplow_aio.abc import Response, SharedStore, StoreStatistics
from snowplow_aio.exceptions import InvalidEventError, TransportError
from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.redis.connections import COMMAND_TIMEOUT, Connections, check_key
from snowplow_aio.redis.dead_letters import dead_letter
from snowplow_aio.redis.entries import Mode, Taken, read_entry
from snowplow_aio.redis.failures import Failures
from snowplow_aio.redis.held import Heartbeat, HeldEvents, check_worker_id, new_worker_id
from snowplow_aio.redis.scripts import CHUNK
from snowplow_aio.redis.writer import RedisWriter
from snowplow_aio.runtime.foreign_text import shown
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.runtime.wake_up import WakeUp

log: QuietLogger = quiet_logger("snowplow_aio.redis")

# Most bytes that are held, whatever the number of events.
_HELD_BYTES = 32 * 2**20

# Seconds between two looks into an empty queue. The longest is how late an event can be seen.
_SHORTEST_LOOK = 0.05
_LONGEST_LOOK = 0.5

# Signs of life in the time after which a silent worker counts as dead: two of them may be late.
_BEATS = 3


class RedisStore(SharedStore):
    """
    Events in Redis, from which this process takes some and delivers them.

    This is the part that `RedisListStore` and `RedisStreamStore` share.

    Args:
        client: A URL (``redis://``, ``rediss://``, ``unix://``), a client of ``redis.asyncio`` whose
            settings are used, or None for ``redis://127.0.0.1:6379/0``.

        key: The list or the stream. Anonymous events are in ``<key>:anonymous``.

        deduplicate: For `put`: whether a lost answer stores nothing twice.

        max_length: For `put`: most events in the key, from 1, or None.

        command_timeout: Seconds for one command, above 0.

        takeover_after: Seconds without a sign of life after which a worker's events are given to others,
            above 0.

        prefetch: Most events that this process holds, from 1.

        max_dead: Most dead letters that are kept, from 1.

        worker_id: The id of this process in Redis: up to 100 letters, digits and ``._-``, never the same
            for two processes that run. None for a new one.

        name: The name of the store in logs.

    Attributes:
        poison: Entries that were no events.

        trimmed: Dead letters that were deleted to make room for newer ones.

        taken_over: Events of dead workers that were given to others, or taken.

        failures: The steps at which Redis fails at present.

    Raises:
        ConfigurationError: If an argument is out of range.
    """

    # The kind of queue, as `RedisWriter` calls it.
    mode: ClassVar[Mode]

    def __init__(
        self,
        client: object = None,
        key: str = "snowplow",
        *,
        deduplicate: bool = True,
        max_length: int | None = None,
        command_timeout: float = COMMAND_TIMEOUT,
        takeover_after: float = 30.0,
        prefetch: int = 2_000,
        max_dead: int = 100_000,
        worker_id: str | None = None,
        name: str = "redis",
    ) -> None:
        check_key(key)
        check_seconds("takeover_after", takeover_after)
        check_count("prefetch", prefetch)
        check_count("max_dead", max_dead)
        check_argument(isinstance(name, str) and name != "", "name", name, "must be a non-empty string")
        check_worker_id(worker_id)
        self._name = name
        self._redis = Connections(client, command_timeout=command_timeout)
        self._writer = RedisWriter(
            self._redis, key, mode=self.mode, deduplicate=deduplicate, max_length=max_length
        )
        self._key = key
        self._worker_id = worker_id or new_worker_id()
        self._takeover_ms = math.ceil(takeover_after * 1000)
        self._beat_interval = takeover_after / _BEATS
        self._prefetch = prefetch
        self._max_dead = max_dead
        self._throttled = ThrottledLog(log)
        self.failures: Failures = Failures(name, log)
        self.poison: int = 0
        self.trimmed: int = 0
        self.taken_over: int = 0
        self._begin()

    def _begin(self) -> None:
        """Hold nothing."""
        self._held = {
            False: HeldEvents(self._key, self._worker_id, anonymous=False),
            True: HeldEvents(f"{self._key}:anonymous", self._worker_id, anonymous=True),
        }
        self._taken: Callable[[int], int] = lambda _count: 0
        self._gone: Callable[[int], None] = lambda _count: None
        self._is_taking = False
        self._look_pause = _SHORTEST_LOOK
        # One command at a time, so that what we know is what Redis notes.
        self._turn = asyncio.Lock()
        # Has `wait` return; has `maintain` look again.
        self._news = WakeUp()
        self._trouble = WakeUp()

    @property
    def worker_id(self) -> str:
        """The id of this process in Redis."""
        return self._worker_id

    @property
    def is_answering(self) -> bool:
        """Whether Redis does everything that it is asked for."""
        return self.failures.latest is None and all(held.has_beaten for held in self._held.values())

    @property
    def length(self) -> int:
        """How many events waited in Redis when it was last asked."""
        return sum(held.queue_length for held in self._held.values())

    @property
    def unacknowledged(self) -> int:
        """How many settled events Redis does not know to be settled."""
        return sum(len(held.unacknowledged) for held in self._held.values())

    async def put(self, payloads: Sequence[Payload]) -> Response:
        """
        Make one attempt to store all of *payloads* or none, as `RedisWriter.put` does.

        Raises:
            TransportError: If there was no answer.
        """
        return await self._writer.put(payloads)

    # --- the steps that a list and a stream take in different ways, each of them one script

    @abstractmethod
    async def _take(self, held: HeldEvents, count: int) -> Sequence[Taken]:
        """Have up to *count* events noted as ours."""

    @abstractmethod
    async def _remove(self, held: HeldEvents, handles: Sequence[bytes]) -> None:
        """Remove delivered events from Redis."""

    @abstractmethod
    async def _bury(self, held: HeldEvents, letters: Sequence[bytes]) -> int:
        """
        Write dead letters and remove their events, and return how many dead letters were trimmed.

        *letters* has handles and dead letters in turn.
        """

    @abstractmethod
    async def _beat(self, held: HeldEvents, *, may_take_over: bool) -> Heartbeat:
        """Show that we are alive."""

    @abstractmethod
    async def _noted(self, held: HeldEvents) -> Sequence[Taken]:
        """Return everything that Redis notes as ours."""

    @abstractmethod
    async def _take_over(self, held: HeldEvents) -> None:
        """Give the events of `held.dead_workers` to others, or to us."""

    @abstractmethod
    async def _return(self, held: HeldEvents, *, but: Sequence[bytes]) -> None:
        """Give everything that is noted as ours to others, except *but*; leave no trace if that is all."""

    # --- taking

    def take_for(self, taken: Callable[[int], int], gone: Callable[[int], None]) -> None:
        self._taken, self._gone = taken, gone
        self._turn = asyncio.Lock()
        self._is_taking = True
        # Events may be noted already: of an earlier run, or of an earlier process with the same id.
        for held in self._held.values():
            held.is_uncertain = True

    def stop_taking(self) -> None:
        self._is_taking = False
        self.notify()

    async def wait(self, *, count: float, size: float, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = math.inf if timeout is None else loop.time() + timeout
        while self._is_short_of(count, size) and not self._news.is_notified:
            # A caller that waits for no number of events has no use for more: they would only lie here.
            pause = await self._refill() if count < math.inf else math.inf
            left = deadline - loop.time()
            if pause > 0:
                seconds = max(0.0, min(pause, left))
                await self._news.wait(None if seconds == math.inf else seconds)
                return
            if left <= 0:
                break
        if self._news.is_notified:
            # Returns at once; what it was notified of is seen by the caller.
            await self._news.wait()

    def _is_short_of(self, count: float, size: float) -> bool:
        both = self._held.values()
        return sum(held.pending for held in both) < count and sum(held.pending_bytes for held in both) < size

    def notify(self) -> None:
        self._news.notify()

    async def _refill(self) -> float:
        """Take as many events as there is room for; return the seconds until the next look, 0 for at once."""
        if not self._is_taking or self._room() <= 0:
            return math.inf
        both = self._held.values()
        if all(pauses := [self.failures.pause_left(("take", held.key)) for held in both]):
            return min(pauses)
        before = sum(held.pending for held in both)
        async with self._turn:
            pauses = [await self._attempt("take", held, self._fill) for held in both]
        if sum(held.pending for held in both) > before:
            self._look_pause = _SHORTEST_LOOK
            return 0
        pause, self._look_pause = self._look_pause, min(_LONGEST_LOOK, self._look_pause * 1.5)
        return min(left or pause for left in pauses)

    async def _attempt(
        self, name: str, held: HeldEvents, work: Callable[[HeldEvents], Awaitable[None]]
    ) -> float:
        """
        Do *work*, the step *name*, unless Redis has just failed at it.

        Returns:
            Seconds until it may be tried again, or 0 if it is done.
        """
        step = (name, held.key)
        if (pause := self.failures.pause_left(step)) > 0:
            return pause
        try:
            await work(held)
        except TransportError as error:
            self._trouble.notify()
            return self.failures.add(step, error)
        self.failures.remove(step)
        return 0

    def _room(self) -> int:
        if sum(held.size for held in self._held.values()) >= _HELD_BYTES:
            return 0
        return self._prefetch - sum(held.known for held in self._held.values())

    async def _fill(self, held: HeldEvents) -> None:
        """Take events of one key."""
        if held.is_uncertain:
            await self._compare(held)
        count = min(CHUNK, self._room())
        if self._is_taking and count > 0:
            # Until the answer is here: it can be lost, and this task can be cancelled.
            held.is_uncertain = True
            taken = await self._take(held, count)
            held.is_uncertain = False
            self._adopt(held, taken)
            await self._send_acknowledgements(held)

    async def _compare(self, held: HeldEvents) -> None:
        """Hold what Redis notes as ours, no more and no less."""
        noted = dict(await self._noted(held))
        held.is_uncertain = False
        self._adopt(held, [(handle, noted[handle]) for handle in held.unknown(noted)])
        self._forget(held, lambda event: event.handle not in noted)

    def _adopt(self, held: HeldEvents, taken: Iterable[Taken]) -> None:
        """Hold the events that were *taken*. Entries that are no events become dead letters."""
        payloads: list[tuple[bytes, Payload]] = []
        for handle, raw in taken:
            if raw is None:
                held.unacknowledged[handle] = None
                continue
            try:
                payloads.append((handle, read_entry(raw, anonymous=held.anonymous)))
            except InvalidEventError as error:
                self._adopt_poison(held, handle, raw, str(error))
            except Exception as error:  # noqa: BLE001 - no entry may keep its neighbours from being delivered
                self._adopt_poison(held, handle, raw, f"entry: cannot be read, {shown(error)}")
        if payloads:
            window, now = self._taken(len(payloads)), asyncio.get_running_loop().time()
            for handle, payload in payloads:
                held.add(StoredEvent(payload, now, window, handle))

    def _adopt_poison(self, held: HeldEvents, handle: bytes, raw: bytes, reason: str) -> None:
        """Note the dead letter of an entry that is no event."""
        held.unacknowledged[handle] = dead_letter(raw, reason, None)
        self.poison += 1
        self._throttled.log("poison", logging.ERROR, "%s: an entry is no event", self._name)

    def _forget(self, held: HeldEvents, is_gone: Callable[[StoredEvent], bool]) -> int:
        """Let go of waiting events that others have now, and that are counted there; return how many."""
        count = held.forget(is_gone)
        self._gone(count)
        return count

    # --- delivering

    async def lease(self, *, max_events: int, max_bytes: int, event_bytes: int) -> Sequence[StoredEvent]:
        held = self._first_in_line()
        return [] if held is None else held.lease(max_events, max_bytes, event_bytes)

    def _first_in_line(self) -> HeldEvents | None:
        """Return the key whose first event has waited longest, or None."""
        firsts = [
            (event.accepted_at, held) for held in self._held.values() if (event := held.oldest()) is not None
        ]
        return min(firsts, key=lambda first: first[0])[1] if firsts else None

    def oldest(self) -> StoredEvent | None:
        held = self._first_in_line()
        return None if held is None else held.oldest()

    async def release(self, events: Sequence[StoredEvent]) -> None:
        for event in reversed(events):
            self._held[event.payload.anonymous].release(event)

    async def ack(self, events: Sequence[StoredEvent]) -> None:
        await self._settle([(event, None) for event in events])

    async def give_up(self, events: Sequence[StoredEvent], *, reason: str, status: int | None) -> None:
        await self._settle([(event, dead_letter(event.payload, reason, status)) for event in events])

    async def _settle(self, settled: Sequence[tuple[StoredEvent, bytes | None]]) -> None:
        """Hold settled events no more, each with its dead letter or None; also when cancelled."""
        for event, letter in settled:
            self._held[event.payload.anonymous].settle(event, letter)
        try:
            await self._acknowledge()
        finally:
            self._count_out([event for event, _ in settled])

    def _count_out(self, events: Sequence[StoredEvent]) -> None:
        """Count settled *events* as leased no more, in one step with the caller's counters."""
        for anonymous, held in self._held.items():
            held.count_out([event for event in events if event.payload.anonymous == anonymous])

    async def _acknowledge(self) -> None:
        """Tell Redis which events are settled. Where it does not answer, `maintain` does so later."""
        try:
            async with self._turn:
                for held in self._held.values():
                    await self._send_acknowledgements(held)
        except asyncio.CancelledError:
            self._trouble.notify()
            raise
        except Exception:  # noqa: BLE001 - `maintain` meets it as well, and the worker says it
            self._trouble.notify()

    async def _send_acknowledgements(self, held: HeldEvents) -> float:
        """Tell Redis which events of one key are settled; return the seconds until the next attempt, or 0."""
        pauses = [0.0, 0.0]
        # Two steps: nothing that is wrong with the dead letters keeps delivered events in Redis.
        if held.delivered:
            pauses[0] = await self._attempt("acknowledge", held, self._send_delivered)
        if held.letters:
            pauses[1] = await self._attempt("bury", held, self._send_letters)
        return max(pauses)

    async def _send_delivered(self, held: HeldEvents) -> None:
        while part := held.delivered[:CHUNK]:
            await self._remove(held, part)
            self._acknowledged(held, part)

    async def _send_letters(self, held: HeldEvents) -> None:
        while part := held.letters[:CHUNK]:
            trimmed = await self._bury(held, [word for pair in part for word in pair])
            self._acknowledged(held, [handle for handle, _ in part])
            self._count_trimmed(trimmed)

    def _acknowledged(self, held: HeldEvents, handles: Sequence[bytes]) -> None:
        for handle in handles:
            del held.unacknowledged[handle]
        # There is room again.
        self.notify()

    def _count_trimmed(self, count: int) -> None:
        if count:
            self.trimmed += count
            message = "%s: the oldest dead letters are deleted: there are more than %d"
            self._throttled.log("trimmed", logging.WARNING, message, self._name, self._max_dead, count=count)

    # --- staying alive

    async def maintain(self) -> None:
        """
        Show that we are alive, take over from workers that are not, and repeat acknowledgements.

        It goes on until it is cancelled.
        """
        while True:
            await self._trouble.wait(await self._maintain_all())

    async def _maintain_all(self) -> float:
        """Do it once; return the seconds until the next time."""
        pauses: list[float] = []
        async with self._turn:
            for held in self._held.values():
                pauses.append(await self._attempt("show life", held, self._maintain))
                pauses.append(await self._send_acknowledgements(held))
                if held.dead_workers:
                    pauses.append(await self._attempt("take over", held, self._take_over))
        # More events may wait than before, in Redis or here.
        self.notify()
        return min([pause for pause in pauses if pause > 0], default=self._beat_interval)

    async def _maintain(self, held: HeldEvents) -> None:
        # After an outage all workers are late: each shows that it is alive before it takes over from others.
        heartbeat = await self._beat(held, may_take_over=held.has_beaten and self._is_taking)
        held.has_beaten = True
        held.queue_length, held.dead_workers = heartbeat.queue_length, list(heartbeat.dead_workers)
        if held.dead_workers:
            count = len(held.dead_workers)
            message = "%s: %d workers are not heard of and count as dead"
            self._throttled.log("dead workers", logging.INFO, message, self._name, count)
        if heartbeat.held != held.known:
            await self._compare(held)

    def _count_taken_over(self, count: int) -> None:
        self.taken_over += count

    # --- the end

    async def give_back(self) -> int:
        """Try until it is done; a caller that has no time for that cancels."""
        self._is_taking = False
        self.failures.end_pauses()
        before = self.statistics().pending
        left = list(self._held.values())
        while left:
            async with self._turn:
                pauses = {held.key: await self._attempt("give back", held, self._give_back) for held in left}
            left = [held for held in left if pauses[held.key] > 0]
            if left:
                await asyncio.sleep(min(pauses[held.key] for held in left))
        return before - self.statistics().pending

    async def _give_back(self, held: HeldEvents) -> None:
        await self._send_acknowledgements(held)
        # Settled events of which Redis does not know stay noted: others would send them once more at once.
        await self._return(held, but=[*held.leased_handles(), *held.unacknowledged])
        self._forget(held, lambda _event: True)

    def statistics(self) -> StoreStatistics:
        both = self._held.values()
        pending_bytes = sum(held.pending_bytes for held in both)
        return StoreStatistics(
            pending=sum(held.pending for held in both),
            leased=sum(held.leased for held in both),
            pending_bytes=pending_bytes,
            bytes=pending_bytes + sum(held.leased_bytes for held in both),
        )

    def abandon(self) -> None:
        self._redis.abandon()
        self._writer.abandon()
        self._worker_id = new_worker_id()
        self._begin()

    async def aclose(self) -> None:
        await self._writer.aclose()
        await self._redis.aclose()
