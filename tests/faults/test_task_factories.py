"""Programs that end at once, under the task factories of instrumentation: what they have tracked is sent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from tests.collector import Answer, Collector, running_collector
from tests.faults.programs import Ended, end_of, patient, started
from tests.faults.test_exit import said_of_loss
from tests.scale import scale

pytestmark = pytest.mark.anyio

PROGRAM = """
import asyncio, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

url, kind, *endings = sys.argv[1:]
PAGE = PageView(page_url="https://shop.example/")

def wrapping(loop, coroutine, **options):
    async def traced():
        return await coroutine
    return asyncio.Task(traced(), loop=loop, **options)

def without_context(loop, coroutine):
    return asyncio.Task(coroutine, loop=loop)

kinds = {"none": None, "wrapping": wrapping, "without context": without_context}
kinds["eager"] = getattr(asyncio, "eager_task_factory", None)

async def main(ending):
    asyncio.get_running_loop().set_task_factory(kinds[kind])
    tracker = Tracker(HttpEmitter(url))
    for _ in range(5):
        await tracker.track(PAGE)
    if ending == "exits":
        sys.exit()
    if ending == "exits later":
        await asyncio.sleep(0)
        sys.exit()
    if ending == "is cancelled":
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
    if ending == "closes":
        await tracker.aclose()

for ending in endings:
    try:
        asyncio.run(main(ending))
    except asyncio.CancelledError:
        pass
    except SystemExit:
        # The last one ends the process.
        if ending is endings[-1]:
            raise
"""

ENDINGS = ["returns", "exits", "exits later", "is cancelled", "closes"]
# Without a factory, the programs of test_exit.py end in most of these ways.
KINDS = [
    *scale([], ["none"]),
    "wrapping",
    "without context",
    *(["eager"] if sys.version_info >= (3, 12) else []),
]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


async def run(program: str, url: str, kind: str, endings: list[str]) -> list[Ended]:
    """
    Run *program* with all *endings*; return how each process ended.

    In a short run, one process has a loop for each of them. In the full one, each ends a process of its own.
    """

    async def run_one(*endings: str) -> Ended:
        async with started(program, url, kind, *endings, warnings="always") as process:
            return await end_of(process)

    runs: list[list[str]] = scale([endings], [[ending] for ending in endings])
    ended = await asyncio.gather(*(run_one(*together) for together in runs))
    assert [run.code for run in ended] == [0] * len(runs)
    return ended


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_tracked_is_delivered_however_the_program_ends(
    collector: Collector, kind: str
) -> None:
    ended = await run(patient(PROGRAM), collector.url, kind, ENDINGS)
    assert {run.said for run in ended} == {""}
    assert (len(collector.accepted), collector.accepted.total()) == (25, 25)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_cannot_be_delivered_is_said(collector: Collector, kind: str) -> None:
    collector.rule = lambda _request: Answer(404)
    endings = [ending for ending in ENDINGS if ending != "closes"]
    ended = await run(PROGRAM, collector.url, kind, endings)
    # A process says it once, for all its trackers.
    assert [said_of_loss(run) for run in ended] == scale([["20"]], [["5"]] * len(endings))
