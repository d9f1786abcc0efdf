"""Where each call has a loop of its own, no call waits for the collector, and every event arrives."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.collector import Answer, Collector
from tests.faults.programs import GENEROUS_SECONDS, Ended, end_of, line_from, started
from tests.neighbours.loops import LOOPS
from tests.neighbours.neighbour import answers, each
from tests.waiting import until

pytestmark = pytest.mark.anyio

with_each = pytest.mark.parametrize("name", each(LOOPS))

CALLS = 50


class Program:
    """The program of a neighbour, while it runs."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def do(self, order: str) -> None:
        """Have it done, and wait until it is."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n".encode())
        await self._process.stdin.drain()
        said = await line_from(self._process)
        assert said == "done", (await end_of(self._process)).said

    async def end(self) -> Ended:
        """Let it end, and wait until it has."""
        assert self._process.stdin is not None
        # Python 3.11 leaves it open.
        self._process.stdin.close()
        return await end_of(self._process)


@asynccontextmanager
async def running(name: str, url: str, *, closed: bool = True) -> AsyncGenerator[Program]:
    """Run the program of the neighbour *name*."""
    arguments = (url, "closed" if closed else "left")
    async with started(LOOPS[name].program, *arguments, warnings="error", stdin=PIPE) as process:
        yield Program(process)


@answers("arrives", "closes")
@with_each
async def test_each_event_arrives_once_while_calls_go_on(collector: Collector, name: str) -> None:
    async with running(name, collector.url) as program:
        await program.do(f"call {CALLS}")
        await program.do(f"call {CALLS} in {LOOPS[name].threads}")
        ended = await program.end()
    assert (ended.code, ended.said) == (0, "")
    assert (len(collector.accepted), collector.accepted.total()) == (2 * CALLS, 2 * CALLS)


@answers("own")
@with_each
async def test_no_call_waits_for_a_collector_that_hangs(collector: Collector, name: str) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    async with running(name, collector.url) as program:
        # More calls than there would be time for, if each of them waited for an answer.
        async with asyncio.timeout(GENEROUS_SECONDS):
            await program.do(f"call {CALLS}")
            await program.do(f"call {CALLS} in {LOOPS[name].threads}")
        assert collector.acknowledged == 0
        collector.rule = lambda _request: Answer()
        collector.disconnect()
        # The calls are over: no loop of theirs is left to deliver.
        await until(lambda: len(collector.accepted) == 2 * CALLS)
        ended = await program.end()
    assert ended.code == 0, ended.said


@answers("arrives")
@with_each
async def test_what_calls_have_tracked_is_sent_when_the_program_just_ends(
    collector: Collector, name: str
) -> None:
    async with running(name, collector.url, closed=False) as program:
        await program.do("call 7")
        ended = await program.end()
    assert ended.code == 0, ended.said
    assert len(collector.accepted) == 7
