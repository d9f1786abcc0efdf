"""
A cancellation at any await.

A scenario is played once to count its awaits; then it is played once for each of
them, and the task that awaits there is cancelled.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest

from snowplow_aio import Delivered, Dropped, MemoryStore, Overflow
from snowplow_aio.outcomes import Outcome
from snowplow_aio.tracking.track_methods import TrackCall
from tests.collector import OK, Answer
from tests.faults.simulation.world import PAGE, RESET, World, simulate
from tests.scale import scale

BATCH = 5
EVENTS = scale(20, 30)
SCRIPT = [
    Answer(503),
    Answer(delay=0.2),
    Answer(reset=True),
    OK,
    Answer(503),
    RESET,
]


@dataclass
class Awaits:
    """Counts the awaits of coroutines, and cancels the task at the one with the number *at*."""

    at: int = 0
    # As many awaits in a row.
    times: int = 1
    # Once the task is suspended, in a race with what it waits for; or before.
    is_later: bool = False
    count: int = 0
    cancelled: asyncio.Task[Any] | None = None
    cancellations: int = 0

    def watch(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return _Watched(coroutine, self)

    def reached(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.count += 1
        if self.count == self.at:
            self.cancelled = task
        if task is self.cancelled and self.cancellations < self.times:
            self.cancellations += 1
            if self.is_later:
                asyncio.get_running_loop().call_soon(task.cancel)
            else:
                task.cancel()


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine that says when it awaits."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], awaits: Awaits) -> None:
        self._coroutine = coroutine
        self._awaits = awaits
        self.__qualname__ = getattr(coroutine, "__qualname__", "")

    def send(self, value: Any) -> Any:
        awaited = self._coroutine.send(value)
        self._awaits.reached()
        return awaited

    def throw(self, *error: Any) -> Any:
        awaited = self._coroutine.throw(*error)
        self._awaits.reached()
        return awaited

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("a task calls `send`")


class Application:
    """What an application does with its tracker, from the first event to the close."""

    def __init__(self, world: World, *, closes_emitter: bool) -> None:
        self._closes_emitter = closes_emitter
        self.ids: list[str] = []
        self.ends: dict[str, list[str]] = {}
        self.is_closing = False
        # With a small store `track` waits, too.
        store = MemoryStore(capacity=10, overflow=Overflow.WAIT)
        options = {"max_batch": BATCH, "batch_size": BATCH, "max_connections": 2}
        self.tracker = world.tracker(store=store, hooks=[self._note, self._dawdle], **options)

    async def live(self) -> None:
        for i in range(EVENTS):
            tracking = cast(TrackCall, self.tracker.track(PAGE))
            self.ids.append(tracking.event_id)
            await tracking
            if i == EVENTS // 2:
                await self.tracker.flush(0.5)
        await self.tracker.flush()
        self.ids.append(self.tracker.track_nowait(PAGE))
        self.is_closing = True
        await (self.tracker.emitters[0] if self._closes_emitter else self.tracker).aclose(2)

    def _note(self, outcome: Outcome) -> None:
        if isinstance(outcome, Delivered | Dropped):
            for payload in outcome.payloads:
                self.ends.setdefault(payload["eid"], []).append(type(outcome).__name__)

    async def _dawdle(self, outcome: Outcome) -> None:
        await asyncio.sleep(0.01)


async def live_interrupted(world: World, awaits: Awaits, *, whose: str) -> int:
    """Cancel the application, or any task in the library, and take stock; return the number of awaits."""
    script = SCRIPT.copy()
    world.collector.fate = lambda _number: script.pop(0) if script else OK
    application = Application(world, closes_emitter=whose == "emitter")
    if whose == "library":
        world.wrap = awaits.watch
        task = world.spawn(application.live())
    else:
        task = world.spawn(awaits.watch(application.live()))
    await asyncio.wait([task], timeout=60)
    assert task.done(), "it hangs"
    stats = world.stats()
    if awaits.cancelled is task:
        assert task.cancelled(), "the cancellation was swallowed"
    if awaits.cancelled is None or not task.cancelled():
        task.result()
        assert stats.state == "closed"
    if stats.state == "closed":
        # Whoever is cancelled once more while the close cleans up does not see the end of it.
        await asyncio.sleep(0.25 if awaits.cancellations > 1 else 0)
        assert (world.stats().pending, world.stats().leased) == (0, 0)
    count = awaits.count
    # Whoever was cancelled before the close began finds an emitter that delivers on.
    await asyncio.wait_for(application.tracker.aclose(30), 30.25)
    take_stock(world, application, cancels=awaits.cancellations)
    return count


def take_stock(world: World, application: Application, *, cancels: int) -> None:
    stats, received = world.stats(), world.collector.accepted
    assert (stats.pending, stats.leased, dict(stats.rejected)) == (0, 0, {})
    # Whoever was cancelled before its event was handed over, has tracked nothing.
    assert len(application.ids) - 1 <= len(application.ends) == stats.accepted
    assert all(len(ends) == 1 for ends in application.ends.values())
    ends = {event_id: ends[0] for event_id, ends in application.ends.items()}
    assert all(event_id in received for event_id, end in ends.items() if end == "Delivered")
    assert list(ends.values()).count("Dropped") == sum(stats.dropped.values())
    if not application.is_closing:
        # Only who waits for room at the door can be turned away by its own cancellation.
        assert sum(stats.dropped.values()) <= 1
    # Two connections can be busy when the delivery is cancelled.
    assert world.collector.duplicates <= world.collector.unanswered + cancels * 2 * BATCH


# Whose task is cancelled, how many times, and whether only when it is suspended. In a short run,
# a selection of their product that has each of these for the application and for the library.
CANCELLATIONS = scale(
    [
        ("tracker", 2, True),
        ("emitter", 1, False),
        ("library", 1, False),
        ("library", 2, True),
    ],
    [*itertools.product(["tracker", "emitter", "library"], [1, 2], [False, True])],
)


@pytest.mark.parametrize(("whose", "times", "is_later"), CANCELLATIONS)
def test_a_cancellation_at_any_await_propagates_hangs_nothing_and_loses_no_event(
    whose: str, times: int, is_later: bool
) -> None:
    # The number of awaits depends on the seed.
    awaits = simulate(lambda world: live_interrupted(world, Awaits(), whose=whose), short=1, full=20)
    for k in range(1, max(awaits) + 1):
        simulate(partial(live_cancelled, k=k, times=times, is_later=is_later, whose=whose), short=1, full=20)


async def live_cancelled(world: World, *, k: int, times: int, is_later: bool, whose: str) -> None:
    awaits = Awaits(k, times, is_later)
    try:
        await live_interrupted(world, awaits, whose=whose)
    except BaseException as error:
        error.add_note(f"cancelled at await {k}: {awaits.cancelled!r}")
        raise


async def close_twice(world: World) -> None:
    """Cancel one of two who close at the same time, somewhere on the way."""
    world.collector.fate = lambda _number: Answer(503)
    application = Application(world, closes_emitter=False)
    ids = [application.tracker.track_nowait(PAGE) for _ in range(8)]
    emitter = application.tracker.emitters[0]
    cancelled, patient = world.spawn(emitter.aclose(60)), world.spawn(emitter.aclose(60))
    await asyncio.sleep(world.chance.choice([0.00001, world.chance.uniform(0.0001, 5)]))
    cancelled.cancel()
    begin = world.now
    result = await patient
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    assert world.now - begin <= 0.25
    assert (result.delivered, result.dropped, result.pending) == (0, len(ids), 0)


def test_whoever_closes_beside_a_cancelled_caller_gets_the_answer() -> None:
    simulate(close_twice)
