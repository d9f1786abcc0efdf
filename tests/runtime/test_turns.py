"""However many tasks track without a pause, the loop comes to everything else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from snowplow_aio import MemoryStore, PageView, Tracker
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
        self._counts = counts
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        before = sum(self._counts)
        while True:
            await asyncio.sleep(0)
            now = sum(self._counts)
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


async def track_on(tracker: Tracker, counts: list[int], number: int) -> None:
    while True:
        await tracker.track(PAGE)
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
