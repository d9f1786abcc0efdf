"""
What the stores in Redis share: events that this process holds, what it owes to Redis, and who is alive.

Redis is the truth. Whoever takes events has them noted in Redis under its own
name, and shows from time to time that it is alive; the events of one that does
not are given to others. What is settled here and not yet there is *owed*: it is
never delivered again by this process, and Redis is told as soon as it answers.
"""

from __future__ import annotations

import asyncio
import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import ClassVar

from snowplow_aio.abc import Response, SharedStore, StoreStatistics
from snowplow_aio.exceptions import InvalidEventError, TransportError
from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent, size_of
from snowplow_aio.redis.connections import COMMAND_TIMEOUT, Connections, Refusal, require_key
from snowplow_aio.redis.held import (
    CHUNK,
    WORKER_ID,
    Pulse,
    Queue,
    Rest,
    Taken,
    letter,
    new_worker_id,
    read,
    ring_within,
)
from snowplow_aio.redis.writer import Mode, Push
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.redis")

# Most bytes that are held, whatever the number of events.
_HELD_BYTES = 32 * 2**20

# Between two looks into an empty queue, in seconds: the longest is what an event waits at most.
_SHORTEST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5

# Of the time after which a silent worker counts as dead: two may be late.
_BEATS = 3


class RedisStore(SharedStore):
    """
    Events in Redis, which some processes put there and others deliver.

    Args:
        client: A client of ``redis.asyncio``, a URL or None, as `Connections` takes it.

        key: The key; anonymous events are in another one, ``<key>:anonymous``.

        deduplicate: Whether a put whose answer was lost stores nothing twice.

        max_length: Most events in the key, or None.

        command_timeout: Seconds for one command.

        takeover_after: Seconds after which the events of a worker that is not heard of are given to others.

        prefetch: Most events that this process holds, from 1.

        max_dead: Most dead letters that are kept, from 1.

        worker_id: What Redis calls this process, up to 100 letters, digits and ``._-``;
            never the same for two that run. A new one where it is None.

        name: What the logs call it.

    Attributes:
        poison: Entries that were no events.

        trimmed: Dead letters that made room for newer ones.

        taken_over: Events of dead workers that were given to others.

    Raises ConfigurationError when a value is out of range.
    """

    # The kind of queue, as `Push` knows it.
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
        require_key(key)
        check_seconds("takeover_after", takeover_after)
        check_count("prefetch", prefetch)
        check_count("max_dead", max_dead)
        check_argument(isinstance(name, str) and name != "", "name", name, "must be a non-empty string")
        rule = "must be up to 100 letters, digits, dots, dashes and underscores, or None"
        valid = isinstance(worker_id, str) and WORKER_ID.fullmatch(worker_id) is not None
        check_argument(worker_id is None or valid, "worker_id", worker_id, rule)
        self._name = name
        self._redis = Connections(client, command_timeout=command_timeout)
        self._push = Push(self._redis, key, mode=self.mode, deduplicate=deduplicate, max_length=max_length)
        self._key = key
        self._worker = worker_id or new_worker_id()
        self._takeover_ms = math.ceil(takeover_after * 1000)
        self._interval = takeover_after / _BEATS
        self._prefetch = prefetch
        self._max_dead = max_dead
        self._throttled = ThrottledLog(log)
        self.poison: int = 0
        self.trimmed: int = 0
        self.taken_over: int = 0
        self._empty()

    def _empty(self) -> None:
        self._queues = {
            False: Queue(self._key, self._worker, anonymous=False),
            True: Queue(f"{self._key}:anonymous", self._worker, anonymous=True),
        }
        self._pending = self._pending_bytes = 0
        self._leased = self._leased_bytes = 0
        self._accept: Callable[[int], int] = lambda _count: 0
        self._is_taking = False
        self._has_beaten = False
        self._pause = _SHORTEST_PAUSE
        self._rest = Rest()
        self._bind(None)

    def _bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        # One command at a time, so that what we know is what Redis notes.
        self._turn = asyncio.Lock()
        self._bell = asyncio.Event()
        self._trouble = asyncio.Event()

    @property
    def worker_id(self) -> str:
        """What Redis calls this process."""
        return self._worker

    @property
    def is_answering(self) -> bool:
        """Whether Redis has answered the latest command."""
        return self._rest.failures == 0 and self._has_beaten

    @property
    def length(self) -> int:
        """How many events waited in Redis when it was last asked."""
        return sum(queue.length for queue in self._queues.values())

    # --- the side that puts

    async def put(self, payloads: Sequence[Payload]) -> Response:
        return await self._push.put(payloads)

    # --- what the two kinds do in their own way: scripts, each of which is one step

    @abstractmethod
    async def _take(self, queue: Queue, count: int) -> Sequence[Taken]:
        """Have up to *count* events noted as ours."""

    @abstractmethod
    async def _remove(self, queue: Queue, handles: Sequence[bytes], letters: Sequence[bytes]) -> int:
        """
        Forget the events *handles*, which are noted as ours; return how many dead letters were trimmed.

        *letters* has a handle and its dead letter in turn: these are forgotten too.
        """

    @abstractmethod
    async def _beat(self, queue: Queue, *, may_take_over: bool) -> Pulse:
        """Show that we are alive."""

    @abstractmethod
    async def _noted(self, queue: Queue) -> Sequence[Taken]:
        """Return everything that is noted as ours."""

    @abstractmethod
    async def _take_over(self, queue: Queue) -> None:
        """Give the events of `queue.dead` to others, or to us."""

    def _took_over(self, count: int) -> None:
        self.taken_over += count

    @abstractmethod
    async def _return(self, queue: Queue, *, but: Sequence[bytes]) -> None:
        """Give all that is noted as ours to others, *but* these; where that is all, leave no trace."""

    # --- the side that takes

    def take_for(self, accept: Callable[[int], int]) -> None:
        self._accept = accept
        self._bind(asyncio.get_running_loop())
        self._is_taking = True
        # A process that runs again, or under a name of its own, may have left something there.
        for queue in self._queues.values():
            queue.is_unsure = True

    def stop_taking(self) -> None:
        self._is_taking = False
        self.notify()

    async def wait(self, *, count: float, size: float, timeout: float | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = math.inf if timeout is None else loop.time() + timeout
        while not self._bell.is_set() and self._pending < count and self._pending_bytes < size:
            # Who waits for anything but events gets none: they would lie here for nothing.
            pause = await self._refill() if count < math.inf else math.inf
            rest = deadline - loop.time()
            if rest <= 0:
                break
            if pause > 0:
                await ring_within(self._bell, min(pause, rest))
        self._bell.clear()

    def notify(self) -> None:
        loop = self._loop
        if loop is None or asyncio._get_running_loop() is loop:  # noqa: SLF001 - public in C, and does not raise
            self._bell.set()
        else:
            # A loop that was closed waits for nothing.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._bell.set)

    async def _refill(self) -> float:
        """Take what there is room for; return the seconds after which to look again, 0 for at once."""
        if not self._is_taking or self._room() <= 0:
            return math.inf
        if (rest := self._rest.left()) > 0:
            return rest
        try:
            async with self._turn:
                before = self._pending
                for queue in self._queues.values():
                    await self._fill(queue)
        except TransportError as error:
            return self._failed(error)
        self._succeeded()
        if self._pending > before:
            self._pause = _SHORTEST_PAUSE
            return 0
        pause, self._pause = self._pause, min(_LONGEST_PAUSE, self._pause * 1.5)
        return pause

    def _room(self) -> int:
        if self._pending_bytes + self._leased_bytes >= _HELD_BYTES:
            return 0
        return self._prefetch - sum(queue.known() for queue in self._queues.values())

    async def _fill(self, queue: Queue) -> None:
        if queue.is_unsure:
            await self._look_again(queue)
        count = min(CHUNK, self._room())
        if self._is_taking and count > 0:
            # Until the answer is here: it may be lost, or we may be cancelled.
            queue.is_unsure = True
            taken = await self._take(queue, count)
            queue.is_unsure = False
            self._adopt(queue, taken)
            await self._pay(queue)

    async def _look_again(self, queue: Queue) -> None:
        """Take in what Redis notes as ours: more than we know of, or less."""
        noted = dict(await self._noted(queue))
        queue.is_unsure = False
        unknown = noted.keys() - queue.held.keys() - queue.owed.keys()
        # In the order of Redis.
        self._adopt(queue, [(handle, noted[handle]) for handle in noted if handle in unknown])
        self._forget(queue, lambda entry: entry.handle not in noted)

    def _adopt(self, queue: Queue, taken: Iterable[Taken]) -> None:
        """Hold the events that were *taken*, and put aside what is none."""
        payloads: list[tuple[bytes, Payload]] = []
        for handle, raw in taken:
            if raw is None:
                queue.owed[handle] = None
                continue
            try:
                payloads.append((handle, read(raw, anonymous=queue.anonymous)))
            except InvalidEventError as error:
                self.poison += 1
                queue.owed[handle] = letter(raw, str(error), None)
                self._throttled.log("poison", logging.ERROR, "%s: an entry is no event", self._name)
        if not payloads:
            return
        window, now = self._accept(len(payloads)), asyncio.get_running_loop().time()
        for handle, payload in payloads:
            entry = queue.held[handle] = StoredEvent(payload, now, window, handle)
            queue.lane.put(entry)
            self._pending_bytes += payload.size
        self._pending += len(payloads)

    def _forget(self, queue: Queue, is_gone: Callable[[StoredEvent], bool]) -> int:
        """Let go of waiting events that others have now; return how many."""
        gone = queue.forget(is_gone)
        self._pending -= len(gone)
        self._pending_bytes -= size_of(gone)
        # They are counted where they are delivered.
        self._accept(-len(gone))
        return len(gone)

    async def lease(self, *, max_events: int, max_bytes: int, event_bytes: int) -> Sequence[StoredEvent]:
        queue = self._front()
        if queue is None:
            return []
        entries, size = queue.lane.take(max_events, max_bytes, event_bytes)
        self._move(-len(entries), -size)
        return entries

    def _move(self, count: int, size: int) -> None:
        """Count *count* events as waiting that were leased, or the other way round."""
        self._pending += count
        self._pending_bytes += size
        self._leased -= count
        self._leased_bytes -= size

    def _front(self) -> Queue | None:
        """Return the queue whose first event has waited longest, or None."""
        firsts = [
            (entry.accepted_at, queue)
            for queue in self._queues.values()
            if (entry := queue.lane.first()) is not None
        ]
        return min(firsts, key=lambda first: first[0])[1] if firsts else None

    def oldest(self) -> StoredEvent | None:
        queue = self._front()
        return None if queue is None else queue.lane.first()

    async def release(self, events: Sequence[StoredEvent]) -> None:
        for entry in reversed(events):
            queue = self._queues[entry.payload.anonymous]
            if queue.held.get(entry.handle) is entry:
                queue.lane.put_back((entry,))
                self._move(1, entry.size)
            else:
                # It is settled: who did that was cancelled before it could count it.
                self._count_out((entry,))
                self._accept(-1)

    async def ack(self, events: Sequence[StoredEvent]) -> None:
        for entry in events:
            self._owe(entry, None)
        await self._pay_all()
        self._count_out(events)

    async def give_up(self, events: Sequence[StoredEvent], *, reason: str, status: int | None) -> None:
        for entry in events:
            self._owe(entry, letter(entry.payload, reason, status))
        await self._pay_all()
        self._count_out(events)

    def _owe(self, entry: StoredEvent, text: bytes | None) -> None:
        queue = self._queues[entry.payload.anonymous]
        del queue.held[entry.handle]
        queue.owed[entry.handle] = text

    def _count_out(self, entries: Sequence[StoredEvent]) -> None:
        """Count leased *entries* as gone, in one step with the caller's books."""
        self._leased -= len(entries)
        self._leased_bytes -= size_of(entries)

    async def _pay_all(self) -> None:
        """Tell Redis what is settled. Where it does not answer, `tend` tells it later."""
        try:
            async with self._turn:
                # A Redis that fails is left alone for a while.
                if self._rest.left() <= 0 and self._owes():
                    for queue in self._queues.values():
                        await self._pay(queue)
                    self._succeeded()
        except TransportError as error:
            self._failed(error)
        finally:
            if self._owes():
                self._trouble.set()

    def _owes(self) -> bool:
        return any(queue.owed for queue in self._queues.values())

    async def _pay(self, queue: Queue) -> None:
        while queue.owed:
            part = list(queue.owed.items())[:CHUNK]
            handles = [handle for handle, text in part if text is None]
            letters = [word for handle, text in part if text is not None for word in (handle, text)]
            trimmed = await self._remove(queue, handles, letters)
            for handle, _ in part:
                del queue.owed[handle]
            # There is room again.
            self.notify()
            if trimmed:
                self.trimmed += trimmed
                message = "%s: the oldest dead letters are deleted: there are more than %d"
                self._throttled.log(
                    "trimmed", logging.WARNING, message, self._name, self._max_dead, count=trimmed
                )

    # --- being alive

    async def tend(self) -> None:
        """Show that we are alive, take over from those that are not, repeat what is owed; until cancelled."""
        while True:
            self._trouble.clear()
            pause = self._rest.left() or await self._tend_once()
            await ring_within(self._trouble, pause)

    async def _tend_once(self) -> float:
        try:
            async with self._turn:
                for queue in self._queues.values():
                    await self._tend(queue)
                self._has_beaten = True
        except TransportError as error:
            return self._failed(error)
        self._succeeded()
        return self._interval

    async def _tend(self, queue: Queue) -> None:
        # After an outage everybody is late: the first beat of each comes before the first takeover.
        pulse = await self._beat(queue, may_take_over=self._has_beaten and self._is_taking)
        queue.length, queue.dead = pulse.length, list(pulse.dead)
        if pulse.noted != queue.known():
            await self._look_again(queue)
        await self._pay(queue)
        if queue.dead:
            log.info("%s: %d workers are not heard of and count as dead", self._name, len(queue.dead))
            await self._take_over(queue)
        # There may be more than before, here or there.
        self.notify()

    def _failed(self, error: TransportError) -> float:
        pause = self._rest.begin()
        is_misconfigured = isinstance(error, Refusal) and error.response.is_misconfigured
        level = logging.ERROR if is_misconfigured else logging.WARNING
        message = "%s: Redis: %s; next attempt in %.1f s"
        self._throttled.log(type(error).__name__, level, message, self._name, error, pause)
        self._trouble.set()
        return pause

    def _succeeded(self) -> None:
        if self._rest.failures:
            log.info("%s: Redis answers again", self._name)
        self._rest = Rest()

    # --- the end

    async def give_back(self) -> int:
        self._is_taking = False
        given = 0
        for queue in self._queues.values():
            given += await self._give_back(queue)
        return given

    async def _give_back(self, queue: Queue) -> int:
        """Try until it is done; whoever has no time for that cancels."""
        while True:
            try:
                async with self._turn:
                    await self._pay(queue)
                    leased = queue.held.keys() - {entry.handle for entry in queue.waiting()}
                    await self._return(queue, but=list(leased))
                    self._succeeded()
                    return self._forget(queue, lambda _entry: True)
            except TransportError as error:
                await asyncio.sleep(self._failed(error))

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            pending=self._pending,
            leased=self._leased,
            pending_bytes=self._pending_bytes,
            bytes=self._pending_bytes + self._leased_bytes,
        )

    def abandon(self) -> None:
        self._redis.abandon()
        self._push.abandon()
        self._worker = new_worker_id()
        self._empty()

    async def aclose(self) -> None:
        await self._push.aclose()
        await self._redis.aclose()
