"""A worker: takes events out of Redis and delivers them, until it is told to stop."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Literal

from anyio import move_on_after

from snowplow_aio.abc import Hook, Transport
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.hooks import Hooks
from snowplow_aio.delivery.loop import DeliveryLoop
from snowplow_aio.delivery.supervisor import Supervisor, Work
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.outcomes import EmitterStats, State
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.redis.list_store import RedisListStore
from snowplow_aio.redis.store import RedisStore
from snowplow_aio.redis.stream_store import RedisStreamStore
from snowplow_aio.runtime.throttled_log import QuietLogger, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.redis")

_STORES: dict[str, type[RedisStore]] = {"list": RedisListStore, "stream": RedisStreamStore}

# How long a worker that is cancelled goes on, to give back what it holds.
_LAST_SECONDS = 1.0

# What is left of the drain time to give back what was not delivered: a part of it, as far as
# a Redis that answers needs so long. Beyond the drain time it takes at most the last.
_GIVE_BACK_PART = 0.1
_GIVE_BACK_SECONDS = 0.5

_SUMMARY_SECONDS = 60.0


class RedisWorker:
    """
    Delivers the events that others have put into Redis.

    An event leaves Redis when it is delivered, or when it is given up: then it
    goes to the list ``{<key>}:dead``, with the reason. Any number of workers
    share the work; what one of them holds when it dies is taken over by others.
    It installs no signal handlers: `stop` is there for those of the application.

    Args:
        transport: How events are sent: a `Transport`, or an emitter like
            `HttpEmitter`, whose transport, batches, retries and hooks are used.

        client: A client of ``redis.asyncio``, a URL, or None for ``redis://127.0.0.1:6379/0``;
            connections of its own are made with its settings.

        key: Where the events are; anonymous ones are in ``<key>:anonymous``.

        mode: ``list`` or ``stream``.

        takeover_after: Seconds after which the events of a worker that is not
            heard of are given to others, above 0; the same for all workers.

        prefetch: Most events that it holds, from 1.

        max_dead: Most dead letters that are kept, from 1.

        drain_timeout: Seconds that it goes on delivering when it is told to stop, at least 0.

        worker_id: What Redis calls it; a new one where it is None.

        batch_size: Waiting events that make a request due, from 1; 50 where it is None.

        max_batch: Most events in a request, from 1; 500 where it is None.

        byte_limit: Most bytes in a request; 500,000 where it is None.

        flush_interval: Seconds after which a waiting event is sent in any case; 1 where it is None.

        max_connections: Most requests at the same time, from 1; 16 where it is None.

        retry: What happens to events that were not delivered.

        hooks: Called with every outcome.

        name: What statistics and logs call it.

    Raises ConfigurationError when a value is out of range, or an emitter is
    given together with what it says itself.
    """

    def __init__(
        self,
        transport: Transport | BufferedEmitter,
        *,
        client: object = None,
        key: str = "snowplow",
        mode: Literal["list", "stream"] = "list",
        takeover_after: float = 30.0,
        prefetch: int = 2_000,
        max_dead: int = 100_000,
        drain_timeout: float = 5.0,
        worker_id: str | None = None,
        batch_size: int | None = None,
        max_batch: int | None = None,
        byte_limit: int | None = None,
        flush_interval: float | None = None,
        max_connections: int | None = None,
        retry: Retry | None = None,
        hooks: Iterable[Hook] = (),
        name: str = "worker",
    ) -> None:
        check_seconds("drain_timeout", drain_timeout, zero=True)
        check_argument(isinstance(name, str) and name != "", "name", name, "must be a non-empty string")
        check_argument(isinstance(mode, str) and mode in _STORES, "mode", mode, "must be 'list' or 'stream'")
        self.name: str = name
        self._drain_timeout = drain_timeout
        self._store = _STORES[mode](
            client,
            key,
            takeover_after=takeover_after,
            prefetch=prefetch,
            max_dead=max_dead,
            worker_id=worker_id,
            name=name,
        )
        self._counters = Counters()
        options = {
            "batch_size": batch_size,
            "max_batch": max_batch,
            "byte_limit": byte_limit,
            "flush_interval": flush_interval,
            "max_connections": max_connections,
        }
        given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
        self._delivery = self._new_delivery(transport, given, retry, hooks)
        self._run: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._is_told = False
        self._parts: list[Supervisor] = []
        # Those of earlier runs.
        self._restarts = 0
        self._ends_at = 0.0

    def _new_delivery(
        self,
        transport: Transport | BufferedEmitter,
        batching: dict[str, Any],
        retry: Retry | None,
        hooks: Iterable[Hook],
    ) -> DeliveryLoop:
        rule = "must be a sequence of functions"
        check_argument(isinstance(hooks, Iterable), "hooks", hooks, rule)
        hooks = tuple(hooks)
        check_argument(all(map(callable, hooks)), "hooks", hooks, rule)
        check_argument(retry is None or isinstance(retry, Retry), "retry", retry, "must be a Retry")
        if isinstance(transport, BufferedEmitter):
            own = [*batching, *(["retry"] if retry else []), *(["hooks"] if hooks else [])]
            for argument in own:
                raise ConfigurationError(f"{argument}: must be given to the emitter, whose settings are used")
            self._hooks = transport.hooks
            return transport.new_delivery(self._store, self._counters)
        rule = "must be a Transport, or an emitter that has one, like HttpEmitter(...)"
        check_argument(isinstance(transport, Transport), "transport", transport, rule)
        self._hooks = Hooks(hooks)
        return DeliveryLoop(
            name=self.name,
            store=self._store,
            transport=transport,
            batching=Batching(**batching),
            retry=retry or Retry(),
            counters=self._counters,
            hooks=self._hooks,
        )

    def __repr__(self) -> str:
        return f"<RedisWorker {self.name!r}: {self.stats().summary}>"

    # --- what it says

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
        is_delivering = self._delivery.breaker.failures == 0
        return self.is_running and not self._is_told and self._store.is_answering and is_delivering

    @property
    def summary(self) -> str:
        """What there is to know in one line."""
        if not self.is_running:
            return "not running"
        if self._is_told:
            return f"stopping; {self.stats().summary}"
        redis = "" if self._store.is_answering else "Redis does not answer; "
        return f"{redis}{self.stats().summary}; {self.queue_length} in Redis"

    @property
    def queue_length(self) -> int:
        """How many events waited in Redis, besides those that workers hold, when it was last asked."""
        return self._store.length

    @property
    def taken_over(self) -> int:
        """How many events of dead workers this one has given to others, or taken."""
        return self._store.taken_over

    @property
    def trimmed(self) -> int:
        """How many dead letters were deleted to make room for newer ones."""
        return self._store.trimmed

    def stats(self) -> EmitterStats:
        """
        Return the worker's numbers; cheap and never waits.

        `pending` and `leased` are what it holds. Entries that were no events are
        rejected, with the reason ``poison``.
        """
        loop, poison = self._loop, self._store.poison
        stats = self._delivery.stats(loop.time() if loop is not None else 0.0)
        rejected = Counter(dict(stats.rejected)) + Counter({"poison": poison} if poison else {})
        state: State = stats.state if self.is_running else "closed"
        return dataclasses.replace(
            stats,
            accepted=stats.accepted + poison,
            rejected=MappingProxyType(dict(rejected)),
            restarts=stats.restarts + self._restarts_so_far(),
            state=state,
        )

    # --- what it does

    def stop(self) -> None:
        """
        End `run`: it takes no more events, delivers those that it holds for a while, and gives the rest back.

        Safe from any thread and from signal handlers.
        """
        self._is_told = True
        if self._loop is not None and self._stopped is not None:
            # A loop that was closed waits for nothing.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopped.set)

    async def run(self) -> None:
        """
        Deliver until `stop` is called.

        When it is cancelled it gives the events that it holds back to others, for
        at most a second, and passes the cancellation on.

        Raises:
            ConfigurationError: If it is running already.
        """
        if self.is_running:
            raise ConfigurationError("run: must be called once at a time, this worker is running")
        self._run = asyncio.current_task()
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        if self._is_told:
            self._stopped.set()
        self._store.take_for(self._counters.accept)
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
            self._run, self._is_told = None, False
            self._delivery.breaker.ends_at = None
            log.info("%s: stopped; %s", self.name, self._delivery.stats(self._loop.time()).summary)

    async def _work(self, stopped: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        for work in (self._store.tend, self._delivery.deliver, self._summarise):
            part = Supervisor(self.name, log=log, failure="%s: a part of the worker failed and starts again")
            part.run_in(loop, Work(work))
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
        """Deliver what is held, as far as the time goes."""
        loop = asyncio.get_running_loop()
        self._store.stop_taking()
        self._ends_at = loop.time() + self._drain_timeout
        seconds = self._drain_timeout - min(_GIVE_BACK_SECONDS, self._drain_timeout * _GIVE_BACK_PART)
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
            held = self._store.statistics().pending
            if given:
                log.info("%s: gave %d events back", self.name, given)
            if held:
                log.warning("%s: %d events are left to be taken over: Redis does not answer", self.name, held)

    async def _summarise(self) -> None:
        """Say once a minute what happened, if something did."""
        said = -1
        while True:
            await asyncio.sleep(_SUMMARY_SECONDS)
            stats = self.stats()
            if stats.requests != said or stats.pending:
                said = stats.requests
                log.info("%s: %s", self.name, self.summary)
