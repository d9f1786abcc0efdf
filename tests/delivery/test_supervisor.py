"""Supervised work runs until it is stopped, in one loop after the other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from snowplow_aio.delivery.supervisor import LifeCycle, Supervisor, Work
from snowplow_aio.runtime.throttled_log import quiet_logger
from tests.waiting import until

log = quiet_logger("snowplow_aio.delivery")


def supervisor() -> Supervisor:
    return Supervisor("work", log=log, failure="%s: failed and starts again")


class Steps:
    """Work that fails once, ends once and is then cancelled from outside."""

    def __init__(self) -> None:
        self.starts = 0
        self.loop_ends = 0
        self.stops = 0

    def work(self) -> Work:
        return Work(self.run, self.loop_ended, self.stopped)

    async def run(self) -> None:
        self.starts += 1
        await asyncio.sleep(0)
        if self.starts == 1:
            raise ZeroDivisionError
        if self.starts > 2:
            await asyncio.Event().wait()

    def loop_ended(self) -> None:
        self.loop_ends += 1

    def stopped(self) -> None:
        self.stops += 1


@pytest.mark.anyio
async def test_work_starts_again_until_it_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    steps, supervised = Steps(), supervisor()
    states = [supervised.state]
    supervised.run_in(asyncio.get_running_loop(), steps.work())
    states.append(supervised.state)
    await until(lambda: steps.starts == 3)
    assert [record.getMessage() for record in caplog.records] == ["work: failed and starts again"]
    (task,) = [task for task in asyncio.all_tasks() if "Supervisor." in repr(task)]
    task.cancel()
    await asyncio.wait([task])
    states.append(supervised.state)
    await until(lambda: steps.starts == 4)
    assert (supervised.restarts, steps.loop_ends, steps.stops) == (3, 0, 0)
    ending = supervised.stop()
    assert ending is not None
    await asyncio.wait([ending])
    await asyncio.sleep(0)
    states.append(supervised.state)
    assert states == [LifeCycle.IDLE, LifeCycle.RUNNING, LifeCycle.DOWN, LifeCycle.STOPPED]
    assert (supervised.restarts, steps.loop_ends, steps.stops) == (3, 0, 1)


@pytest.mark.anyio
async def test_work_that_runs_is_not_started_twice_and_stopped_work_never() -> None:
    steps, supervised, loop = Steps(), supervisor(), asyncio.get_running_loop()
    steps.starts = 2
    for _ in range(3):
        supervised.run_in(loop, steps.work())
    await asyncio.sleep(0)
    assert steps.starts == 3
    ending = supervised.stop()
    assert ending is not None
    await asyncio.wait([ending])
    assert supervised.stop() is None
    with pytest.raises(AssertionError, match="STOPPED cannot become"):
        supervised.run_in(loop, steps.work())


@pytest.mark.parametrize("turns", [0, 2])
def test_work_is_told_of_the_end_of_its_loop_and_moves_to_the_next_one(turns: int) -> None:
    steps, supervised = Steps(), supervisor()
    steps.starts = 2

    async def main() -> None:
        supervised.run_in(asyncio.get_running_loop(), steps.work())
        for _ in range(turns):
            await asyncio.sleep(0)
        # Nothing runs any more in this turn of the loop, also no first step.
        raise SystemExit

    for ends in (1, 2, 3):
        with pytest.raises(SystemExit):
            asyncio.run(main())
        assert (supervised.state, steps.loop_ends) == (LifeCycle.IDLE, ends)
    assert steps.starts == 2 + (3 if turns else 0)


def test_a_loop_that_ends_without_cancelling_its_tasks_ends_the_work_too() -> None:
    steps, supervised = Steps(), supervisor()
    steps.starts = 2
    loop = asyncio.new_event_loop()

    async def main() -> None:
        supervised.run_in(loop, steps.work())
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert supervised.state is LifeCycle.RUNNING
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert (supervised.state, steps.loop_ends, supervised.restarts) == (LifeCycle.IDLE, 1, 0)


@pytest.mark.anyio
async def test_work_leaves_its_loop_at_the_call_of_another_thread_and_runs_elsewhere() -> None:
    steps, supervised, loop = Steps(), supervisor(), asyncio.get_running_loop()
    steps.starts = 2
    supervised.run_in(loop, steps.work())
    await asyncio.sleep(0)

    async def take() -> None:
        await supervised.leave()
        assert supervised.state is LifeCycle.IDLE
        supervised.run_in(asyncio.get_running_loop(), steps.work())
        await asyncio.sleep(0)
        assert supervised.has_loop
        await supervised.leave()

    await asyncio.to_thread(asyncio.run, take())
    assert (steps.starts, steps.loop_ends, supervised.restarts, supervised.has_loop) == (4, 0, 0, False)
    supervised.stop()


@pytest.mark.anyio
async def test_work_that_fails_again_and_again_has_an_error_until_it_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults: list[Exception] = [ValueError("once"), ValueError("twice"), ValueError("three\ntimes")]
    runs = asyncio.Event()

    async def run() -> None:
        if faults:
            raise faults.pop(0)
        runs.set()
        await asyncio.Event().wait()

    supervised, loop = supervisor(), asyncio.get_running_loop()
    errors: set[str | None] = set()
    supervised.run_in(loop, Work(run))
    while not runs.is_set():
        errors.add(supervised.error(loop.time()))
        await asyncio.sleep(0)
    # One failure may be an accident.
    assert errors == {None, "ValueError: twice", r"ValueError: three\ntimes"}
    assert supervised.error(loop.time() + 60) is None
    # Once a minute.
    assert [record.getMessage() for record in caplog.records] == ["work: failed and starts again"]
    ending = supervised.stop()
    assert ending is not None
    await asyncio.wait([ending])


@pytest.mark.anyio
async def test_a_task_factory_that_fails_does_not_reach_the_caller() -> None:
    steps, supervised, loop = Steps(), supervisor(), asyncio.get_running_loop()
    steps.starts = 2

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no tasks today")

    loop.set_task_factory(fail)
    try:
        supervised.run_in(loop, steps.work())
        await until(lambda: supervised.error(loop.time()) == "RuntimeError: no tasks today")
    finally:
        loop.set_task_factory(None)
    await until(lambda: steps.starts == 3)
    supervised.stop()
