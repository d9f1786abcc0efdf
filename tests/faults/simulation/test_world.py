"""The simulations are what they say: the same seed gives the same run, and a failure can be played again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.simulation import world as worlds
from tests.faults.simulation.test_loss import ROUGH, track_in_bursts
from tests.faults.simulation.world import PAGE, World, play, simulate
from tests.scale import scale

# Tasks and objects lie elsewhere in the memory of another process.
ELSEWHERE = "from tests.faults.simulation.test_world import *; print(play(live_and_digest, 7))"


async def live_and_digest(world: World) -> str:
    """Do what draws on chance and time: faults, repeats, ids, timestamps, a partition, cancelled tasks."""
    world.collector.fail(ROUGH)
    async with world.tracker(max_batch=20, drain_timeout=3600) as tracker:
        await track_in_bursts(world, tracker, 500)
        async with world.partition():
            await tracker.flush(1)
            for task in world.inner_tasks():
                task.cancel()
        await tracker.flush(1)
    return world.digest()


def test_the_same_seed_gives_the_same_run_step_by_step_and_byte_by_byte() -> None:
    seeds = range(scale(4, 200))
    first = [play(live_and_digest, seed) for seed in seeds]
    assert [play(live_and_digest, seed) for seed in seeds] == first
    assert len(set(first)) == len(first)


def test_the_same_seed_gives_the_same_run_in_another_process() -> None:
    env = {**os.environ, "PYTHONHASHSEED": "1"}
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], env=env, cwd=root, capture_output=True, check=True
    )
    assert run.stdout.decode().strip() == play(live_and_digest, 7)


async def fail_at_three(world: World) -> int:
    assert world.seed != 3, "what went wrong"
    return world.seed


def test_a_failure_names_its_seed_and_the_command_that_plays_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worlds, "REPLAYED", None)
    with pytest.raises(AssertionError, match="what went wrong") as failure:
        simulate(fail_at_three)
    (note,) = failure.value.__notes__
    assert "seed 3; again: SNOWPLOW_SEED=3 python -m pytest" in note
    assert "test_world.py::test_a_failure_names_its_seed" in note


def test_the_seed_of_the_environment_is_played_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "REPLAYED", "123")
    assert simulate(fail_at_three) == [123]


async def lose_an_event(world: World) -> None:
    """Take an event out of the store behind the back of the books."""
    tracker = world.tracker()
    await tracker.track(PAGE)
    await tracker.track(PAGE)
    world._emitters[0]._store.withdraw()
    await tracker.aclose()


def test_an_event_that_vanishes_is_noticed_at_once() -> None:
    with pytest.raises(AssertionError, match="accepted events are missing"):
        play(lose_an_event, 0)


async def leave_it_open(world: World) -> None:
    await world.tracker().track(PAGE)


def test_a_scenario_that_leaves_a_task_behind_fails() -> None:
    with pytest.raises(AssertionError):
        play(leave_it_open, 0)


async def hang(world: World) -> None:
    await world.loop.create_future()


def test_a_scenario_that_hangs_fails() -> None:
    with pytest.raises(TimeoutError):
        play(hang, 0)
