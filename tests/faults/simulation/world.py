"""
The world of the simulations: virtual time, a simulated network, a collector that fails, all by one seed.

The tracker, the emitter and aiohttp in it are the real ones. The same seed gives the same run, step by step.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeVar
from unittest import mock
from uuid import UUID

import aiohttp

from snowplow_aio import HttpEmitter, PageView, Tracker
from snowplow_aio.http.transport import HttpTransport
from snowplow_aio.outcomes import EmitterStats
from tests.collector import OK, Answer, Request
from tests.collector import Collector as ScriptedCollector
from tests.scale import scale

# By its name: type checkers that run on Python 3.11 do not find it.
simloop: Any = importlib.import_module("simloop")

T = TypeVar("T")

REPLAYED = os.environ.get("SNOWPLOW_SEED")

PAGE = PageView(page_url="https://shop.example/")
URL = "http://collector:8080"

# Nothing of the request is taken.
RESET = Answer(reset=True, is_processed=False)

# Seconds of a packet on its way, and of a step of the loop: time that stood still while something
# runs would be no time that a program can meet.
LATENCY = (0.001, 0.005)
_STEP = 0.000_001
# After a partition what was held back comes in: a connection, a request, in several packets.
_HELD_BACK = 10 * LATENCY[1]
# Whatever takes longer hangs.
_LONGEST = 1_000_000.0


def simulate(
    scenario: Callable[[World], Coroutine[Any, Any, T]], *, short: int = 6, full: int = 500
) -> list[T]:
    """
    Play *scenario* with as many seeds; return its results.

    A failure names its seed and the command that plays that seed alone.
    """
    seeds = [int(REPLAYED)] if REPLAYED else range(scale(short, full))
    return [play(scenario, seed) for seed in seeds]


def play(scenario: Callable[[World], Coroutine[Any, Any, T]], seed: int) -> T:
    """Play *scenario* with *seed*; return its result."""
    world = World(seed)
    try:
        with world.laws_of_nature():
            try:
                result: T = world.loop.run_until_complete(world.live(scenario))
            finally:
                world.end()
    except Exception as error:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
        error.add_note(f"seed {seed}; again: SNOWPLOW_SEED={seed} python -m pytest '{test}'")
        raise
    return result


def balance(stats: EmitterStats) -> int:
    """Return how many events the numbers lose; 0 at every moment."""
    ends = stats.delivered + sum(stats.rejected.values()) + sum(stats.dropped.values())
    return stats.accepted - stats.pending - stats.leased - ends


class Task(asyncio.Task[Any]):
    """A task that sets of tasks have in the same order in every run."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class World:
    """
    Everything that one run has, made from its *seed*.

    Attributes:
        chance: For the scenario's own choices.

        wall_offset: What the wall clock is ahead of the loop's clock, in seconds.

        wrap: What becomes of the coroutine of each task that is not the collector's or the scenario's.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.loop: Any = simloop.SimLoop(seed)
        self.loop.net.set_defaults(latency=LATENCY)
        self.chance = random.Random(f"{seed}:scenario")
        self.wall_offset = 1_700_000_000.0
        self.collector = Collector(self)
        self.wrap: Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]] = lambda coroutine: (
            coroutine
        )
        self._ids = random.Random(f"{seed}:ids")
        self._emitters: list[HttpEmitter] = []
        self._tasks = 0
        self._own: set[asyncio.Task[Any]] = set()
        self._is_own = False

    # --- what a scenario uses

    @property
    def now(self) -> float:
        now: float = self.loop.time()
        return now

    def wall(self) -> float:
        """Return the seconds since the epoch."""
        return self.now + self.wall_offset

    def wall_ns(self) -> int:
        return round(self.wall() * 1_000_000) * 1000

    def emitter(self, **options: Any) -> HttpEmitter:
        emitter = HttpEmitter(URL, **options)
        self._emitters.append(emitter)
        return emitter

    def tracker(self, **options: Any) -> Tracker:
        """Return a tracker with one emitter, made with *options*."""
        return Tracker(self.emitter(**options), clock=self.wall_ns, new_id=self._new_id)

    def _new_id(self) -> str:
        return str(UUID(int=self._ids.getrandbits(128), version=4))

    def stats(self) -> EmitterStats:
        return self._emitters[0].stats()

    async def settled(self, every: float = 1.0) -> None:
        """Wait until all events are settled, looking *every* so many seconds; a flush would hurry them."""
        while (stats := self.stats()).pending + stats.leased:  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(every)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task of the scenario itself, which no fault hits."""
        self._is_own = True
        try:
            return asyncio.get_running_loop().create_task(coroutine)
        finally:
            self._is_own = False

    def inner_tasks(self) -> list[asyncio.Task[Any]]:
        """Return what runs inside of the library and its HTTP client, oldest first."""
        tasks = asyncio.all_tasks() - self._own - self.collector.tasks
        return sorted(tasks, key=hash)

    @asynccontextmanager
    async def partition(self) -> AsyncGenerator[None, None]:
        """Let nothing through to the collector or back; what was on its way arrives afterwards."""
        self.loop.net.partition({"driver"}, {"collector"})
        self.collector.cuts.append((self.now, _LONGEST))
        try:
            yield
        finally:
            self.loop.net.heal()
            self.collector.cuts[-1] = (self.collector.cuts[-1][0], self.now)

    def digest(self) -> str:
        """Return what distinguishes this run so far: each step of the loop, each byte that was received."""
        return f"{self.loop.trace_hash()} {self.collector.heard.hexdigest()}"

    # --- what makes it run

    async def live(self, scenario: Callable[[World], Awaitable[T]]) -> T:
        self.loop.set_task_factory(self._new_task)
        main = asyncio.current_task()
        assert main is not None
        self._own.add(main)
        async with asyncio.timeout(_LONGEST), self.collector.running():
            result = await scenario(self)
            # Connections that were closed need a moment to be gone.
            await asyncio.sleep(1)
            assert not self.inner_tasks()
            assert all(emitter.stats().state == "closed" for emitter in self._emitters)
        return result

    def _new_task(self, loop: Any, coroutine: Any, context: Context | None = None) -> Task:
        self._tasks += 1
        is_inner = not self._is_own and not self.collector.is_starting
        task = Task(self.wrap(coroutine) if is_inner else coroutine, loop=loop, context=context)
        task.number = self._tasks
        if self._is_own:
            self._own.add(task)
        return task

    @contextmanager
    def laws_of_nature(self) -> Generator[None, None, None]:
        """Have chance and time come from the seed, and check after every step that no event was lost."""
        step, state = self.loop._step, random.getstate()

        def checked_step() -> None:
            step()
            self.loop._now += _STEP
            for emitter in self._emitters:
                stats = emitter.stats()
                assert balance(stats) == 0, f"accepted events are missing: {stats}"
                # The numbers above add up by themselves; those of the store must do so too.
                held = emitter._store.statistics()
                waiting = (stats.pending, stats.leased)
                assert (held.pending, held.leased) == waiting, f"accepted events are missing: {stats}"

        with ExitStack() as stack:
            for name, clock in (
                ("time.time", self.wall),
                ("time.time_ns", self.wall_ns),
                ("time.monotonic", self.loop.time),
                ("aiohttp.connector.monotonic", self.loop.time),
            ):
                stack.enter_context(mock.patch(name, clock))
            defaults = inspect.unwrap(HttpTransport.__init__).__kwdefaults__
            stack.enter_context(mock.patch.dict(defaults, clock=self.wall_ns))
            stack.enter_context(mock.patch.object(self.loop, "_step", checked_step))
            # Names are looked up in this world's loop: it has no threads.
            stack.enter_context(
                mock.patch("snowplow_aio.http.sessions.new_resolver", aiohttp.ThreadedResolver)
            )
            random.seed(self.seed)
            stack.callback(random.setstate, state)
            yield

    def end(self) -> None:
        """End what a failed scenario has left behind, so that it says nothing more."""
        emitters, self._emitters = self._emitters, []
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=60))
        for emitter in emitters:
            emitter._store.withdraw()
        self.loop.close()


# --- the collector


@dataclass(frozen=True)
class Odds:
    """How likely each fault is for one request; the rest is answered as it should be."""

    unavailable: float = 0.0
    lost_answer: float = 0.0
    reset: float = 0.0
    slow: float = 0.0

    def draw(self, chance: random.Random) -> Answer:
        kinds = [Answer(503), Answer(reset=True), RESET, Answer(delay=0.2), OK]
        odds = [self.unavailable, self.lost_answer, self.reset, self.slow]
        return chance.choices(kinds, [*odds, 1 - sum(odds)])[0]


class Collector(ScriptedCollector):
    """
    Takes events by POST on the host ``collector``.

    Attributes:
        answers: What happened to each of the requests.

        cuts: When nothing came through.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.answers: list[Answer] = []
        self.cuts: list[tuple[float, float]] = []
        self.heard = hashlib.sha256()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.is_starting = False
        self._server: asyncio.Server | None = None

    def fail(self, odds: Odds) -> None:
        """Have requests fail by *odds* from now on."""
        self.fate = lambda _number: odds.draw(self._world.chance)

    def take(self, request: Request, answer: Answer) -> None:
        self.heard.update(f"{self._world.now!r} {answer}".encode() + request.body)
        self.answers.append(answer)
        super().take(request, answer)

    def doubtful(self) -> int:
        """Return how many events were taken while their answer may not have come through in time."""
        return sum(
            len(request.event_ids)
            for request, answer in zip(self.requests, self.answers, strict=True)
            for begin, end in self.cuts
            if begin - LATENCY[1] <= request.at + answer.delay and request.at <= end + _HELD_BACK
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        host = self._world.loop.net.host("collector")
        self._start(host.create_task, self.open())
        try:
            yield
        finally:
            self.close()
            if self.tasks:
                await asyncio.wait(self.tasks)

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, None, 8080)

    def close(self) -> None:
        """Reset all connections and refuse new ones, as a process does that has ended."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self.tasks:
            task.cancel()

    def reopen(self) -> None:
        """Listen again."""
        self._start(self._world.loop.net.host("collector").create_task, self.open())

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._start(asyncio.get_running_loop().create_task, self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        finally:
            # Cancelled or not, nothing of it goes on.
            writer.transport.abort()

    def _start(self, create: Callable[[Any], asyncio.Task[Any]], coroutine: Any) -> None:
        self.is_starting = True
        task = create(coroutine)
        self.is_starting = False
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
