"""A request that takes too long says for what it waited; one whose answer is there is never given up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import aiohttp
import pytest
import trustme

from snowplow_aio import HttpEmitter, PageView, Retry, Tracker, track_once
from tests.collector import Answer, Collector, collector_in_a_thread
from tests.faults.programs import end_of, line_from, started
from tests.faults.test_answers import tls
from tests.ports import held_port
from tests.scale import scale
from tests.waiting import PATIENCE_SECONDS, until, wait_until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")


def slow_to_retry(url: str, **options: Any) -> HttpEmitter:
    return HttpEmitter(url, retry=Retry(initial_delay=60), flush_interval=0.01, drain_timeout=0, **options)


async def fault_of(emitter: HttpEmitter) -> str:
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await until(lambda: emitter.stats().last_error)
        return str(emitter.stats().last_error)


def assert_in_vain(said: str, what: str, seconds: float) -> None:
    """Assert that *said* tells of a wait for *what* for *seconds*, or longer on a busy machine."""
    begin, _, figure = said.removesuffix(" s").rpartition(" within ")
    assert begin == what
    assert seconds <= float(figure) < PATIENCE_SECONDS


@pytest.fixture
def swallowing() -> Iterator[str]:
    """A port of which nothing ever answers to a connection: its backlog is full."""
    with held_port() as port, socket.socket() as hole, socket.socket() as only, socket.socket() as more:
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind(("127.0.0.1", port))
        hole.listen(0)
        only.connect(("127.0.0.1", port))
        more.setblocking(False)
        more.connect_ex(("127.0.0.1", port))
        yield f"http://127.0.0.1:{port}"


ON_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only here a full backlog swallows what connects"
)

# --- what was waited for


@ON_LINUX
@pytest.mark.parametrize("session", scale(["theirs"], ["ours", "theirs"]))
async def test_without_a_connection_it_says_so_and_how_long(swallowing: str, session: str) -> None:
    async with aiohttp.ClientSession() as theirs:
        said = await fault_of(slow_to_retry(swallowing, session=theirs if session == "theirs" else None))
    assert_in_vain(said, "ConnectionTimeoutError: no connection to 127.0.0.1", 3)


@ON_LINUX
async def test_a_shorter_time_for_all_ends_the_wait_for_a_connection(swallowing: str) -> None:
    said = await fault_of(slow_to_retry(swallowing, request_timeout=0.2))
    assert_in_vain(said, "TimeoutError: no connection to 127.0.0.1", 0.2)


@pytest.mark.parametrize("method", ["get", "post"])
async def test_without_an_answer_it_says_so_and_how_long(collector: Collector, method: Any) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    said = await fault_of(slow_to_retry(collector.url, request_timeout=1, method=method))
    assert_in_vain(said, "TimeoutError: no answer", 1)


async def test_without_an_address_it_names_the_name_service() -> None:
    answered = threading.Event()
    with mock.patch("socket.getaddrinfo", side_effect=lambda *_, **__: answered.wait()):
        said = await fault_of(slow_to_retry("https://collector.invalid", request_timeout=0.2))
        answered.set()
    assert_in_vain(said, "TimeoutError: no address of collector.invalid from the name service", 0.2)


async def test_a_proxy_without_a_connection_is_named(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    # A server of events is a proxy that opens no tunnel.
    emitter = slow_to_retry("https://collector.invalid", proxy=collector.url, request_timeout=0.3)
    assert_in_vain(await fault_of(emitter), "TimeoutError: no connection to the proxy 127.0.0.1", 0.3)


@ON_LINUX
async def test_a_single_event_says_what_it_waits_for_and_not_that_all_is_well(
    swallowing: str, collector: Collector
) -> None:
    with pytest.raises(TimeoutError) as caught:
        await track_once(swallowing, PAGE, timeout=1.5)
    said = "the event was not delivered within 1.5 s (http: no connection to 127.0.0.1 yet; 1 waiting; "
    assert str(caught.value).startswith(said)
    collector.rule = lambda _request: Answer(hangs=True)
    with pytest.raises(TimeoutError) as caught:
        await track_once(collector.url, PAGE, timeout=1.5)
    assert "(http: no answer yet; 1 waiting" in str(caught.value)


async def test_a_single_event_names_the_emitter_that_is_behind(collector: Collector) -> None:
    held = HttpEmitter("https://collector.invalid", name="held")
    answered = threading.Event()
    with mock.patch("socket.getaddrinfo", side_effect=lambda *_, **__: answered.wait()):
        with pytest.raises(TimeoutError) as caught:
            await track_once([HttpEmitter(collector.url), held], PAGE, timeout=1.5)
        answered.set()
    assert "http: ok; 0 waiting; 1 delivered" in str(caught.value)
    assert "held: no address of collector.invalid from the name service yet; 1 waiting" in str(caught.value)


# --- a deadline that is seen late


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("method", ["get", "post"])
async def test_a_loop_that_stood_still_reads_the_answer_that_is_there(secure: bool, method: Any) -> None:
    client, server = tls(trustme.CA())
    with collector_in_a_thread() if not secure else collector_in_a_thread(ssl=server) as collector:
        emitter = HttpEmitter(
            collector.url,
            request_timeout=0.3,
            method=method,
            ssl=client,
            flush_interval=0.01,
            retry=Retry(initial_delay=0.01),
        )
        async with Tracker(emitter) as tracker:
            await tracker.track(PAGE)
            # On a busy machine a connection may take longer than that, and is tried again.
            assert (await tracker.flush(20)).delivered == 1
            retries = tracker.stats()["http"].retries
            collector.rule = lambda _request: Answer(200, delay=0.05)
            for _ in range(2):
                sent, acknowledged = len(collector.requests), collector.acknowledged
                await tracker.track(PAGE)
                await until(lambda: len(collector.requests) > sent)  # noqa: B023
                # The application computes, and lets nobody else run.
                end = time.monotonic() + 0.45
                wait_until(lambda: collector.acknowledged > acknowledged)  # noqa: B023
                wait_until(lambda: time.monotonic() > end)  # noqa: B023
                assert (await tracker.flush(20)).delivered == 1
                assert len(collector.requests) == sent + 1
            assert tracker.stats()["http"].retries == retries
        assert len(collector.accepted) == 3


FROZEN = """
import asyncio, sys
from snowplow_aio import HttpEmitter, PageView, Retry, Tracker

async def main():
    emitter = HttpEmitter(sys.argv[1], request_timeout=0.5, retry=Retry(initial_delay=60))
    async with Tracker(emitter) as tracker:
        await tracker.track(PageView(page_url="https://shop.example/"))
        print("tracked", flush=True)
        result = await tracker.flush(40)
        print(result.delivered, dict(tracker.stats()["http"].retries))

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system does not stop processes")
async def test_a_process_that_was_stopped_reads_the_answer_that_is_there(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(200, delay=0.1)
    async with started(FROZEN, collector.url, warnings="error") as process:
        assert await line_from(process) == "tracked"
        await collector.requested(1)
        os.kill(process.pid, signal.SIGSTOP)
        since = time.monotonic()
        await until(lambda: collector.acknowledged == 1 and time.monotonic() > since + 0.8)
        os.kill(process.pid, signal.SIGCONT)
        ended = await end_of(process)
    assert (ended.code, ended.printed[-1], ended.said) == (0, "1 {}", "")
    assert collector.accepted.total() == 1


async def test_an_answer_that_has_not_come_is_given_up_all_the_same(collector: Collector) -> None:
    collector.answer_next(Answer(hangs=True))
    emitter = HttpEmitter(
        collector.url, request_timeout=0.1, retry=Retry(initial_delay=0.01), flush_interval=0.01
    )
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await collector.requested(1)
        end = time.monotonic() + 0.2
        wait_until(lambda: time.monotonic() > end)
        assert (await tracker.flush(20)).delivered == 1
        assert tracker.stats()["http"].retries == {"TimeoutError": 1}


async def test_a_request_can_still_be_cancelled_in_its_last_turns(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    async with Tracker(slow_to_retry(collector.url, request_timeout=0.05)) as tracker:
        await tracker.track(PAGE)
        await collector.requested(1)
        result = await asyncio.wait_for(tracker.aclose(0), 20)
    assert result.dropped == 1
