"""A process that forks: each side delivers its own events, and only those."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.collector import Answer, Collector, Request, running_collector
from tests.faults.conftest import lasting
from tests.faults.programs import end_of, loops, patient, started
from tests.scale import scale

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]

FORKS = scale(4, 100)
# Children that are forked at once, and how often.
CHILDREN, ROUNDS = scale((4, 1), (10, 10))

# What is tracked says who did: "parent", or "child 7".
COMMON = """
import asyncio, json, os, subprocess, sys, multiprocessing, warnings
from snowplow_aio import HttpEmitter, PageView, Retry, Tracker

# Python 3.12 warns of a fork in a process with threads; that is what is tested.
warnings.simplefilter("ignore", DeprecationWarning)
url, how, loop, forks = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
if loop == "uvloop":
    import uvloop
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

tracker = Tracker(HttpEmitter(url, flush_interval=None, retry=Retry(initial_delay=0.01)))

async def track(who, count):
    for i in range(count):
        await tracker.track(PageView(page_url=f"https://shop.example/{who}/{i}"))

async def be_a_child(number):
    await track(f"child {number}", 3)
    result = await tracker.aclose(30)
    stats = tracker.stats()["http"]
    assert (result.delivered, stats.accepted, stats.delivered) == (3, 3, 3), stats

def child(number):
    asyncio.run(be_a_child(number))

def fork(number):
    # Gives back what waits for the child and says how it ended.
    if how == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=child, args=(number,))
        process.start()
        return lambda: process.join() or process.exitcode
    if pid := os.fork():
        return lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        child(number)
        code = 0
    finally:
        os._exit(code)
"""

FORK_IN_LOOP = (
    COMMON
    + """
async def main():
    ends = []
    await track("parent", 3)
    await tracker.flush()
    for number in range(forks):
        # Some wait, some may be on their way.
        await track("parent", 3)
        if number % 2:
            await tracker.flush(wait=False)
            await asyncio.sleep(0)
        if loop == "uvloop":
            # It runs the hooks of a fork for these too.
            await (await asyncio.create_subprocess_exec("true")).wait()
            subprocess.run(["true"], check=True)
        ends.append(await asyncio.to_thread(fork(number)))
    await tracker.aclose(30)
    stats = tracker.stats()["http"]
    print(json.dumps([ends, stats.accepted, stats.delivered, stats.restarts]))

asyncio.run(main())
"""
)

FORK_BEFORE_LOOP = (
    COMMON
    + """
for i in range(3):
    tracker.track_nowait(PageView(page_url=f"https://shop.example/parent/before/{i}"))
# All children at once, as a server starts its workers.
waits = [fork(number) for number in range(forks)]
ends = [wait() for wait in waits]
asyncio.run(track("parent", 3 * forks))
asyncio.run(tracker.aclose(30))
stats = tracker.stats()["http"]
print(json.dumps([ends, stats.accepted, stats.delivered, 0]))
"""
)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


def senders(collector: Collector) -> Counter[str]:
    """Return how many different events of each process have come."""
    urls = {event["eid"]: event["url"] for request in collector.requests for event in request.events}
    assert set(urls) == set(collector.accepted)
    return Counter(url.split("/")[3].replace("%20", " ") for url in urls.values())


async def fork_and_count(collector: Collector, program: str, how: str, loop: str, forks: int) -> None:
    async with started(program, collector.url, how, loop, str(forks), warnings="error") as process:
        ended = await end_of(process)
    assert (ended.code, ended.said) == (0, "")
    ends, accepted, delivered, restarts = json.loads(ended.printed[-1])
    assert ends == [0] * forks
    assert (accepted, delivered, restarts) == (3 + 3 * forks, 3 + 3 * forks, 0)
    # Each event once: the parent's from the parent only, each child's own.
    assert senders(collector) == {"parent": 3 + 3 * forks, **{f"child {i}": 3 for i in range(forks)}}
    assert collector.accepted.total() == len(collector.accepted)


HOW = ["fork", "multiprocessing"]
# In a short run, one way for each of the other loops.
HOW_AND_LOOPS = [*((how, "asyncio") for how in HOW), *itertools.product(scale(["fork"], HOW), loops()[1:])]


@lasting(180)
@pytest.mark.parametrize(("how", "loop"), HOW_AND_LOOPS)
async def test_a_fork_with_events_pending_sends_each_event_once(
    collector: Collector, how: str, loop: str
) -> None:
    await fork_and_count(collector, FORK_IN_LOOP, how, loop, FORKS)


@lasting(180)
@pytest.mark.parametrize("how", scale(["fork"], HOW))
async def test_workers_forked_from_a_program_that_has_tracked_send_only_their_own(
    collector: Collector, how: str
) -> None:
    for _ in range(ROUNDS):
        collector.requests.clear()
        collector.accepted.clear()
        await fork_and_count(collector, FORK_BEFORE_LOOP, how, "asyncio", CHILDREN)


async def test_a_fork_while_a_request_hangs_leaves_that_request_to_the_parent(collector: Collector) -> None:
    """The parent's request is answered only after the child has delivered its own."""

    def rule(request: Request) -> Answer:
        is_parents = "parent" in request.events[0]["url"]
        return Answer(hangs=is_parents and len(collector.requests) < 2)

    collector.rule = rule
    program = FORK_IN_LOOP.replace("flush_interval=None", "flush_interval=None, request_timeout=2")
    program = program.replace("await tracker.flush()\n", "await tracker.flush(0.3)\n")
    async with started(program, collector.url, "fork", "asyncio", "3") as process:
        ended = await end_of(process)
    ends, accepted, delivered, _restarts = json.loads(ended.printed[-1])
    assert (ends, accepted, delivered) == ([0, 0, 0], 12, 12)
    assert senders(collector) == {"parent": 12, "child 0": 3, "child 1": 3, "child 2": 3}
    assert collector.accepted.total() == 21


SILENT_CHILD = """
import asyncio, atexit, gc, os, sys, warnings

# Python 3.12 warns of a fork in a process with threads, and the parent may still be sending in one.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
parent = os.getpid()
# Registered before the library is imported, so called after all that it does at the end.
atexit.register(lambda: os.getpid() == parent and print(tracker.stats()["http"].delivered))

from snowplow_aio import HttpEmitter, PageView, Tracker

tracker = Tracker(HttpEmitter(sys.argv[1]))
PAGE = PageView(page_url="https://shop.example/parent")

async def main():
    for _ in range(7):
        await tracker.track(PAGE)

def fork():
    global tracker
    if pid := os.fork():
        assert os.waitpid(pid, 0)[1] == 0
        return
    if sys.argv[2] == "drops":
        del tracker
        gc.collect()
    # An orderly end, with all that is registered for it.
    sys.exit()

tracker.track_nowait(PAGE)
fork()
asyncio.run(main())
fork()
"""


# Before its first fork, the parent always has an event pending.
@pytest.mark.parametrize("child", ["keeps", *scale([], ["drops"])])
async def test_a_child_that_tracks_nothing_says_nothing_of_its_parents_events(
    collector: Collector, child: str
) -> None:
    async with started(patient(SILENT_CHILD), collector.url, child, warnings="always") as process:
        ended = await end_of(process)
    assert (ended.code, ended.printed, ended.said) == (0, ["8"], "")
    assert (len(collector.accepted), collector.accepted.total()) == (8, 8)


@pytest.mark.parametrize("child", ["drops", *scale([], ["keeps"])])
async def test_of_events_that_are_lost_only_the_parent_speaks(collector: Collector, child: str) -> None:
    collector.rule = lambda _request: Answer(503)
    async with started(SILENT_CHILD, collector.url, child, warnings="always") as process:
        ended = await end_of(process)
    assert (ended.code, ended.printed, ended.said.count("8 events undelivered")) == (0, ["0"], 1)
    assert ended.said.count("events undelivered") == 1
