"""However many tasks track without a pause, the loop comes to everything else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from snowplow_aio import MemoryStore, PageView, SelfDescribingJson, Tracker
from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.model.payload import Payload
from snowplow_aio.policies import Batching

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
TASKS = 100


class Sink(Transport):
    """Takes everything."""

    async def send(self, payloads: Sequence[Payload]) -> Response:
        return Response(status=200)


def new_tracker(name: str = "sink") -> Tracker:
    return Tracker(BufferedEmitter(Sink(), batching=Batching(), name=name, store=MemoryStore()))


class Turns:
    """
    Counts the events of each turn of the loop.

    Args:
        counts: How many events each task has tracked.
    """

    def __init__(self, counts: list[int]) -> None:
        self.largest = 0
        self.number = 0
        self._counts = counts
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        before = sum(self._counts)
        while True:
            await asyncio.sleep(0)
            now = sum(self._counts)
            self.number += 1
            self.largest, before = max(self.largest, now - before), now

    async def end(self) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop run on until *condition* holds."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def track_on(
    tracker: Tracker, counts: list[int], number: int, event: PageView | SelfDescribingJson = PAGE
) -> None:
    while True:
        await tracker.track(event)
        counts[number] += 1


@pytest.mark.parametrize("trackers", [1, TASKS])
async def test_tasks_that_track_without_a_pause_share_the_turns_of_the_loop(trackers: int) -> None:
    """With one tracker for all, and with one for each."""
    counts = [0] * TASKS
    made = [new_tracker(f"sink {number}") for number in range(trackers)]
    turns = Turns(counts)
    tasks = [
        asyncio.create_task(track_on(made[number % trackers], counts, number)) for number in range(TASKS)
    ]
    await turns_until(lambda: min(counts) >= 200)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await turns.end()
    # The first turn is the longest: of one task until its time is over, and of each other one at least once.
    assert turns.largest < 2_000
    assert max(counts) <= 10 * min(counts)
    for tracker in made:
        await tracker.aclose()
    assert sum(stats.accepted for tracker in made for stats in tracker.stats().values()) >= sum(counts)


async def turns_by_a_clock_of_events(
    monkeypatch: pytest.MonkeyPatch, tasks: int, seconds: float, event: PageView | SelfDescribingJson
) -> Turns:
    """Return the turns in which each of *tasks* has tracked 200 times; an event takes *seconds*."""
    counts, loop = [0] * tasks, asyncio.get_running_loop()
    tracker, began = new_tracker(), loop.time()
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: began + sum(counts) * seconds)
        turns = Turns(counts)
        tracking = [asyncio.create_task(track_on(tracker, counts, n, event)) for n in range(tasks)]
        await turns_until(lambda: min(counts) >= 200)
        for task in tracking:
            task.cancel()
        await asyncio.wait(tracking)
        await turns.end()
    await tracker.aclose()
    return turns


async def test_a_turn_of_many_tasks_is_as_long_as_one_of_a_single_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each that goes on does much before it rests: short turns would cost, and send small batches."""
    turns = await turns_by_a_clock_of_events(monkeypatch, TASKS, 0.000_01, PAGE)
    assert turns.number < 200 * TASKS / 50


async def test_a_turn_of_large_events_has_fewer_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    event = SelfDescribingJson("iglu:com.acme/large/jsonschema/1-0-0", {"text": "x" * 100_000})
    turns = await turns_by_a_clock_of_events(monkeypatch, 1, 0.001, event)
    assert turns.largest <= 4


async def test_a_task_that_is_cancelled_while_it_rests_keeps_no_other_from_going_on() -> None:
    async with new_tracker() as tracker:
        counts = [0] * TASKS
        tasks = [asyncio.create_task(track_on(tracker, counts, number)) for number in range(TASKS)]
        await asyncio.sleep(0)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.wait(tasks[1:])
        seen = counts[0]
        await turns_until(lambda: counts[0] >= seen + 1_000)
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])


async def test_the_tasks_of_two_loops_rest_each_in_their_own() -> None:
    counts = [0] * TASKS
    is_over = threading.Event()
    async with new_tracker() as tracker:
        await tracker.track(PAGE)

        async def elsewhere() -> None:
            tasks = [asyncio.create_task(track_on(tracker, counts, n)) for n in range(0, TASKS, 2)]
            await turns_until(is_over.is_set)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
        thread.start()
        tasks = [asyncio.create_task(track_on(tracker, counts, n)) for n in range(1, TASKS, 2)]
        await turns_until(lambda: min(counts) >= 20)
        is_over.set()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.to_thread(thread.join)


def test_a_loop_that_stops_while_tasks_rest_goes_on_with_them_when_it_runs_again() -> None:
    tracker, counts = new_tracker(), [0] * TASKS

    async def begin() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(track_on(tracker, counts, number)) for number in range(TASKS)]
        await asyncio.sleep(0)
        return tasks

    async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
        await turns_until(lambda: min(counts) >= 5)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await tracker.aclose()

    with asyncio.Runner() as runner:
        runner.run(end(runner.run(begin())))
