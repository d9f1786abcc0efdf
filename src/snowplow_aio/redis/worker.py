"""The worker: it takes events out of Redis and delivers them until it is told to stop."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Unpack

from anyio import move_on_after

from snowplow_aio.abc import Hook, Transport
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.hooks import Hooks
from snowplow_aio.delivery.loop import DeliveryLoop
from snowplow_aio.delivery.options import BatchingOptions
from snowplow_aio.delivery.supervisor import Supervisor, Work
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.old_names import OldArguments, new_setting, refuse_unknown
from snowplow_aio.outcomes import EmitterStats, State
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.redis.entries import Mode, check_mode
from snowplow_aio.redis.errors import Refusal
from snowplow_aio.redis.list_store import RedisListStore
from snowplow_aio.redis.store import RedisStore
from snowplow_aio.redis.stream_store import RedisStreamStore
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.runtime.foreign_text import events_text, shown
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.redis")

# How long a cancelled worker goes on to give back the events that it holds.
_LAST_SECONDS = 1.0

# The part of the drain time that is reserved to give back undelivered events, and the most seconds that it
# needs with a Redis that answers. Giving back takes at most these seconds beyond the drain time.
_GIVE_BACK_PART = 0.1
_GIVE_BACK_SECONDS = 0.5

_SUMMARY_SECONDS = 60.0

# How long a part of the worker that failed is left alone, and for how long it must go on to count as well.
_RETRY = Retry(initial_delay=0.05, max_delay=5.0)
_STEADY_SECONDS = 10.0


def store_class(mode: Mode) -> type[RedisStore]:
    """
    Return the class of the store for *mode*.

    Raises:
        ConfigurationError: If *mode* is neither ``list`` nor ``stream``.
    """
    check_mode(mode)
    return RedisListStore if mode == "list" else RedisStreamStore


class RedisWorker(NeverCopied, OldArguments):
    """
    Delivers the events that emitters have put into Redis.

    An event leaves Redis when it is delivered or given up. An event that is given up goes to the list
    ``{<key>}:dead``, with the reason. Any number of workers share the work; the events that a worker holds
    when it dies are taken over by others. The worker installs no signal handlers: an application's own
    call `stop`.

    Args:
        transport: How events are sent: a `Transport`, or an emitter like `HttpEmitter`, whose transport,
            batches, retries and hooks are used.

        client: A URL (``redis://``, ``rediss://``, ``unix://``), a client of ``redis.asyncio`` whose
            settings are used for connections of our own, or None for ``redis://127.0.0.1:6379/0``.

        key: The list or the stream. Anonymous events are in ``<key>:anonymous``.

        mode: ``list`` or ``stream``.

        takeover_after: Seconds without a sign of life after which a worker's events are given to others,
            above 0; the same for all workers of a key.

        prefetch: Most events that it holds, from 1.

        max_dead: Most dead letters that are kept, from 1.

        drain_timeout: Seconds for which it goes on delivering after `stop`, at least 0.

        worker_id: Its id in Redis: up to 100 letters, digits and ``._-``, never the same for two workers
            that run. None for a new one.

        retry: What happens to events that were not delivered. None for `Retry()`.

        hooks: Functions that are called with every outcome.

        name: The name of the worker in statistics and logs.

        **batching: The arguments of `Batching`: `batch_size`, `max_batch`, `byte_limit`, `flush_interval`
            and `max_connections`. Here None is the same as leaving an argument out.

    Raises:
        ConfigurationError: If an argument is out of range; or if an emitter is given together with
            `retry`, `hooks` or one of `batching`, which the emitter has itself.

    Example:
        ::

            worker = RedisWorker(HttpEmitter("https://collector.example.com"), key="snowplow")
            await worker.run()
    """

    def __init__(
        self,
        transport: Transport | BufferedEmitter,
        *,
        client: object = None,
        key: str = "snowplow",
        mode: Mode = "list",
        takeover_after: float = 30.0,
        prefetch: int = 2_000,
        max_dead: int = 100_000,
        drain_timeout: float = 5.0,
        worker_id: str | None = None,
        retry: Retry | None = None,
        hooks: Iterable[Hook] = (),
        name: str = "worker",
        **batching: Unpack[BatchingOptions],
    ) -> None:
        check_seconds("drain_timeout", drain_timeout, zero=True)
        check_argument(isinstance(name, str) and name != "", "name", name, "must be a non-empty string")
        self.name: str = name
        self._drain_timeout = drain_timeout
        self._store = store_class(mode)(
            client,
            key,
            takeover_after=takeover_after,
            prefetch=prefetch,
            max_dead=max_dead,
            worker_id=worker_id,
            name=name,
        )
        self._counters = Counters()
        self._hooks, self._delivery = self._new_delivery(transport, batching, retry, hooks)
        self._run: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._is_told = False
        self._parts: list[Supervisor] = []
        # Those of earlier runs, and of parts that failed.
        self._restarts = 0
        # What the latest failure of a part was, and until when it counts.
        self._fault = ""
        self._fault_until = 0.0
        self._throttled = ThrottledLog(log)
        self._ends_at = 0.0

    def _new_delivery(
        self,
        transport: Transport | BufferedEmitter,
        batching: BatchingOptions,
        retry: Retry | None,
        hooks: Iterable[Hook],
    ) -> tuple[Hooks, DeliveryLoop]:
        known = {*inspect.signature(RedisWorker).parameters, *BatchingOptions.__annotations__}
        refuse_unknown("RedisWorker", batching, known, partial(new_setting, known=known))
        rule = "must be a sequence of functions"
        check_argument(isinstance(hooks, Iterable), "hooks", hooks, rule)
        hooks = tuple(hooks)
        check_argument(all(map(callable, hooks)), "hooks", hooks, rule)
        check_argument(retry is None or isinstance(retry, Retry), "retry", retry, "must be a Retry")
        given: dict[str, Any] = {name: value for name, value in batching.items() if value is not None}
        if isinstance(transport, BufferedEmitter):
            for argument in (*given, *(["retry"] if retry else []), *(["hooks"] if hooks else [])):
                raise ConfigurationError(f"{argument}: must be given to the emitter, whose settings are used")
            return transport.hooks, transport.new_delivery(self._store, self._counters)
        rule = "must be a Transport, or an emitter that has one, like HttpEmitter(...)"
        check_argument(isinstance(transport, Transport), "transport", transport, rule)
        told = Hooks(hooks)
        return told, DeliveryLoop(
            name=self.name,
            store=self._store,
            transport=transport,
            batching=Batching(**given),
            retry=retry or Retry(),
            counters=self._counters,
            hooks=told,
        )

    def __repr__(self) -> str:
        return f"<RedisWorker {self.name!r}: {self.stats().summary}>"

    # --- its state

    @property
    def is_running(self) -> bool:
        """Whether `run` is under way."""
        return self._run is not None and not self._run.done()

    @property
    def is_redis_answering(self) -> bool:
        """Whether Redis has answered the latest command."""
        return self._store.is_answering

    @property
    def is_ready(self) -> bool:
        """Whether Redis answers and the destination takes events."""
        is_delivering = self._delivery.breaker.failures == 0 and not self._has_fault
        return self.is_running and not self._is_told and self._store.is_answering and is_delivering

    @property
    def summary(self) -> str:
        """The state of the worker in one line."""
        if not self.is_running:
            return "not running"
        if self._is_told:
            return f"stopping; {self.stats().summary}"
        return f"{self._redis_trouble()}{self.stats().summary}; {self.queue_length} in Redis"

    def _redis_trouble(self) -> str:
        """Return what Redis does not do at present, for `summary`; nothing where the state says it."""
        failures = self._store.failures
        if self._store.is_answering or failures.is_misconfigured:
            return ""
        is_refusal = isinstance(failures.latest, Refusal)
        return f"Redis refuses ({failures.latest}); " if is_refusal else "Redis does not answer; "

    @property
    def queue_length(self) -> int:
        """How many events, without those that workers hold, waited in Redis when it was last asked."""
        return self._store.length

    @property
    def taken_over(self) -> int:
        """How many events of dead workers this one gave to others, or took."""
        return self._store.taken_over

    @property
    def trimmed(self) -> int:
        """How many dead letters were deleted to make room for newer ones."""
        return self._store.trimmed

    def stats(self) -> EmitterStats:
        """
        Return the worker's numbers; cheap and never waits.

        `pending` and `leased` count the events that it holds. Entries that were no events count as
        rejected, with the reason ``poison``. The state is ``misconfigured`` also while Redis refuses a
        command, or a part of the worker fails again and again; `last_error` says why.
        """
        loop, poison = self._loop, self._store.poison
        stats = self._with_troubles(self._delivery.stats(loop.time() if loop is not None else 0.0))
        rejected = Counter(dict(stats.rejected)) + Counter({"poison": poison} if poison else {})
        state: State = stats.state if self.is_running else "closed"
        return dataclasses.replace(
            stats,
            accepted=stats.accepted + poison,
            rejected=MappingProxyType(dict(rejected)),
            restarts=stats.restarts + self._restarts_so_far(),
            state=state,
        )

    def _with_troubles(self, stats: EmitterStats) -> EmitterStats:
        """Return *stats*, those of the delivery, with what else keeps the worker from working."""
        failures = self._store.failures
        if failures.is_misconfigured:
            error, pause = shown(f"Redis: {failures.latest}"), failures.next_attempt
            return dataclasses.replace(stats, state="misconfigured", last_error=error, next_attempt=pause)
        if self._has_fault and stats.state == "ok":
            return dataclasses.replace(stats, state="backing_off", last_error=self._fault, next_attempt=0.0)
        return stats

    @property
    def _has_fault(self) -> bool:
        """Whether a part of the worker has failed and has not gone on for a while since."""
        return self._loop is not None and self._loop.time() < self._fault_until

    # --- running

    def stop(self) -> None:
        """
        Have `run` end: it takes no more events, goes on delivering those it holds, and gives the rest back.

        Safe from any thread and from signal handlers.
        """
        self._is_told = True
        if self._loop is not None and self._stopped is not None:
            # A closed loop raises, and waits for nothing.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopped.set)

    async def run(self) -> None:
        """
        Deliver until `stop` is called.

        A cancelled call gives back the events that it holds, which takes at most a second, and raises.

        Raises:
            ConfigurationError: If the worker is running already.
        """
        if self.is_running:
            raise ConfigurationError("run: must be called once at a time, this worker is running")
        self._run = asyncio.current_task()
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        if self._is_told:
            self._stopped.set()
        self._store.take_for(self._counters.accept, self._take_back)
        log.info("%s: started as %s", self.name, self._store.worker_id)
        try:
            await self._work(self._stopped)
        except BaseException:
            with move_on_after(_LAST_SECONDS, shield=True):
                await self._give_back()
            raise
        finally:
            with suppress(asyncio.CancelledError), move_on_after(_LAST_SECONDS, shield=True):
                await self._store.aclose()
            log.info("%s: stopped; %s", self.name, self.stats().summary)
            self._run, self._is_told = None, False
            self._delivery.breaker.ends_at = None

    def _take_back(self, count: int) -> None:
        """Count *count* events as not accepted after all: other workers have them."""
        self._counters.refuse(self._counters.window, count)

    async def _work(self, stopped: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        for work in (self._store.maintain, self._delivery.deliver, self._summarise):
            part = Supervisor(self.name, log=log, failure="%s: a part of the worker failed and starts again")
            part.run_in(loop, Work(partial(self._go_on, work)))
            self._parts.append(part)
        try:
            await stopped.wait()
            await self._drain()
        finally:
            await self._end_parts()
            with move_on_after(_LAST_SECONDS, shield=True):
                await self._hooks.end()
        rest = self._ends_at - asyncio.get_running_loop().time()
        with move_on_after(max(_GIVE_BACK_SECONDS, rest)):
            await self._give_back()

    async def _go_on(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work*; where it fails, begin again after a pause, which is longer each time in a row."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            started = loop.time()
            try:
                return await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker goes on
                failures = failures + 1 if loop.time() - started < _STEADY_SECONDS else 1
                pause = _RETRY.pause_after(failures, random=1.0)
                self._restarts += 1
                self._fault = shown(f"{type(error).__name__}: {error}")
                self._fault_until = loop.time() + pause + _STEADY_SECONDS
                message = "%s: a part of the worker failed and starts again"
                self._throttled.log("part", logging.ERROR, message, self.name, error=error)
                await asyncio.sleep(pause)

    async def _end_parts(self) -> None:
        """Stop all parts and wait until they have ended, whatever happens to the caller meanwhile."""
        ending = [task for part in self._parts if (task := part.stop()) is not None]
        self._restarts = self._restarts_so_far()
        self._parts.clear()
        if ending:
            with move_on_after(_LAST_SECONDS, shield=True):
                await asyncio.wait(ending)

    def _restarts_so_far(self) -> int:
        return self._restarts + sum(part.restarts for part in self._parts)

    async def _drain(self) -> None:
        """Deliver the events that are held, within the drain time."""
        loop = asyncio.get_running_loop()
        self._store.stop_taking()
        self._ends_at = loop.time() + self._drain_timeout
        seconds = self._drain_timeout - min(_GIVE_BACK_SECONDS, self._drain_timeout * _GIVE_BACK_PART)
        self._hooks.hurry(seconds)
        window, settled = self._counters.window, asyncio.Event()
        log.info("%s: stopping; %s", self.name, self.stats().summary)

        def wake() -> None:
            loop.call_soon_threadsafe(settled.set)

        self._delivery.flush_soon(window, loop.time(), ends_at=loop.time() + seconds)
        self._counters.when_settled(window, wake)
        try:
            async with asyncio.timeout(seconds):
                await settled.wait()
                await self._hooks.settle()
        except TimeoutError:
            pass
        finally:
            self._counters.forget(wake)

    async def _give_back(self) -> None:
        given = 0
        try:
            given = await self._store.give_back()
        finally:
            if given:
                log.info("%s: gave %s back", self.name, events_text(given))
            self._say_what_is_left()

    def _say_what_is_left(self) -> None:
        """Log how many events stay noted in Redis as those of this worker."""
        reason = self._store.failures.latest or "Redis does not answer"
        held, settled = self._store.statistics(), self._store.unacknowledged
        if held.pending:
            log.warning("%s: %s left to be taken over: %s", self.name, events_text(held.pending), reason)
        if held.leased:
            message = "%s: %s left to be taken over: the request with them has not ended"
            log.warning(message, self.name, events_text(held.leased))
        if settled:
            message = "%s: %s settled, but noted in Redis: another worker delivers them once more: %s"
            log.warning(message, self.name, events_text(settled), reason)

    async def _summarise(self) -> None:
        """Log a summary once a minute, if there was something to do."""
        latest: tuple[int, int] | None = None
        while True:
            await asyncio.sleep(_SUMMARY_SECONDS)
            stats = self.stats()
            # An entry that is no event is taken, and not sent.
            done = (stats.requests, stats.accepted)
            if done != latest or stats.pending:
                latest = done
                log.info("%s: %s", self.name, self.summary)
