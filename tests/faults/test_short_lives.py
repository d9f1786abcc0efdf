"""Functions that a platform freezes between two calls and ends without a word: what they track arrives."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.collector import Answer, Collector, running_collector
from tests.faults.programs import end_of, line_from, started
from tests.scale import scale

pytestmark = pytest.mark.anyio

# The runtime of a function: a line is a call, and its answer is a line. It is frozen in between.
RUNTIME = """
import asyncio, os, sys
from snowplow_aio import HttpEmitter, StructuredEvent

EVENT = StructuredEvent(category="function", action="call")

{handler}

for line in sys.stdin:
    try:
        answer = handler(line.strip())
    except ZeroDivisionError:
        answer = "raised"
    print(answer, flush=True)
"""

HANDLERS = {
    "sync": """
from snowplow_aio.sync import Tracker
tracker = Tracker(HttpEmitter(sys.argv[1], request_timeout=2, drain_timeout=1), app_id="function")

def handler(call):
    try:
        tracker.track(EVENT, subject=None)
        return 1 // (call != "fail")
    finally:
        result = tracker.flush(timeout=float(sys.argv[2]))
""",
    "async, a loop per call": """
from snowplow_aio import Tracker
tracker = Tracker(HttpEmitter(sys.argv[1], request_timeout=2, drain_timeout=1), app_id="function")

async def handle(call):
    try:
        await tracker.track(EVENT)
        return 1 // (call != "fail")
    finally:
        await tracker.flush(timeout=float(sys.argv[2]))

def handler(call):
    return asyncio.run(handle(call))
""",
    "async, one loop": """
from snowplow_aio import Tracker
tracker = Tracker(HttpEmitter(sys.argv[1], request_timeout=2, drain_timeout=1), app_id="function")
runner = asyncio.Runner()

async def handle(call):
    try:
        await tracker.track(EVENT)
        return 1 // (call != "fail")
    finally:
        await tracker.flush(timeout=float(sys.argv[2]))

def handler(call):
    return runner.run(handle(call))
""",
    "a tracker for each call": """
from snowplow_aio.sync import Tracker

def handler(call):
    with Tracker(HttpEmitter(sys.argv[1], request_timeout=2, drain_timeout=float(sys.argv[2]))) as tracker:
        tracker.track(EVENT)
        return 1 // (call != "fail")
""",
}
CHOSEN = scale(["sync", "async, a loop per call"], list(HANDLERS))
handlers = pytest.mark.parametrize("handler", [HANDLERS[name] for name in CHOSEN], ids=CHOSEN)
# Those that keep their tracker. In a short run they take turns.
KEPT = list(HANDLERS)[:3]


def some(*names: str) -> pytest.MarkDecorator:
    chosen = scale(list(names), KEPT)
    return pytest.mark.parametrize("handler", [HANDLERS[name] for name in chosen], ids=chosen)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


async def call(process: Process, text: str = "call") -> str:
    """Thaw the function, call it, and freeze it as soon as it has answered."""
    ask(process, text)
    return await answer_of(process)


def ask(process: Process, text: str = "call") -> None:
    assert process.stdin is not None
    process.send_signal(signal.SIGCONT)
    process.stdin.write(f"{text}\n".encode())


async def answer_of(process: Process) -> str:
    answer = await line_from(process)
    await freeze(process)
    return answer


async def freeze(process: Process) -> None:
    process.send_signal(signal.SIGSTOP)
    await asyncio.to_thread(_wait_until_stopped, process.pid)


def _wait_until_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "Tt":
        os.sched_yield()


@handlers
async def test_what_a_call_tracks_has_arrived_when_it_answers(handler: str, collector: Collector) -> None:
    async with started(RUNTIME.format(handler=handler), collector.url, "30", stdin=PIPE) as process:
        for number in range(1, scale(6, 100)):
            assert await call(process) == "1"
            assert collector.accepted.total() == number
            # While it is frozen, whoever is in between forgets its connection.
            if number % 2:
                collector.disconnect()
        assert await call(process, "fail") == "raised"
        # Platforms kill what they no longer need.
        process.kill()
        assert (await end_of(process)).said == ""
    assert (collector.accepted.total(), collector.duplicates) == (scale(6, 100), 0)


@some("sync")
async def test_a_call_answers_in_time_and_the_next_ones_deliver_what_it_left(
    handler: str, collector: Collector
) -> None:
    async with started(RUNTIME.format(handler=handler), collector.url, "0.3", stdin=PIPE) as process:
        collector.rule = lambda _request: Answer(503)
        assert [await call(process) for _ in range(3)] == ["1"] * 3
        assert collector.accepted.total() == 0
        collector.rule = lambda _request: Answer(200)
        for _ in range(50):
            assert await call(process) == "1"
            if collector.accepted.total() == len(collector.accepted) >= 4:
                break
        process.kill()
        await end_of(process)
    assert len(collector.accepted) >= 4


@some("async, a loop per call")
async def test_a_freeze_in_the_midst_of_a_request_loses_nothing(handler: str, collector: Collector) -> None:
    async with started(RUNTIME.format(handler=handler), collector.url, "0.05", stdin=PIPE) as process:
        # The connection goes while nobody looks.
        collector.answer_next(Answer(503, delay=0.2, reset=True))
        assert await call(process) == "1"
        for _ in range(50):
            assert await call(process) == "1"
            if len(collector.accepted) >= 2:
                break
        process.kill()
        await end_of(process)
    assert len(collector.accepted) >= 2


def _open_in(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not tell what is open")
@some("async, one loop")
async def test_many_freezes_leave_nothing_behind(handler: str, collector: Collector) -> None:
    async with started(RUNTIME.format(handler=handler), collector.url, "30", stdin=PIPE) as process:
        counts = []
        for number in range(scale(12, 300)):
            await call(process)
            collector.disconnect()
            if number in {5, scale(11, 299)}:
                counts.append(_open_in(process.pid))
        process.kill()
        await end_of(process)
    assert counts[1] <= counts[0] + 1


@some("sync")
async def test_a_connection_that_died_without_a_word_costs_an_attempt_and_no_event(
    handler: str, collector: Collector
) -> None:
    async with started(RUNTIME.format(handler=handler), collector.url, "30", stdin=PIPE) as process:
        assert await call(process) == "1"
        # As behind a gateway that has forgotten it: only new connections get an answer.
        collector.fate = lambda number: Answer(hangs=True) if number > 1 else None
        assert await call(process) == "1"
        process.kill()
        await end_of(process)
    assert (collector.accepted.total(), collector.duplicates) == (2, 0)


@some("sync")
async def test_a_call_does_not_wait_for_the_end_of_a_pause_that_an_earlier_one_began(
    handler: str, collector: Collector
) -> None:
    async with started(RUNTIME.format(handler=handler), collector.url, "0.3", stdin=PIPE) as process:
        collector.answer_next(Answer(503, headers={"Retry-After": "3600"}))
        # The rest finds a collector that is well, and may find a busy machine.
        assert [await call(process) for _ in range(10)] == ["1"] * 10
        process.kill()
        await end_of(process)
    assert len(collector.accepted) >= 9


@some("async, one loop")
async def test_a_function_that_is_frozen_in_the_midst_of_its_flush_goes_on(
    handler: str, collector: Collector
) -> None:
    async with started(RUNTIME.format(handler=handler), collector.url, "0.3", stdin=PIPE) as process:
        collector.answer_next(Answer(hangs=True))
        ask(process)
        await collector.requested(1)
        await freeze(process)
        # Longer than the flush may take; in a full run than the request, too.
        await asyncio.sleep(scale(0.4, 3))
        collector.disconnect()
        process.send_signal(signal.SIGCONT)
        assert await answer_of(process) == "1"
        assert [await call(process) for _ in range(5)] == ["1"] * 5
        process.kill()
        await end_of(process)
    assert len(collector.accepted) >= 5


@some("sync", "async, one loop")
async def test_an_instance_that_is_asked_to_end_sends_what_its_calls_left(
    handler: str, collector: Collector
) -> None:
    ends_in_order = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    program = ends_in_order + RUNTIME.format(handler=handler.replace("drain_timeout=1", "drain_timeout=30"))
    async with started(program, collector.url, "0.05", stdin=PIPE) as process:
        collector.rule = lambda _request: Answer(503)
        assert [await call(process) for _ in range(3)] == ["1"] * 3
        collector.rule = lambda _request: Answer(200)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        ended = await end_of(process)
    assert (ended.code, collector.accepted.total(), collector.duplicates) == (143, 3, 0)
