"""Programs that end without closing their tracker: they drain a little, say once what is lost, and end."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from tests.collector import Answer, Collector, Request, running_collector
from tests.faults.programs import Ended, end_of, line_from, output_of, patient, started
from tests.scale import scale

pytestmark = pytest.mark.anyio

DEAD = "http://127.0.0.1:9"

# How long a program may take to end, once it is told to: the drain lasts a second.
SECONDS_TO_END = 30

BOT = """
import asyncio, logging, signal, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

url, ending, logs, kept, count = sys.argv[1:]
PAGE = PageView(page_url="https://shop.example/")
if logs == "logged":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
# A shell that runs us in the background has made us deaf to interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
trackers = []

async def say_when_the_loop_ends():
    try:
        await asyncio.Event().wait()
    finally:
        print("ending", flush=True)

async def main():
    # It says when the second interrupt may come. In the turn that ends `main`, one breaks `asyncio.run`.
    witness = asyncio.create_task(say_when_the_loop_ends())
    tracker = Tracker(HttpEmitter(url))
    if kept == "global":
        trackers.append(tracker)
    for _ in range(int(count)):
        await tracker.track(PAGE)
    print("ready", flush=True)
    if ending == "exits":
        sys.exit(3)
    if ending == "raises":
        raise ZeroDivisionError
    if ending == "is cancelled":
        asyncio.current_task().cancel()
    if ending != "returns":
        await asyncio.Event().wait()

asyncio.run(main())
"""

CODES = {"returns": 0, "exits": 3, "raises": 1, "is cancelled": 1, "is interrupted": -signal.SIGINT}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


async def run_bot(
    url: str,
    ending: str,
    *,
    logs: str = "not logged",
    kept: str = "global",
    count: int = 7,
    interrupts: int = 1,
    program: str = BOT,
) -> Ended:
    """Run the bot until it ends in that way, and check that it does not take long."""
    async with started(program, url, ending, logs, kept, str(count)) as process:
        assert await line_from(process) == "ready"
        began = time.monotonic()
        if ending == "is interrupted":
            process.send_signal(signal.SIGINT)
            for _ in range(interrupts - 1):
                assert await line_from(process) == "ending"
                process.send_signal(signal.SIGINT)
        ended = await end_of(process)
    assert time.monotonic() - began < SECONDS_TO_END
    assert ended.code == CODES[ending]
    return ended


async def run_bots(
    url: str, endings: Iterable[str], *, logs: str, kept: str = "global", program: str = BOT
) -> dict[str, Ended]:
    """Run a bot for each of the *endings*, all at once: mostly they wait."""
    async with asyncio.TaskGroup() as group:
        bots = {
            ending: group.create_task(run_bot(url, ending, logs=logs, kept=kept, program=program))
            for ending in endings
        }
    return {ending: bot.result() for ending, bot in bots.items()}


def answering(fault: str) -> Callable[[Request], Answer]:
    """Return the rule of a collector that has *fault*: a status, or ``hangs``."""
    return lambda _request: Answer(int(fault) if fault.isdigit() else 200, hangs=fault == "hangs")


def said_of_loss(ended: Ended) -> list[str]:
    """Return the numbers of events that messages call lost, one for each message."""
    return re.findall(r"(\d+) events? undelivered", ended.said)


@pytest.mark.parametrize(
    ("kept", "endings"),
    [("global", [*CODES]), ("local", scale(["returns"], [*CODES]))],
    ids=["global", "local"],
)
async def test_what_can_be_delivered_is_delivered_however_a_program_ends(
    collector: Collector, kept: str, endings: list[str]
) -> None:
    bots = await run_bots(collector.url, endings, logs="logged", kept=kept, program=patient(BOT))
    tracked = 7 * len(endings)
    assert (len(collector.accepted), collector.accepted.total()) == (tracked, tracked)
    for ended in bots.values():
        assert "snowplow" not in ended.said
        assert "Unclosed" not in ended.said
    assert bots["returns"].said == ""


# Each way to fail, with logging set up or not.
FAULTS_AND_LOGS = [*itertools.product(["503", "404", "hangs", "refused"], ["not logged", "logged"])]

# A short run has each fault and each way to end at least once; the full one has all of them together.
MEETINGS = scale(
    [
        ("503", "not logged", ["returns", "is interrupted"]),
        ("404", "logged", ["exits", "is cancelled"]),
        ("hangs", "not logged", ["raises"]),
        ("refused", "logged", ["is interrupted"]),
    ],
    [(fault, logs, [*CODES]) for fault, logs in FAULTS_AND_LOGS],
)


@pytest.mark.parametrize(
    ("fault", "logs", "endings"), MEETINGS, ids=[f"{fault}-{logs}" for fault, logs, _ in MEETINGS]
)
async def test_what_cannot_be_delivered_is_said_once_with_its_number(
    collector: Collector, fault: str, logs: str, endings: list[str]
) -> None:
    collector.rule = answering(fault)
    bots = await run_bots(DEAD if fault == "refused" else collector.url, endings, logs=logs)
    assert [said_of_loss(ended) for ended in bots.values()] == [["7"]] * len(endings)
    for ended in bots.values():
        (line,) = [line for line in ended.said.splitlines() if "7 events undelivered" in line]
        assert line.startswith("WARNING snowplow_aio") if logs == "logged" else "RuntimeWarning" in line
        assert "Unclosed" not in ended.said


async def test_a_tracker_that_only_its_program_knew_is_spoken_of_once_too(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    ended = await run_bot(collector.url, "returns", kept="local")
    assert said_of_loss(ended) == ["7"]


async def test_only_what_is_left_is_said(collector: Collector) -> None:
    """Only what travels with the first event is taken, also when it comes again."""
    first: set[str] = set()

    def take_the_first(request: Request) -> Answer:
        ids = {event["eid"] for event in request.events}
        first.update([] if first else [request.events[0]["eid"]])
        return Answer(200 if first & ids else 503)

    collector.rule = take_the_first
    ended = await run_bot(collector.url, "is interrupted", count=1_000)
    (left,) = said_of_loss(ended)
    assert int(left) + len(collector.accepted) == 1_000
    assert 0 < int(left) < 1_000


# In a short run, a program that waits for its next attempt, and one that waits for an answer.
@pytest.mark.parametrize(
    ("fault", "logs"), scale([("503", "logged"), ("hangs", "not logged")], FAULTS_AND_LOGS)
)
async def test_whoever_interrupts_twice_waits_for_nothing_and_is_told_the_number(
    collector: Collector, fault: str, logs: str
) -> None:
    collector.rule = answering(fault)
    url = DEAD if fault == "refused" else collector.url
    ended = await run_bot(url, "is interrupted", logs=logs, interrupts=2)
    assert said_of_loss(ended) == ["7"]


QUIET = """
import asyncio, logging, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

if sys.argv[2] == "logged":
    logging.basicConfig(level=logging.WARNING)
tracker = Tracker(HttpEmitter(sys.argv[1]))

async def main():
    for _ in range(1000):
        await tracker.track(PageView(page_url="https://shop.example/"))
    print((await tracker.flush()).delivered)

asyncio.run(main())
"""


@pytest.mark.parametrize("logs", ["not logged", *scale([], ["logged"])])
async def test_a_program_that_has_delivered_everything_says_nothing(collector: Collector, logs: str) -> None:
    # Every warning is an error in it, also one of an unclosed session.
    assert await output_of(QUIET, collector.url, logs) == ["1000"]


NO_LOOP = """
import sys
from snowplow_aio import HttpEmitter, PageView, Tracker

tracker = Tracker(HttpEmitter(sys.argv[1]))
for _ in range(7):
    tracker.track_nowait(PageView(page_url="https://shop.example/"))
if sys.argv[2] == "dropped":
    del tracker
"""


@pytest.mark.parametrize("kept", ["kept", "dropped"])
async def test_a_program_without_a_loop_is_told_what_it_has_lost(kept: str) -> None:
    async with started(NO_LOOP, DEAD, kept, warnings="always") as process:
        ended = await end_of(process)
    assert (ended.code, said_of_loss(ended)) == (0, ["7"])
    assert ("ResourceWarning" if kept == "dropped" else "RuntimeWarning") in ended.said


DROPPED = """
import asyncio, gc, logging, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

url, count, flush_interval = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) or None

async def forget():
    tracker = Tracker(HttpEmitter(url, flush_interval=flush_interval))
    for _ in range(count):
        await tracker.track(PageView(page_url="https://shop.example/"))
    if sys.argv[4] == "flushed":
        await tracker.flush()

async def main():
    await forget()
    for _ in range(3):
        await asyncio.sleep(0.01)
        gc.collect()
    print("still running", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("flush_interval", ["1", "0"], ids=["timer", "no timer"])
async def test_a_tracker_that_is_dropped_while_the_loop_runs_says_its_loss_once(flush_interval: str) -> None:
    async with started(DROPPED, DEAD, "7", flush_interval, "left", warnings="always") as process:
        ended = await end_of(process)
    assert (ended.code, ended.printed, said_of_loss(ended)) == (0, ["still running"], ["7"])
    assert "Task was destroyed" not in ended.said


@pytest.mark.parametrize("flush_interval", ["1", *scale([], ["0"])])
async def test_a_tracker_that_is_dropped_with_nothing_left_says_nothing_of_its_own(
    collector: Collector, flush_interval: str
) -> None:
    async with started(DROPPED, collector.url, "7", flush_interval, "flushed") as process:
        ended = await end_of(process)
    assert (ended.code, said_of_loss(ended), collector.accepted.total()) == (0, [], 7)
    assert "Task was destroyed" not in ended.said
