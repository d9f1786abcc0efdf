"""The worker: what it takes out of Redis, what it puts aside, and what it never loses."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import redis.asyncio

from snowplow_aio import (
    ConfigurationError,
    PageView,
    RedisEmitter,
    Retry,
    StructuredEvent,
    Tracker,
)
from snowplow_aio.http.transport import HttpTransport
from snowplow_aio.instrumentation.health import HealthEndpoint
from snowplow_aio.outcomes import Outcome
from snowplow_aio.redis.worker import RedisWorker, store_class
from tests.collector import OK, Answer, Collector, Request, running_collector
from tests.faults.conftest import internal_tasks
from tests.redis.reading import PAGE, stored_ids
from tests.redis.servers import Proxy, RedisServer
from tests.redis.working import dead_letters, left, put, sending, until_delivered, until_in_redis, working
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["list", "stream"])]

NewServer = Callable[..., RedisServer]

DOWN = Answer(503, is_processed=False)


@pytest.fixture
async def collector() -> AsyncGenerator[Collector, None]:
    async with running_collector() as running:
        yield running


def worker_of(server: RedisServer, collector: Collector, mode: Any, **options: Any) -> RedisWorker:
    emitter = sending(collector, **options.pop("sending", {}))
    return RedisWorker(emitter, client=server.url, mode=mode, **options)


async def add(rdb: Any, mode: str, *entries: bytes) -> None:
    """Put *entries* into Redis as they are."""
    for entry in entries:
        await (rdb.rpush("snowplow", entry) if mode == "list" else rdb.xadd("snowplow", {"e": entry}))


# --- delivering


@pytest.mark.usefixtures("time_to_tidy_up")
async def test_events_are_delivered_in_their_order_and_leave_redis(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    """What was there before the first worker as well."""
    event_ids = await put(server.url, 700, mode=mode)
    async with working(worker_of(server, collector, mode, sending={"max_connections": 1})) as worker:
        event_ids += await put(server.url, 700, mode=mode)
        await until(lambda: worker.stats().delivered == 1400)
        await until_in_redis(lambda: is_empty(rdb))
    assert [event["eid"] for request in collector.requests for event in request.events] == event_ids
    assert set(await rdb.keys()) <= {b"snowplow"}


async def is_empty(rdb: Any) -> bool:
    return await left(rdb) == 0


async def test_an_event_stays_in_redis_until_it_is_delivered(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    collector.rule = lambda _request: DOWN
    await put(server.url, 20, mode=mode)
    async with working(worker_of(server, collector, mode)) as worker:
        await collector.requested(3)
        assert await left(rdb) == 20
        assert not worker.is_ready
        collector.rule = lambda _request: OK
        await until(lambda: worker.stats().delivered == 20)
        await until_in_redis(lambda: is_empty(rdb))
        assert worker.is_ready


async def test_anonymous_events_are_sent_as_such(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    async with Tracker(RedisEmitter(server.url, mode=mode)) as tracker:
        named, anonymous = await tracker.track(PAGE), await tracker.track(PAGE, anonymous=True)
    async with working(worker_of(server, collector, mode)):
        await until(lambda: len(collector.accepted) == 2)
    headers = {event["eid"]: request.headers for request in collector.requests for event in request.events}
    assert "sp-anonymous" in headers[anonymous]
    assert "sp-anonymous" not in headers[named]


async def test_a_plain_transport_does_as_well(server: RedisServer, collector: Collector, mode: Any) -> None:
    told: list[Outcome] = []
    await put(server.url, 10, mode=mode)
    transport = sending(collector)._transport
    assert isinstance(transport, HttpTransport)
    worker = RedisWorker(transport, client=server.url, mode=mode, batch_size=5, hooks=[told.append])
    async with working(worker):
        await until(lambda: worker.stats().delivered == 10)
    assert sum(len(outcome.payloads) for outcome in told) == 10


async def test_several_workers_share_the_work(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    event_ids = await put(server.url, 2_000, mode=mode)
    workers = [worker_of(server, collector, mode, prefetch=50) for _ in range(3)]
    async with working(workers[0]), working(workers[1]), working(workers[2]):
        await until(lambda: sum(worker.stats().delivered for worker in workers) == 2_000)
    assert all(worker.stats().delivered for worker in workers)
    assert collector.accepted == dict.fromkeys(event_ids, 1)
    assert await left(rdb) == 0


async def test_what_is_put_while_it_waits_is_delivered_at_once(
    server: RedisServer, collector: Collector, mode: Any
) -> None:
    async with working(worker_of(server, collector, mode)) as worker:
        await until(lambda: worker.is_ready)
        for count in range(1, 4):
            await put(server.url, 1, mode=mode)
            started = time.monotonic()
            await until_delivered(worker, count)
            # It looks twice a second; a busy machine takes its time.
            assert time.monotonic() - started < 10


# --- what cannot be delivered


async def test_a_refused_event_goes_to_the_dead_letters_and_stops_no_other(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    def rule(request: Request) -> Answer:
        return Answer(400) if any(event["e"] == "se" for event in request.events) else OK

    collector.rule = rule
    async with Tracker(RedisEmitter(server.url, mode=mode)) as tracker:
        good = [await tracker.track(PAGE) for _ in range(9)]
        bad = await tracker.track(StructuredEvent(category="a", action="b"))
        good += [await tracker.track(PAGE) for _ in range(9)]
    async with working(worker_of(server, collector, mode)) as worker:
        await until(lambda: worker.stats().delivered == 18 and worker.stats().rejected)
        await until_in_redis(lambda: is_empty(rdb))
        assert worker.stats().rejected == {"refused": 1}
    assert collector.accepted.keys() == set(good)
    (letter,) = await dead_letters(rdb)
    assert (letter["reason"], letter["status"], letter["event"]["eid"]) == ("refused", 400, bad)
    assert abs(letter["at"] - time.time() * 1000) < 60_000


async def test_an_event_that_is_too_old_goes_to_the_dead_letters(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    collector.rule = lambda _request: DOWN
    event_ids = await put(server.url, 3, mode=mode)
    retry = Retry(initial_delay=0.01, max_delay=0.02, max_age=0.1)
    async with working(worker_of(server, collector, mode, sending={"retry": retry})) as worker:
        await until(lambda: worker.stats().dropped == {"expired": 3})
        await until_in_redis(lambda: is_empty(rdb))
    letters = await dead_letters(rdb)
    assert [letter["event"]["eid"] for letter in letters] == event_ids
    assert {letter["reason"] for letter in letters} == {"expired"}


POISON = [
    b"\xff\xfe not text",
    b"not JSON",
    b'["not an object"]',
    b"null",
    b"",
    b'{"e": {"not": "text"}, "p": "web"}',
    b'{"e": "pv", "p": "web", "tv": "x", "walrus": "a key of somebody else"}',
]


async def test_what_is_no_event_goes_to_the_dead_letters_and_stops_nobody(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    event_ids = await put(server.url, 1, mode=mode)
    await add(rdb, mode, *POISON)
    event_ids += await put(server.url, 1, mode=mode)
    async with working(worker_of(server, collector, mode)) as worker:
        await until(lambda: worker.stats().delivered == 2)
        await until_in_redis(lambda: is_empty(rdb))
        # The worker counts when it has the answer of Redis, a moment after Redis has done it.
        await until(lambda: worker.stats().rejected)
        assert worker.stats().rejected == {"poison": len(POISON)}
    assert collector.accepted.keys() == set(event_ids)
    letters = await dead_letters(rdb)
    assert len(letters) == len(POISON)
    assert letters[0]["event"] == "\\xff\\xfe not text"
    assert letters[0]["reason"] == "entry: must be JSON in UTF-8"
    assert letters[2]["reason"] == "entry: must be a JSON object"
    assert "must have keys of the tracker protocol only" in letters[-1]["reason"]
    assert letters[-1]["event"] == json.loads(POISON[-1])
    assert all(letter["reason"] and letter["status"] is None for letter in letters)


async def test_no_more_dead_letters_are_kept_than_was_said(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    await add(rdb, mode, *(b"%d" % number for number in range(30)))
    async with working(worker_of(server, collector, mode, max_dead=10)) as worker:
        await until_in_redis(lambda: is_empty(rdb))
        await until(lambda: worker.trimmed)
    assert worker.trimmed == 20
    assert [letter["event"] for letter in await dead_letters(rdb)] == [str(n) for n in range(20, 30)]


# --- stopping


async def test_stop_delivers_what_is_held_and_leaves_the_rest(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    event_ids = await put(server.url, 100, mode=mode)
    worker = worker_of(server, collector, mode, prefetch=40, sending={"flush_interval": 60})
    async with working(worker):
        # Fewer than a batch, and nobody hurries.
        await until(lambda: worker.stats().pending == 40)
    assert collector.accepted.keys() == set(event_ids[:40])
    assert await stored_ids(rdb) == event_ids[40:]
    assert (worker.stats().pending, worker.stats().state) == (0, "closed")


@pytest.mark.usefixtures("time_to_tidy_up")
async def test_stop_gives_back_in_order_what_cannot_be_delivered_in_time(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    event_ids = await put(server.url, 1_300, mode=mode)
    worker = worker_of(server, collector, mode, drain_timeout=1.0)
    async with working(worker):
        await collector.requested(1)
        await until(lambda: worker.stats().accepted == 1_300)
        started = time.monotonic()
    # By default it would try for five seconds.
    assert time.monotonic() - started < 4
    assert await stored_ids(rdb) == event_ids
    assert set(await rdb.keys()) == {b"snowplow"}
    collector.rule = lambda _request: OK
    async with working(worker_of(server, collector, mode)):
        await until(lambda: collector.accepted.keys() == set(event_ids))


@pytest.mark.usefixtures("time_to_tidy_up")
async def test_a_cancelled_run_gives_back_what_it_holds(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    event_ids = await put(server.url, 100, mode=mode)
    running = asyncio.create_task(worker_of(server, collector, mode).run())
    await collector.requested(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await stored_ids(rdb) == event_ids
    assert set(await rdb.keys()) == {b"snowplow"}


async def test_it_can_be_stopped_before_it_runs_and_run_again_afterwards(
    server: RedisServer, collector: Collector, mode: Any
) -> None:
    await put(server.url, 10, mode=mode)
    worker = worker_of(server, collector, mode)
    worker.stop()
    async with asyncio.timeout(10):
        await worker.run()
    assert collector.requests == []
    async with working(worker):
        await until(lambda: worker.stats().delivered == 10)
        with pytest.raises(ConfigurationError, match="this worker is running"):
            await worker.run()


async def test_hooks_are_done_when_run_returns(server: RedisServer, collector: Collector, mode: Any) -> None:
    told: list[int] = []

    async def hook(outcome: Outcome) -> None:
        await asyncio.sleep(0.05)
        told.append(len(outcome.payloads))

    await put(server.url, 10, mode=mode)
    async with working(worker_of(server, collector, mode, sending={"hooks": [hook]})):
        await until(lambda: collector.accepted)
    assert told == [10]
    assert internal_tasks() == []


async def test_a_hook_that_blocks_for_ever_does_not_keep_a_stop_waiting(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    released = threading.Event()
    await put(server.url, 10, mode=mode)
    options = {"hooks": [lambda _outcome: released.wait() and None], "flush_interval": 60}
    worker = worker_of(server, collector, mode, drain_timeout=0.5, sending=options)
    try:
        async with working(worker):
            # Nothing is sent before the stop.
            await until(lambda: worker.stats().accepted == 10)
        assert worker.stats().hook_errors == 1
    finally:
        released.set()
    assert len(collector.accepted) == 10
    assert await stored_ids(rdb) == []


# --- faults


async def test_a_worker_under_an_old_name_goes_on_with_what_it_held(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    event_ids = await put(server.url, 100, mode=mode)
    before = store_class(mode)(server.url, worker_id="pod-0", takeover_after=1_000)
    before.take_for(lambda _count: 0, lambda _count: None)
    await before.wait(count=100, size=1e9, timeout=10)
    await before.aclose()
    assert await left(rdb) == 100
    async with working(worker_of(server, collector, mode, worker_id="pod-0", takeover_after=1_000)) as worker:
        await until(lambda: worker.stats().delivered == 100)
    assert collector.accepted == dict.fromkeys(event_ids, 1)


async def test_what_was_sent_while_redis_stood_still_is_not_sent_again(
    new_server: NewServer, collector: Collector, mode: Any
) -> None:
    server = new_server()
    event_ids = await put(server.url, 100, mode=mode)

    def rule(_request: Request) -> Answer:
        server.freeze()
        return OK

    collector.rule = rule
    url = f"{server.url}?socket_timeout=0.2"
    worker = RedisWorker(sending(collector, max_connections=1), client=url, mode=mode)
    async with working(worker), redis.asyncio.Redis(port=server.port) as rdb:
        await until(lambda: worker.stats().delivered == 100)
        assert not worker.is_ready
        server.thaw()
        await until(lambda: worker.is_ready)
        # Redis is told what was settled meanwhile.
        await until_in_redis(lambda: is_empty(rdb))
    assert collector.accepted == dict.fromkeys(event_ids, 1)


async def test_lost_answers_of_redis_lose_and_double_nothing(
    server: RedisServer, rdb: Any, proxy: Proxy, collector: Collector, mode: Any
) -> None:
    event_ids = await put(server.url, 1_000, mode=mode)
    proxy.lost = 0.1
    worker = RedisWorker(sending(collector), client=proxy.url, mode=mode, prefetch=100)
    async with working(worker):
        await until(lambda: worker.stats().delivered == 1_000)
        await until_in_redis(lambda: is_empty(rdb))
        proxy.lost = 0.0
    assert proxy.cut >= 1
    assert collector.accepted == dict.fromkeys(event_ids, 1)


async def test_a_redis_that_forgets_everything_gets_a_worker_that_goes_on(
    new_server: NewServer, collector: Collector, mode: Any
) -> None:
    server = new_server()
    await put(server.url, 10, mode=mode)
    async with working(worker_of(server, collector, mode)) as worker:
        await until(lambda: worker.stats().delivered == 10)
        server.kill()
        await asyncio.to_thread(server.start)
        event_ids = await put(server.url, 10, mode=mode)
        await until(lambda: worker.stats().delivered == 20)
    assert collector.accepted.keys() >= set(event_ids)


async def test_whoever_cancels_its_tasks_stops_nothing(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    worker = worker_of(server, collector, mode, prefetch=100, sending={"max_batch": 20})
    async with working(worker):
        event_ids = []
        for _ in range(5):
            event_ids += await put(server.url, 100, mode=mode)
            await cancel_until_restarted(worker)
        await until(lambda: collector.accepted.keys() == set(event_ids))
        await until_in_redis(lambda: is_empty(rdb))


async def cancel_until_restarted(worker: RedisWorker) -> None:
    """Cancel all that the library has started, but for `run`; those of the last time may still be down."""
    restarts = worker.stats().restarts
    async with asyncio.timeout(30):
        while worker.stats().restarts == restarts:
            for task in internal_tasks():
                if "RedisWorker.run" not in repr(task):
                    task.cancel()
            await asyncio.sleep(0.005)


def wrapping(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    async def traced() -> Any:
        return await coroutine

    return asyncio.Task(traced(), loop=loop, **options)


def without_context(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop)


FACTORIES = {"wrapping": wrapping, "without context": without_context}
if sys.version_info >= (3, 12):
    FACTORIES["eager"] = asyncio.eager_task_factory


@pytest.mark.parametrize("factory", FACTORIES)
async def test_it_works_under_the_task_factories_of_instrumentation(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any, factory: str
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(FACTORIES[factory])
    try:
        event_ids = await put(server.url, 50, mode=mode)
        worker = worker_of(server, collector, mode)
        async with working(worker), HealthEndpoint(worker) as endpoint:
            await until(lambda: worker.stats().delivered == 50)
            await until_in_redis(lambda: is_empty(rdb))
            assert await head_of(endpoint, "/health") == b"HTTP/1.1 200 OK"
    finally:
        loop.set_task_factory(None)
    assert collector.accepted == dict.fromkeys(event_ids, 1)


async def head_of(endpoint: HealthEndpoint, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n")[0]


async def test_a_part_that_fails_again_and_again_is_one_line_and_makes_it_not_ready(
    server: RedisServer, collector: Collector, caplog: pytest.LogCaptureFixture, mode: Any
) -> None:
    worker = worker_of(server, collector, mode)
    failures = 0

    async def fail() -> None:
        nonlocal failures
        failures += 1
        raise RuntimeError("redis://:hunter2@cache:6379/0 is out of order")

    worker._store.maintain = fail  # type: ignore[method-assign]
    async with working(worker):
        await until(lambda: failures >= 3)
        assert not worker.is_ready
        assert "backing off (RuntimeError: redis://***@cache:6379/0 is out of order" in worker.summary
        assert worker.stats().restarts >= 3
    assert caplog.text.count("a part of the worker failed and starts again") == 1


async def test_a_foreign_entry_of_a_stream_is_shown_as_it_was(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    if mode == "list":
        await rdb.rpush("snowplow", b'["sku","9"]')
    else:
        await rdb.xadd("snowplow", {"sku": "9"})
    async with working(worker_of(server, collector, mode)):
        await until_in_redis(lambda: is_empty(rdb))
    assert [json.loads(letter["event"]) for letter in await dead_letters(rdb)] == [["sku", "9"]]


def test_wrong_arguments_are_named(mode: Any) -> None:
    emitter = sending("http://127.0.0.1:1")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"transport": "https://c"}, "transport: must be a Transport, or an emitter"),
        ({"mode": mode + "s"}, "mode: must be 'list' or 'stream'"),
        ({"client": 5}, "client: must be a client of redis.asyncio"),
        ({"key": ""}, "key: must be a string"),
        ({"takeover_after": 0}, "takeover_after: must be seconds, above 0"),
        ({"drain_timeout": -1}, "drain_timeout: must be seconds, at least 0"),
        ({"prefetch": 0}, "prefetch: must be a whole number from 1"),
        ({"max_dead": 0}, "max_dead: must be a whole number from 1"),
        ({"worker_id": "a b"}, "worker_id: must be up to 100 letters"),
        ({"name": ""}, "name: must be a non-empty string"),
        ({"batch_size": 5}, "batch_size: must be given to the emitter"),
        ({"retry": Retry()}, "retry: must be given to the emitter"),
        ({"hooks": [print]}, "hooks: must be given to the emitter"),
        ({"hooks": print}, "hooks: must be a sequence of functions"),
    ]
    for arguments, complaint in wrong:
        given: dict[str, Any] = {"transport": emitter, "mode": mode, **arguments}
        with pytest.raises(ConfigurationError) as caught:
            RedisWorker(**given)
        assert str(caught.value).startswith(complaint)


async def test_every_field_arrives_as_it_was_written(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    async with Tracker(RedisEmitter(server.url, mode=mode), app_id="größe") as tracker:
        await tracker.track(PageView(page_url="https://shop.example/ö"))
    (entry,) = await (rdb.lrange("snowplow", 0, -1) if mode == "list" else rdb.xrange("snowplow"))
    async with working(worker_of(server, collector, mode)):
        await until(lambda: collector.accepted)
    ((event,),) = [request.events for request in collector.requests]
    written = json.loads(entry if mode == "list" else entry[1][b"e"])
    assert {name: value for name, value in event.items() if name != "stm"} == written
