"""Supervised work runs until it is stopped, in one loop after the other."""

from __future__ import annotations

import asyncio

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
        self.lasts: list[bool] = []
        self.stops = 0

    def work(self) -> Work:
        return Work(self.run, self.last, self.stopped)

    async def run(self) -> None:
        self.starts += 1
        await asyncio.sleep(0)
        if self.starts == 1:
            raise ZeroDivisionError
        if self.starts > 2:
            await asyncio.Event().wait()

    async def last(self, *, loop_ends: bool) -> None:
        self.lasts.append(loop_ends)

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
    assert (supervised.restarts, steps.lasts, steps.stops) == (3, [False], 0)
    ending = supervised.stop()
    assert ending is not None
    await asyncio.wait([ending])
    await asyncio.sleep(0)
    states.append(supervised.state)
    assert states == [LifeCycle.IDLE, LifeCycle.RUNNING, LifeCycle.DOWN, LifeCycle.STOPPED]
    assert (supervised.restarts, steps.lasts, steps.stops) == (3, [False], 1)


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


def test_work_moves_to_the_next_loop_and_its_last_work_is_done_at_the_end_of_each() -> None:
    steps, supervised = Steps(), supervisor()
    steps.starts = 2

    async def main(turns: int) -> None:
        supervised.run_in(asyncio.get_running_loop(), steps.work())
        for _ in range(turns):
            await asyncio.sleep(0)
        # Nothing runs any more in this turn of the loop, also no first step.
        raise SystemExit

    for turns in (0, 2, 0):
        with pytest.raises(SystemExit):
            asyncio.run(main(turns))
        assert supervised.state is LifeCycle.DOWN
    assert steps.lasts == [True, False, True]
    assert steps.starts == 3
