"""Loops that come and go, and programs without one: nothing waits for the collector, nothing is lost."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from snowplow_aio.runtime.losses import NO_LOOP_BUT_ADVICE
from tests.collector import Answer, Collector, running_collector
from tests.faults.programs import end_of, line_from, loops, patient, started
from tests.faults.test_exit import said_of_loss
from tests.scale import scale

pytestmark = pytest.mark.anyio

DEAD = "http://127.0.0.1:9"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


# --- a loop for each call

PER_CALL = """
import asyncio, sys, threading
from snowplow_aio import HttpEmitter, PageView, Tracker

url, kinds = sys.argv[1], sys.argv[2].split(",")
tracker = Tracker(HttpEmitter(url))
# With all the time there is: whoever waits for the collector never ends.
HttpEmitter.last_drain_seconds = 1000

async def call():
    await tracker.track(PageView(page_url="https://shop.example/"))

def by_hand():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(call())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

def by_runner():
    with asyncio.Runner() as runner:
        runner.run(call())

def in_a_thread():
    thread = threading.Thread(target=asyncio.run, args=(call(),))
    thread.start()
    thread.join()

def in_uvloop():
    import uvloop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(call())

async def late():
    # Served after the loop has told everybody that it ends.
    try:
        yield
    finally:
        await asyncio.sleep(0)
        await call()

async def call_late():
    await anext(late_generators[-1])

def at_the_end_of_the_loop():
    late_generators.append(late())
    asyncio.run(call_late())

def at_the_end_of_uvloop():
    import uvloop
    late_generators.append(late())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(call_late())

late_generators = []
calls = {
    "asyncio": lambda: asyncio.run(call()), "runner": by_runner, "by hand": by_hand,
    "thread": in_a_thread, "uvloop": in_uvloop, "late": at_the_end_of_the_loop,
    "late in uvloop": at_the_end_of_uvloop,
}
for kind in kinds:
    for _ in range(5):
        calls[kind]()
# At one moment: the thread that delivers goes on.
stats = tracker.stats()["http"]
print(len(kinds) * 5, stats.pending + stats.leased, flush=True)
"""

KINDS = ["asyncio", "runner", "by hand", "thread", "late", *loops()[1:]]


@pytest.mark.parametrize("first", scale(["asyncio"], KINDS))
async def test_calls_with_a_loop_each_wait_for_no_collector_and_lose_nothing(
    collector: Collector, first: str
) -> None:
    """The collector answers only when all calls have ended, and the program ends when it has answered."""
    collector.rule = lambda _request: Answer(hangs=True)
    program = PER_CALL.replace("HttpEmitter(url", "HttpEmitter(url, drain_timeout=1000")
    kinds = ",".join([first, *(kind for kind in KINDS if kind != first)])
    async with started(program, collector.url, kinds, warnings="error") as process:
        tracked, waiting = map(int, (await line_from(process)).split())
        assert tracked == waiting == 5 * len(KINDS)
        collector.rule = lambda _request: Answer()
        collector.disconnect()
        ended = await end_of(process)
    assert (ended.code, ended.said) == (0, "")
    assert len(collector.accepted) == tracked


@pytest.mark.parametrize("kind", ["late", "late in uvloop"][: len(loops())])
async def test_the_first_event_may_come_when_its_loop_has_begun_to_end(
    collector: Collector, kind: str
) -> None:
    async with started(patient(PER_CALL), collector.url, kind, warnings="error") as process:
        ended = await end_of(process)
    assert (ended.code, ended.said) == (0, "")
    assert collector.accepted.total() == 5


FORGETFUL = """
import asyncio, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

async def forget(trackers):
    tracker = Tracker(HttpEmitter(sys.argv[1]))
    await tracker.track(PageView(page_url="https://shop.example/"))

for _ in range(20):
    asyncio.run(forget([]))
"""


async def test_many_forgotten_trackers_are_delivered_at_the_end(collector: Collector) -> None:
    async with started(patient(FORGETFUL), collector.url, warnings="always") as process:
        ended = await end_of(process)
    assert (ended.code, ended.said, collector.accepted.total()) == (0, "", 20)


async def test_of_many_forgotten_trackers_one_line_is_said() -> None:
    async with started(FORGETFUL, DEAD, warnings="always") as process:
        ended = await end_of(process)
    assert (ended.code, said_of_loss(ended), "Unclosed" in ended.said) == (0, ["20"], False)
    assert "http and 19 more: ended without aclose()" in ended.said


WRITER = """
import asyncio, sys
from snowplow_aio import FileEmitter, PageView, Tracker

tracker = Tracker(FileEmitter(sys.argv[1]))

async def main():
    await tracker.track(PageView(page_url="https://shop.example/"))

asyncio.run(main())
"""


@pytest.mark.skipif(
    (3, 12, 0) <= sys.version_info < (3, 12, 2), reason="these start no threads at the end of the interpreter"
)
async def test_a_transport_that_needs_threads_delivers_at_the_end_too(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    async with started(WRITER, str(file)) as process:
        ended = await end_of(process)
    assert (ended.code, ended.said, file.read_text().count("shop.example")) == (0, "", 1)


CHILD = """
import asyncio, multiprocessing, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

tracker = Tracker(HttpEmitter(sys.argv[1]))

async def main():
    for _ in range(7):
        await tracker.track(PageView(page_url="https://shop.example/"))

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(main()))
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_process_of_multiprocessing_delivers_at_its_end_and_says_what_is_lost(
    collector: Collector,
) -> None:
    async with started(patient(CHILD), collector.url) as process:
        ended = await end_of(process)
    assert (ended.code, ended.said, collector.accepted.total()) == (0, "", 7)
    async with started(CHILD, DEAD) as process:
        ended = await end_of(process)
    assert (ended.code, said_of_loss(ended)) == (0, ["7"])


FORK_IN_PORTAL = """
import asyncio, os, sys, warnings
from snowplow_aio import HttpEmitter, PageView, Tracker

# Python 3.12 warns of a fork in a process with threads; that is what is tested.
warnings.simplefilter("ignore", DeprecationWarning)
tracker = Tracker(HttpEmitter(sys.argv[1], flush_interval=0.01))

async def track(who):
    for i in range(3):
        await tracker.track(PageView(page_url=f"https://shop.example/{who}/{i}"))

asyncio.run(track("parent"))
pid = os.fork()
if pid == 0:
    asyncio.run(track("child"))
    sys.exit()
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
asyncio.run(track("parent"))
sys.exit(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_fork_while_the_events_of_an_ended_loop_are_sent(collector: Collector) -> None:
    async with started(patient(FORK_IN_PORTAL), collector.url, warnings="error") as process:
        ended = await end_of(process)
    assert (ended.code, ended.said) == (0, "")
    urls = [event["url"].split("/")[3] for request in collector.requests for event in request.events]
    assert sorted(urls) == ["child"] * 3 + ["parent"] * 6


# --- no loop at all

NO_LOOP = """
import logging, sys
from snowplow_aio import HttpEmitter, PageView, Tracker
from snowplow_aio.delivery import emitter

emitter._NO_LOOP_SECONDS = 0
if sys.argv[1] == "logged":
    logging.basicConfig()
trackers = [Tracker(HttpEmitter("http://127.0.0.1:9")) for _ in range(3)]
for tracker in trackers:
    for _ in range(10):
        tracker.track_nowait(PageView(page_url="https://shop.example/"))
    print(bool(tracker.health()), tracker.health())
"""


@pytest.mark.parametrize("logs", ["not logged", *scale([], ["logged"])])
async def test_a_program_whose_delivery_no_loop_runs_is_told_once(logs: str) -> None:
    async with started(NO_LOOP, logs) as process:
        ended = await end_of(process)
    assert [line.split(",")[0] for line in ended.printed] == [
        f"False http: stalled ({NO_LOOP_BUT_ADVICE}); 10 waiting"
    ] * 3
    assert ended.said.count("no event loop runs the delivery of ") == 1
    assert said_of_loss(ended) == ["30"]
    assert "last error: no event loop runs the delivery" in ended.said


# --- losing is never silent

# Each case is a process of its own, but they share their imports.
LOSERS = """
import asyncio, gc, logging, os, sys
from celery import Celery
from snowplow_aio import *

DEAD, LIVE = "http://127.0.0.1:9", sys.argv[1]
PAGE = PageView(page_url="https://shop.example/")

async def track(tracker, count=7):
    for _ in range(count):
        await tracker.track(PAGE)

async def close(*emitters, timeout=None):
    for emitter in emitters:
        tracker = Tracker(emitter)
        await track(tracker)
        await tracker.aclose(timeout)

async def once():
    try:
        # Cancelled, so that nothing that it raises tells of the loss.
        await asyncio.wait_for(track_once(DEAD, PAGE, timeout=None), 0.05)
    except TimeoutError:
        pass

async def overflow():
    tracker = Tracker(HttpEmitter(LIVE, store=MemoryStore(capacity=5)))
    await track(tracker, 20)
    await tracker.aclose()
    print(tracker.stats()["http"].dropped["queue_full"])
    await track(tracker, 3)

async def unreached():
    retry = Retry(initial_delay=0.001, max_delay=0.001)
    trackers = [Tracker(HttpEmitter(DEAD, retry=retry, flush_interval=0.001)) for _ in range(3)]
    for tracker in trackers:
        await track(tracker)
    while any(sum(tracker.stats()["http"].retries.values()) < 5 for tracker in trackers):
        await asyncio.sleep(0.01)
    await asyncio.gather(*(tracker.aclose(0) for tracker in trackers))

def dropped():
    for _ in range(3):
        Tracker(HttpEmitter(DEAD)).track_nowait(PAGE)

cases = {
    "http": lambda: asyncio.run(close(HttpEmitter(DEAD, drain_timeout=0.01))),
    "at once": lambda: asyncio.run(close(HttpEmitter(DEAD), timeout=0)),
    "redis": lambda: asyncio.run(close(RedisEmitter("redis://127.0.0.1:9/0"), timeout=0)),
    "celery": lambda: asyncio.run(close(CeleryEmitter(Celery(broker="redis://127.0.0.1:9/0")), timeout=0)),
    "file": lambda: asyncio.run(close(FileEmitter("/nowhere/at/all"), timeout=0)),
    "once": lambda: asyncio.run(once()),
    "many": lambda: asyncio.run(close(*(HttpEmitter(DEAD) for _ in range(20)), timeout=0)),
    "overflow": lambda: asyncio.run(overflow()),
    "unreached": lambda: asyncio.run(unreached()),
    "dropped": dropped,
}
if sys.argv[2] == "logged":
    logging.basicConfig()
for case in sys.argv[3].split(","):
    print(f"== {case}", file=sys.stderr, flush=True)
    if not os.fork():
        cases[case]()
        sys.exit()
    assert os.wait()[1] == 0
"""


async def told(url: str, cases: list[str], logs: str = "not logged") -> tuple[list[str], dict[str, str]]:
    """Return what the cases print, and what each of them says on standard error."""
    async with started(LOSERS, url, logs, ",".join(cases), warnings="ignore::ResourceWarning") as process:
        ended = await end_of(process)
    assert ended.code == 0, ended.said
    said = [text.partition("\n") for text in ended.said.split("== ")[1:]]
    return ended.printed, {case: text for case, _, text in said}


CLOSES = ["http", "at once", "redis", "celery", "file", "once"]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@forks
@pytest.mark.parametrize("logs", ["not logged", "logged"])
async def test_a_close_that_loses_events_says_so_once(logs: str) -> None:
    _, said = await told(DEAD, CLOSES, logs)
    pattern = r"(\d+) events? undelivered"
    lost = {case: re.findall(pattern, text) for case, text in said.items()}
    assert lost == {case: ["1" if case == "once" else "7"] for case in CLOSES}
    for text in said.values():
        assert ("WARNING:snowplow_aio.delivery" if logs == "logged" else "RuntimeWarning") in text


@forks
async def test_each_kind_of_loss_is_said_once_and_the_rest_of_it_at_the_end(collector: Collector) -> None:
    printed, said = await told(collector.url, ["many", "overflow", "unreached", "dropped"])
    assert said["many"].count("closed with 7 events undelivered") == 1
    assert said["many"].count("133 more events were lost (closed)") == 1
    overflow = said["overflow"]
    assert overflow.count("events are dropped (queue_full)") == 1
    assert f"{int(printed[0]) - 1} more events were lost (queue_full)" in overflow
    assert overflow.count("events are dropped: they were tracked after aclose()") == 1
    assert "2 more events were lost (closed)" in overflow
    assert said["unreached"].count("nothing has been delivered so far: ClientConnectorError") == 1
    # Whoever has switched the ResourceWarning off, as Python does by itself, is told all the same.
    assert said["dropped"].count("dropped without aclose() with 1 event undelivered") == 1
    assert "2 more events were lost (forgotten)" in said["dropped"]


@forks
async def test_whoever_has_configured_logging_is_told_there(collector: Collector) -> None:
    _, said = await told(collector.url, ["overflow", "unreached"], "logged")
    assert "RuntimeWarning" not in said["overflow"] + said["unreached"]
    assert said["overflow"].count("WARNING:snowplow_aio.delivery:http: events are dropped (queue_full)") == 1
    assert "WARNING:snowplow_aio.delivery:http: 7 events not delivered" in said["unreached"]


# --- loops that are stopped and never ended, as some servers do

LEFT_BEHIND = """
import asyncio, sys, threading
from snowplow_aio import HttpEmitter, PageView, Tracker

tracker = Tracker(HttpEmitter(sys.argv[1], flush_interval=60))
PAGE = PageView(page_url="https://shop.example/")
if sys.argv[2] == "in a thread":
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(tracker.__aenter__(), loop).result()
if sys.argv[2] == "stopped":
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.call_soon(loop.stop)
    loop.create_task(tracker.track(PAGE))
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
tracker.track_nowait(PAGE)
"""


@pytest.mark.parametrize("how", ["stopped", "none", "in a thread"])
async def test_what_no_loop_delivers_is_delivered_when_the_interpreter_ends(
    collector: Collector, how: str
) -> None:
    async with started(LEFT_BEHIND, collector.url, how) as process:
        ended = await end_of(process)
    assert (ended.code, ended.said) == (0, "")
    assert collector.accepted.total() == (2 if how == "stopped" else 1)
