"""A name server that never answers keeps neither a close nor the end of the interpreter."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

import pytest

from snowplow_aio import HttpEmitter, PageView, Retry, Tracker
from tests.collector import Collector, running_collector
from tests.faults.programs import end_of, started
from tests.waiting import until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


# The name server is silent for a minute; whoever waits for it ends with an error of the test's own.
SILENT = """
import asyncio, socket, sys, time
from snowplow_aio import HttpEmitter, PageView, Tracker, track_once

def no_answer(*args, **kwargs):
    print("asked", flush=True)
    time.sleep(600)

socket.getaddrinfo = no_answer
PAGE = PageView(page_url="https://shop.example/")

async def close():
    tracker = Tracker(HttpEmitter("https://collector.invalid", flush_interval=0.01))
    await tracker.track(PAGE)
    result = await tracker.aclose(0.3)
    print("dropped", result.dropped)

async def once():
    try:
        await track_once("https://collector.invalid", PAGE, timeout=0.3)
    except TimeoutError:
        print("late")

async def forget():
    # The loop ends under the delivery.
    tracker = Tracker(HttpEmitter("https://collector.invalid", flush_interval=0.01))
    await tracker.track(PAGE)
    await asyncio.sleep(0.1)
    globals()["kept"] = tracker

asyncio.run(globals()[sys.argv[1]]())
"""


@pytest.mark.parametrize("way", ["close", "once", "forget"])
async def test_the_interpreter_ends_although_the_name_server_is_silent(way: str) -> None:
    """A thread that is waited for would sleep longer than the test has."""
    async with started(SILENT, way) as process:
        ended = await end_of(process)
    assert ended.code == 0
    assert ended.printed[0] == "asked"
    assert "Traceback" not in ended.said


async def test_of_one_name_there_is_one_look_up_however_often_it_is_tried() -> None:
    asked: list[Any] = []
    answered = threading.Event()
    threads = threading.active_count()

    def wait(host: Any, *_args: Any, **_kwargs: Any) -> Any:
        asked.append(host)
        answered.wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with mock.patch("socket.getaddrinfo", wait):
        emitter = HttpEmitter(
            "https://silent.invalid",
            request_timeout=0.05,
            retry=Retry(initial_delay=0.01, max_delay=0.02),
            drain_timeout=0,
        )
        async with Tracker(emitter) as tracker:
            await tracker.track(PAGE)
            await tracker.flush(wait=False)
            await until(lambda: emitter.stats().requests >= 5)
            assert asked == ["silent.invalid"]
            assert threading.active_count() == threads + 1
        answered.set()
        await until(lambda: threading.active_count() == threads)


async def test_an_answer_that_comes_late_is_used_by_the_next_attempt(collector: Collector) -> None:
    look_up = socket.getaddrinfo
    may_answer = threading.Event()

    def wait(_host: Any, *args: Any, **kwargs: Any) -> Any:
        may_answer.wait()
        return look_up("127.0.0.1", *args, **kwargs)

    url = collector.url.replace("127.0.0.1", "slow.invalid")
    policy = Retry(initial_delay=0.01, max_delay=0.02)
    with mock.patch("socket.getaddrinfo", wait):
        emitter = HttpEmitter(url, request_timeout=0.1, retry=policy, flush_interval=0.01)
        async with Tracker(emitter) as tracker:
            await tracker.track(PAGE)
            await until(lambda: sum(emitter.stats().retries.values()) >= 2)
            may_answer.set()
            assert (await tracker.flush(20)).delivered == 1
    assert collector.accepted.total() == 1


async def test_all_addresses_of_a_name_are_tried(collector: Collector) -> None:
    port = int(collector.url.rpartition(":")[2])

    def answer(_host: Any, _port: int, **_options: Any) -> Any:
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        # Nobody listens at the first one.
        return [(*kind, ("127.0.0.2", port)), (*kind, ("127.0.0.1", port))]

    with mock.patch("socket.getaddrinfo", answer):
        async with Tracker(HttpEmitter(f"http://two.invalid:{port}")) as tracker:
            await tracker.track(PAGE)
            assert (await tracker.flush(20)).delivered == 1


async def test_a_name_is_looked_up_once_and_remembered_for_a_while(collector: Collector) -> None:
    look_up = socket.getaddrinfo
    asked: list[Any] = []

    def answer(host: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        return look_up("127.0.0.1", *args, **kwargs)

    with mock.patch("socket.getaddrinfo", answer):
        emitter = HttpEmitter(
            collector.url.replace("127.0.0.1", "known.invalid"), max_batch=1, max_connections=4
        )
        async with Tracker(emitter) as tracker:
            for _ in range(40):
                await tracker.track(PAGE)
            assert (await tracker.flush(20)).delivered == 40
    assert asked == ["known.invalid"]


# As an application does that delivers when its loop has ended and executors take nothing any more.
AT_THE_END = """
import asyncio, atexit, concurrent.futures.thread, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

async def deliver():
    try:
        await asyncio.get_running_loop().run_in_executor(None, print)
    except RuntimeError:
        print("no executor")
    async with Tracker(HttpEmitter(sys.argv[1])) as tracker:
        await tracker.track(PageView(page_url="https://shop.example/"))
        print((await tracker.flush(10)).delivered)

atexit.register(lambda: asyncio.run(deliver()))
"""


async def test_names_are_looked_up_when_executors_are_shut_down_already(collector: Collector) -> None:
    url = collector.url.replace("127.0.0.1", "localhost")
    async with started(AT_THE_END, url) as process:
        ended = await end_of(process)
    assert (ended.code, ended.printed) == (0, ["no executor", "1"]), ended.said


FORK = """
import asyncio, os, sys
from snowplow_aio.http import names

async def look_up():
    return await names.new_resolver().resolve("127.0.0.1", 1)

# As another thread holds it that begins to look a name up.
with names._lock:
    pid = os.fork()
if not pid:
    os._exit(0 if asyncio.run(look_up()) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_child_of_a_fork_looks_names_up_whoever_did_so_in_its_parent() -> None:
    async with started(FORK) as process:
        ended = await end_of(process)
    assert ended.code == 0, ended.said
