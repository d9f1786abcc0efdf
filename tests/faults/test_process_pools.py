"""Pools of processes: the events of a task that has flushed arrive, however the pool ends its processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.collector import Collector, running_collector
from tests.faults.programs import end_of, started
from tests.scale import scale

pytestmark = pytest.mark.anyio

# A process that is spawned imports the program as a file, which is why the task is in this module.
PROGRAM = """
import concurrent.futures, multiprocessing, sys
from tests.faults import process_pool_task as task

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    calls = [(sys.argv[2], sys.argv[3])] * 4
    if sys.argv[4] == "made before the pool":
        # Its thread and its connection are there when the pool begins.
        task.work(sys.argv[2], "flushes")
    {pool}
"""

TERMINATED = """
    with context.Pool(2) as pool:
        pool.starmap(task.work, calls)
"""
POOLS = {
    "a pool that is joined": """
    pool = context.Pool(2)
    pool.starmap(task.work, calls)
    pool.close()
    pool.join()
""",
    "processes": """
    processes = [context.Process(target=task.work, args=call) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
""",
    "an executor": """
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        for future in [executor.submit(task.work, *call) for call in calls]:
            future.result()
""",
}
starts = pytest.mark.parametrize("start", scale(["fork"], ["fork", "spawn", "forkserver"]))
trackers = pytest.mark.parametrize(
    "tracker", scale(["made before the pool"], ["made before the pool", "made by the task"])
)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


async def see_all_arrive(pool: str, start: str, collector: Collector, ending: str, tracker: str) -> None:
    """Have *pool* run four tasks, each of which tracks an event, and see all of them arrive once."""
    # Newer Pythons warn of a fork beside threads: here the one that delivers for the parent.
    ignored = "ignore::DeprecationWarning"
    program = PROGRAM.format(pool=pool.strip())
    async with started(program, start, collector.url, ending, tracker, warnings=ignored) as process:
        ended = await end_of(process)
    assert (ended.code, ended.said) == (0, "")
    tracked = 4 + (tracker == "made before the pool")
    assert (collector.accepted.total(), collector.duplicates) == (tracked, 0)


@starts
@trackers
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
async def test_processes_that_end_in_order_send_their_last_events(
    pool: str, start: str, tracker: str, collector: Collector
) -> None:
    await see_all_arrive(pool, start, collector, "goes on", tracker)


@starts
@trackers
async def test_tasks_that_flush_lose_nothing_to_a_pool_that_terminates_its_processes(
    start: str, tracker: str, collector: Collector
) -> None:
    await see_all_arrive(TERMINATED, start, collector, "flushes", tracker)
