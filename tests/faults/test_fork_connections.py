"""A child of a fork leaves the connections of its parent alone, whatever it does and however it ends."""

from __future__ import annotations

import itertools
import json
import os

import pytest
import trustme

from tests.collector import Collector, running_collector
from tests.faults.programs import end_of, loops, started
from tests.faults.test_answers import tls
from tests.scale import scale

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]

PROGRAM = """
import asyncio, gc, json, multiprocessing, os, ssl, sys, warnings
from snowplow_aio import HttpEmitter, PageView, Retry, Tracker

# Python 3.12 warns of a fork in a process with threads.
warnings.simplefilter("ignore", DeprecationWarning)
url, authority, how, where, loop = sys.argv[1:]
if loop == "uvloop":
    import uvloop
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
context = ssl.create_default_context(cadata=authority) if authority else True
# Nothing is repeated: what goes wrong once is seen.
retry = Retry(initial_delay=60)
emitter = HttpEmitter(
    url, ssl=context, retry=retry, flush_interval=0.01, max_connections=1, drain_timeout=30
)
tracker = Tracker(emitter)

async def deliver(who):
    await tracker.track(PageView(page_url=f"https://shop.example/{who}"))
    result = await tracker.flush(30)
    assert result.pending == 0, (who, result, tracker.stats())

def child():
    if how == "exit":
        sys.exit(0)
    if how == "drop":
        globals().pop("tracker")
        gc.collect()
        sys.exit(0)
    if how == "raise":
        raise KeyboardInterrupt
    if how == "track":
        # A loop of its own: that of the parent still counts as running here.
        asyncio._set_running_loop(None)
        asyncio.run(deliver("child"))
        asyncio.run(tracker.aclose(30))
        # In a thread of an executor nothing else ends a process.
        sys.exit(0) if where == "inside" else os._exit(0)
    os._exit(0)

def fork():
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    child()

async def main():
    ends = []
    for _ in range(2):
        await deliver("parent")
        ends.append(fork() if where == "inside" else await asyncio.to_thread(fork))
        await deliver("parent")
    await tracker.aclose(30)
    print(json.dumps([ends, tracker.stats()["http"].requests, dict(tracker.stats()["http"].retries)]))

asyncio.run(main())
"""


async def parent_and_children(collector: Collector, authority: str, how: str, where: str, loop: str) -> None:
    async with started(PROGRAM, collector.url, authority, how, where, loop) as process:
        ended = await end_of(process)
    said = "" if how == "raise" else ended.said
    assert (ended.code, said) == (0, "")
    ends, requests, retries = json.loads(ended.printed[-1])
    assert all(end == (0 if how != "raise" else end) for end in ends)
    assert (requests, retries) == (4, {})
    # The parent goes on with the connection that it had; each child that tracks has one of its own.
    tracking = 2 if how == "track" else 0
    assert collector.connections == 1 + tracking
    assert collector.accepted.total() == len(collector.accepted) == 4 + tracking


# In a short run, each way to end and each kind of connection once.
WAYS = scale(
    [("exit", True), ("track", False)],
    list(itertools.product(["exit", "track", "drop", "raise", "_exit"], [False, True])),
)


@pytest.mark.parametrize(
    ("how", "secure"), WAYS, ids=lambda value: {True: "tls", False: "plain"}.get(value, value)
)
async def test_a_child_does_not_end_the_connection_of_its_parent(how: str, secure: bool) -> None:
    ca = trustme.CA()
    _, server = tls(ca)
    authority = ca.cert_pem.bytes().decode() if secure else ""
    async with running_collector(ssl=server if secure else None) as collector:
        await parent_and_children(collector, authority, how, "inside", "asyncio")


@pytest.mark.parametrize("loop", scale([], loops()))
async def test_nor_does_one_that_is_forked_by_a_thread(loop: str) -> None:
    ca = trustme.CA()
    _, server = tls(ca)
    async with running_collector(ssl=server) as collector:
        await parent_and_children(collector, ca.cert_pem.bytes().decode(), "track", "thread", loop)


PENDING = """
import asyncio, os, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

tracker = Tracker(HttpEmitter(sys.argv[1], flush_interval=None, drain_timeout=30))

async def main():
    for i in range(5):
        await tracker.track(PageView(page_url=f"https://shop.example/{i}"))
    if pid := os.fork():
        os.waitpid(pid, 0)
        await tracker.aclose(30)
        print(tracker.stats()["http"].delivered)
        return
    sys.exit()

asyncio.run(main())
"""


async def test_a_child_that_ends_does_not_send_what_its_parent_has_waiting() -> None:
    async with running_collector() as collector:
        async with started(PENDING, collector.url) as process:
            ended = await end_of(process)
        assert (ended.code, ended.printed, ended.said) == (0, ["5"], "")
        assert collector.accepted.total() == len(collector.accepted) == 5
