"""The worker of programs without a loop: it runs until somebody says stop, and loses nothing then."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

import snowplow_aio.worker
from snowplow_aio import ConfigurationError, RedisEmitter, SelfDescribingJson
from snowplow_aio.sync import RedisWorker, Tracker
from tests.collector import Answer, Collector, collector_in_a_thread
from tests.faults.programs import ROOT, end_of, line_from, started
from tests.redis.reading import PAGE, QUICK
from tests.redis.servers import RedisServer
from tests.redis.working import sending
from tests.waiting import wait_until

DOWN = Answer(503, is_processed=False)


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """No loop of the test's own could keep a task."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collector_in_a_thread() as running:
        yield running


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    with redis.Redis(port=shared_server.port) as client:
        client.flushall()
    return shared_server


def put(server: RedisServer, count: int, key: str = "snowplow") -> list[str]:
    """Have the blocking tracker put *count* events into Redis; return their ids."""
    with Tracker(RedisEmitter(server.url, key, retry=QUICK)) as tracker:
        return [tracker.track(PAGE) for _ in range(count)]


def left(server: RedisServer) -> int:
    """Return how many events wait in Redis, or are held by workers."""
    with redis.Redis(port=server.port) as client:
        held = sum(int(client.hlen(key)) for key in client.scan_iter("{snowplow}:processing:*"))
        return int(client.llen("snowplow")) + held


def worker_of(server: RedisServer, collector: Collector, **options: Any) -> RedisWorker:
    return RedisWorker(sending(collector), client=server.url, **options)


def stopping_after(worker: RedisWorker, collector: Collector, count: int) -> threading.Thread:
    """Have another thread stop *worker* when *count* events have arrived."""

    def stop() -> None:
        try:
            wait_until(lambda: len(collector.accepted) == count)
        finally:
            worker.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    return thread


def test_it_delivers_until_another_thread_stops_it(server: RedisServer, collector: Collector) -> None:
    event_ids = put(server, 20)
    worker = worker_of(server, collector)
    thread = stopping_after(worker, collector, 20)

    worker.run()

    thread.join()
    assert not worker.is_running
    assert collector.accepted == dict.fromkeys(event_ids, 1)
    assert (worker.stats().delivered, left(server)) == (20, 0)


def test_it_runs_again_and_in_any_thread(server: RedisServer, collector: Collector) -> None:
    worker = worker_of(server, collector)
    for total in (3, 6):
        put(server, 3)
        running = threading.Thread(target=worker.run)
        running.start()
        wait_until(lambda total=total: len(collector.accepted) == total)  # type: ignore[misc]
        worker.stop()
        running.join()
    assert left(server) == 0


def test_it_runs_where_a_loop_runs_as_in_the_cell_of_a_notebook(
    server: RedisServer, collector: Collector
) -> None:
    put(server, 3)
    worker = worker_of(server, collector)

    async def cell() -> None:
        worker.run()

    thread = stopping_after(worker, collector, 3)
    asyncio.run(cell())
    thread.join()
    assert worker.stats().delivered == 3


def test_it_delivers_beside_a_tracker_of_the_same_program(server: RedisServer, collector: Collector) -> None:
    worker = worker_of(server, collector)
    running = threading.Thread(target=worker.run)
    running.start()
    with Tracker(RedisEmitter(server.url)) as tracker:
        event_id = tracker.track(PAGE)
    wait_until(lambda: event_id in collector.accepted)
    worker.stop()
    running.join()


def test_a_second_run_at_the_same_time_is_refused(server: RedisServer, collector: Collector) -> None:
    worker = worker_of(server, collector)
    running = threading.Thread(target=worker.run)
    running.start()
    wait_until(lambda: worker.is_running)
    try:
        with pytest.raises(ConfigurationError, match=r"^run: must be called once at a time"):
            worker.run()
    finally:
        worker.stop()
        running.join()


def test_an_interrupt_ends_it_and_what_is_not_delivered_stays_in_redis(
    server: RedisServer, collector: Collector
) -> None:
    collector.rule = lambda _request: DOWN
    put(server, 20)
    worker = worker_of(server, collector, drain_timeout=0.1)
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        wait_until(lambda: collector.requests)
        assert signal.getsignal(signal.SIGINT) is before
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    worker.run()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert (len(collector.accepted), left(server)) == (0, 20)


def test_a_second_interrupt_does_not_wait_for_the_events(server: RedisServer, collector: Collector) -> None:
    collector.rule = lambda _request: DOWN
    put(server, 20)
    worker = worker_of(server, collector, drain_timeout=60)

    def interrupt() -> None:
        wait_until(lambda: collector.requests)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        wait_until(lambda: worker.summary.startswith("stopping"))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        worker.run()
    thread.join()
    wait_until(lambda: not worker.is_running)
    assert left(server) == 20


class ToldError(Exception):
    """What a signal handler of the application raises."""


def test_what_a_handler_of_the_application_raises_comes_out_after_the_events_were_delivered(
    server: RedisServer, collector: Collector
) -> None:
    put(server, 5)
    worker = worker_of(server, collector)

    def handler(_number: int, _frame: object) -> None:
        raise ToldError

    def tell() -> None:
        wait_until(lambda: len(collector.accepted) == 5)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=tell)
    thread.start()
    try:
        with pytest.raises(ToldError):
            worker.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
    thread.join()
    assert (worker.is_running, left(server)) == (False, 0)


PROGRAM = """
import signal, sys
from snowplow_aio import HttpEmitter
from snowplow_aio.sync import RedisWorker

e = HttpEmitter(sys.argv[1], flush_interval=0.02)
r = RedisWorker(e, key="snowplow", client=sys.argv[2])
if sys.argv[3] == "SIGTERM":
    signal.signal(signal.SIGTERM, lambda *_: r.stop())
print("runs", flush=True)
r.run()
print("ended", r.stats().delivered, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
async def test_a_program_of_three_lines_is_ended_by_a_signal_and_loses_nothing(
    name: str, server: RedisServer, collector: Collector
) -> None:
    event_ids = await asyncio.to_thread(put, server, 500)
    arguments = (collector.url, server.url, name)
    async with started(PROGRAM, *arguments, warnings="error") as process:
        assert await line_from(process) == "runs"
        await asyncio.to_thread(wait_until, lambda: collector.accepted)
        process.send_signal(signal.Signals[name])
        ended = await end_of(process)
    assert (ended.code, ended.said) == (0, "")
    delivered = int(ended.printed[0].split()[1])
    assert ended.printed == [f"ended {delivered} True"]
    # Each event was delivered once, or waits for the next worker.
    assert set(collector.accepted.values()) == {1}
    assert len(collector.accepted) == delivered
    assert delivered + left(server) == len(event_ids)


def test_it_has_all_that_the_async_worker_has() -> None:
    assert issubclass(RedisWorker, snowplow_aio.worker.RedisWorker)
    said = r"^RedisWorker\(\) has no argument 'dbr': use client"
    with pytest.raises(TypeError, match=said):
        RedisWorker(sending("http://c.example"), dbr=None)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"^transport: must be a Transport, or an emitter"):
        RedisWorker(SelfDescribingJson("iglu:a/b/jsonschema/1-0-0", {}))  # type: ignore[arg-type]


def test_it_is_loaded_when_it_is_asked_for() -> None:
    program = "import sys, snowplow_aio.sync as s; assert 'redis' not in sys.modules; s.RedisWorker; s.x"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stderr.endswith("AttributeError: module 'snowplow_aio.sync' has no attribute 'x'\n")
