"""
An account without a right, and a key of another type: nothing is lost, and the error says which it is.

Each command of each script is denied, and each key is given another type, before and while events are on
their way; then it is put right. On each server that is on this machine.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis.asyncio

from snowplow_aio import PageView, RedisEmitter, StructuredEvent, Tracker
from snowplow_aio.abc import Response, Transport
from snowplow_aio.model.payload import Payload
from snowplow_aio.redis import list_store, stream_store, writer
from snowplow_aio.redis.held import HeldEvents
from snowplow_aio.redis.scripts import Script
from snowplow_aio.redis.worker import RedisWorker, store_class
from tests.redis.reading import QUICK, stored_ids
from tests.redis.servers import RedisServer, server_programs
from tests.redis.working import dead_letters, left, until_in_redis
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio

PROGRAMS = server_programs()
MODES = ["list", "stream"]

# Only a worker that gives events back to a stream needs it.
NEEDED_AT_THE_END = {"XADD"}

PAGE = PageView(page_url="https://shop.example/")
REFUSED = StructuredEvent(category="a", action="refused")


@pytest.fixture(scope="module", params=["valkey", "redis 6.2", "system", "redis 8"])
def one_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    if request.param not in PROGRAMS:
        pytest.skip(f"there is no such server on this machine: {request.param}")
    with RedisServer(tmp_path_factory.mktemp("redis"), program=PROGRAMS[request.param]) as running:
        yield running


@pytest.fixture
async def rdb(one_server: RedisServer) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis(port=one_server.port) as client:
        await client.flushall()
        yield client


class Collector(Transport):
    """Takes page views and refuses others. It waits before it answers if it is told to."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def send(self, payloads: Sequence[Payload]) -> Response:
        self.asked.set()
        await self.answers.wait()
        events = [payload.fields() for payload in payloads]
        if any(event["e"] == "se" for event in events):
            return Response(status=400)
        self.taken.update(event["eid"] for event in events)
        return Response(status=200)


T = TypeVar("T")


def part_for(server: RedisServer, items: Sequence[T]) -> Sequence[T]:
    """Return the *items* that *server* plays: all in a full run, else every server another part of them."""
    programs = list(PROGRAMS.values())
    return scale(items[programs.index(server.program) :: len(programs)], items)


def commands_of(module: Any) -> frozenset[str]:
    """Return the commands of all scripts of *module*."""
    scripts = [value for value in vars(module).values() if isinstance(value, Script)]
    return frozenset[str]().union(*(script.commands for script in scripts))


@dataclass
class Fault:
    """
    Something that is wrong with a Redis, for one key.

    Args:
        name: What an error must name: a command or a key.

        begin: Has it begin.

        end: Puts it right.
    """

    name: str
    begin: Callable[[], Any]
    end: Callable[[], Any]


async def account(rdb: Any, name: str, *rights: str) -> None:
    await rdb.execute_command("ACL", "SETUSER", name, "on", "nopass", *rights)


async def denied(rdb: Any, user: str, command: str) -> Fault:
    await account(rdb, user, "+@all", "~*")
    right = command.lower()
    return Fault(
        command,
        lambda: account(rdb, user, f"-{right}"),
        lambda: account(rdb, user, f"+{right}"),
    )


async def of_another_type(rdb: Any, user: str, key: str) -> Fault:
    await account(rdb, user, "+@all", "~*")

    # In one step: what is stored between two of them would be lost.
    async def begin() -> None:
        async with rdb.pipeline(transaction=True) as steps:
            if await rdb.exists(key):
                steps.rename(key, f"aside:{key}")
            await steps.set(key, "something else").execute()

    async def end() -> None:
        if await rdb.exists(f"aside:{key}"):
            await rdb.rename(f"aside:{key}", key)
        else:
            await rdb.delete(key)

    return Fault(key, begin, end)


def url_of(server: RedisServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:any@")


# --- a worker


@asynccontextmanager
async def running(worker: RedisWorker) -> AsyncGenerator[RedisWorker, None]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def queue(server: RedisServer, rdb: Any, key: str, mode: Any) -> tuple[list[str], str]:
    """Fill a queue: good events, one that is refused, one that is none, and some that a dead worker held."""
    held = 0

    def taken(count: int) -> int:
        nonlocal held
        held += count
        return 0

    async with Tracker(RedisEmitter(server.url, key, mode=mode, retry=QUICK)) as tracker:
        good = [await tracker.track(PAGE) for _ in range(3)]
        await tracker.flush()
        dead = store_class(mode)(server.url, key, worker_id="dead")
        dead.take_for(taken, lambda _count: None)
        await dead.wait(count=3, size=1e9, timeout=10)
        assert held == 3
        await dead.aclose()
        good += [await tracker.track(PAGE) for _ in range(3)]
        refused = await tracker.track(REFUSED)
        good += [await tracker.track(PAGE) for _ in range(3)]
    await (rdb.rpush(key, b"no event") if mode == "list" else rdb.xadd(key, {"e": b"no event"}))
    return good, refused


def worker_with(collector: Collector, url: str, key: str, mode: Any, **options: Any) -> RedisWorker:
    settings: dict[str, Any] = {"takeover_after": 0.3, "drain_timeout": 0.2, **options}
    return RedisWorker(
        collector, client=url, key=key, mode=mode, retry=QUICK, flush_interval=0.01, batch_size=1, **settings
    )


async def settled(rdb: Any, key: str, collector: Collector, good: Sequence[str]) -> bool:
    letters = await dead_letters(rdb, f"{{{key}}}:dead")
    return collector.taken.keys() == set(good) and len(letters) >= 2 and not await left(rdb, key)


async def outlived(server: RedisServer, rdb: Any, key: str, *, mode: Any, fault: Fault, when: str) -> bool:
    """Have a worker meet *fault*, and another one work after it; return whether the first has named it."""
    collector = Collector()
    good, refused = await queue(server, rdb, key, mode)
    worker = worker_with(collector, url_of(server, key), key, mode, worker_id="first")

    def is_named() -> bool:
        stats = worker.stats()
        if stats.state != "misconfigured" or fault.name not in str(stats.last_error):
            return False
        assert not worker.is_ready
        assert worker.summary.startswith("misconfigured (Redis: ")
        return True

    if when == "before":
        await fault.begin()
        async with running(worker):
            named = await comes(is_named, seconds=1 if fault.name in NEEDED_AT_THE_END else 30)
    else:
        collector.answers.clear()
        async with running(worker):
            await collector.asked.wait()
            await fault.begin()
            if when == "meanwhile":
                collector.answers.set()
                named = await comes(is_named, seconds=1)
            else:
                named = True
        collector.answers.set()
    await fault.end()
    async with running(worker_with(collector, server.url, key, mode)):
        await until_in_redis(lambda: settled(rdb, key, collector, good))
    letters = [letter["event"] for letter in await dead_letters(rdb, f"{{{key}}}:dead")]
    assert collector.taken.keys() == set(good)
    # Once more for each worker that held it before: the dead one and the first.
    assert max(collector.taken.values()) <= 3, collector.taken
    said = sorted(letter if isinstance(letter, str) else letter["eid"] for letter in letters)
    assert said == sorted(["no event", refused])
    return named


async def comes(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Wait for *condition*; return whether it has come within *seconds*."""
    try:
        await until(condition, seconds=seconds)
    except AssertionError:
        return False
    return True


async def all_outlived(faults: Sequence[tuple[str, Any]]) -> dict[str, bool]:
    """Run all of *faults* at once; return which were named."""
    done = await asyncio.gather(*(work for _, work in faults), return_exceptions=True)
    failed = [
        (name, result) for (name, _), result in zip(faults, done, strict=True) if result not in (True, False)
    ]
    assert not failed, failed
    return {name: bool(named) for (name, _), named in zip(faults, done, strict=True)}


WORKERS_COMMANDS = {
    "list": sorted(commands_of(list_store) | {"EVALSHA"}),
    "stream": sorted(commands_of(stream_store) | {"EVALSHA"}),
}


WHEN = scale(["before"], ["before", "meanwhile", "at the end"])


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("mode", MODES)
async def test_a_worker_without_a_right_names_it_and_loses_nothing(
    one_server: RedisServer, rdb: Any, mode: Any, when: str
) -> None:
    faults = []
    for command in part_for(one_server, WORKERS_COMMANDS[mode]):
        key = f"k-{command}"
        fault = await denied(rdb, key, command)
        faults.append((command, outlived(one_server, rdb, key, mode=mode, fault=fault, when=when)))
    named = await all_outlived(faults)
    if when == "before":
        assert {command for command, is_named in named.items() if not is_named} <= NEEDED_AT_THE_END


@pytest.mark.parametrize("mode", MODES)
async def test_a_worker_with_a_key_of_another_type_names_it_and_loses_nothing(
    one_server: RedisServer, rdb: Any, mode: Any
) -> None:
    faults = []
    keys = ["key", "workers_key", "dead_letters_key", *(["processing_key"] if mode == "list" else [])]
    for which, when in part_for(one_server, list(itertools.product(keys, ["before", "meanwhile"]))):
        key = f"k-{which}-{when}"
        wrong = getattr(HeldEvents(key, "first", anonymous=False), which)
        fault = await of_another_type(rdb, key, wrong)
        faults.append((key, outlived(one_server, rdb, key, mode=mode, fault=fault, when=when)))
    assert {name for name, is_named in (await all_outlived(faults)).items() if not is_named} == set()


# --- an emitter


EMITTERS: dict[str, dict[str, Any]] = {
    "with": {"deduplicate": True},
    "without": {"deduplicate": False},
}
EMITTERS_COMMANDS = {
    ("list", "with"): sorted(writer._PUSHES["list"].commands | {"EVALSHA"}),
    ("list", "without"): ["LLEN", "RPUSH"],
    ("stream", "with"): sorted(writer._PUSHES["stream"].commands | {"EVALSHA"}),
    ("stream", "without"): ["XLEN", "XADD", "MULTI", "EXEC"],
}


async def handed_over(server: RedisServer, rdb: Any, key: str, fault: Fault, **options: Any) -> None:
    """Have an emitter meet *fault*, name it, and hand over everything once it is over."""
    emitter = RedisEmitter(url_of(server, key), key, retry=QUICK, max_length=1_000, **options)
    async with Tracker(emitter) as tracker:
        event_ids = [await tracker.track(PAGE) for _ in range(3)]
        await tracker.flush()
        await fault.begin()
        event_ids += [await tracker.track(PAGE) for _ in range(3)]
        await tracker.flush(wait=False)
        await until(lambda: emitter.stats().state == "misconfigured")
        health = tracker.health()
        assert not health
        assert "misconfigured" in health.summary
        assert fault.name.lower() in health.summary.lower(), health.summary
        assert "shop.example" not in health.summary
        await fault.end()
        assert (await tracker.flush(30)).pending == 0
        assert emitter.stats().rejected == emitter.stats().dropped == {}
    stored = Counter(await stored_ids(rdb, key))
    assert stored.keys() == set(event_ids)
    # The first batch after the right to MULTI was taken away is executed without it.
    assert max(stored.values()) <= (2 if fault.name == "MULTI" else 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", EMITTERS)
async def test_an_emitter_without_a_right_names_it_and_stores_each_event_once(
    one_server: RedisServer, rdb: Any, mode: Any, kind: str
) -> None:
    faults = []
    for command in EMITTERS_COMMANDS[mode, kind]:
        key = f"k-{command}"
        fault = await denied(rdb, key, command)
        faults.append(handed_over(one_server, rdb, key, fault, mode=mode, **EMITTERS[kind]))
    await asyncio.gather(*faults)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", EMITTERS)
async def test_an_emitter_with_a_key_of_another_type_names_it_and_stores_each_event_once(
    one_server: RedisServer, rdb: Any, mode: Any, kind: str
) -> None:
    fault = await of_another_type(rdb, "queue", "queue")
    await handed_over(one_server, rdb, "queue", fault, mode=mode, **EMITTERS[kind])


async def test_a_fence_of_another_type_is_named_and_each_event_is_stored_once(
    one_server: RedisServer, rdb: Any
) -> None:
    await account(rdb, "queue", "+@all", "~*")
    emitter = RedisEmitter(url_of(one_server, "queue"), "queue", retry=QUICK)
    async with Tracker(emitter) as tracker:
        event_ids = [await tracker.track(PAGE)]
        await tracker.flush()
        (fence,) = await rdb.keys("*fence*")
        fault = await of_another_type(rdb, "queue", fence.decode())
        await fault.begin()
        event_ids.append(await tracker.track(PAGE))
        await tracker.flush(wait=False)
        await until(lambda: emitter.stats().state == "misconfigured")
        assert fence.decode() in tracker.health().summary
        await fault.end()
        assert (await tracker.flush(30)).pending == 0
    assert await stored_ids(rdb, "queue") == event_ids


@pytest.mark.parametrize("mode", MODES)
async def test_an_account_that_may_not_use_a_key_is_told_which(
    one_server: RedisServer, rdb: Any, mode: Any
) -> None:
    await account(rdb, "shop", "+@all", "~queue")
    collector = Collector()
    await queue(one_server, rdb, "queue", mode)
    async with running(worker_with(collector, url_of(one_server, "shop"), "queue", mode)) as worker:
        await until(lambda: worker.stats().state == "misconfigured")
        assert "{queue}:" in str(worker.stats().last_error)


GUIDE = (Path(__file__).parents[2] / "docs" / "howto" / "redis.md").read_text("utf-8")
RIGHTS = dict(re.findall(r"(?m)^\| ((?:emitter|worker)[^|]*?) \| (.*\+[a-z].*) \|$", GUIDE))


@pytest.mark.parametrize("mode", MODES)
async def test_the_rights_in_the_guide_are_enough(one_server: RedisServer, rdb: Any, mode: Any) -> None:
    keys = ("~snowplow*", "~{snowplow*")
    emitters, without = RIGHTS["emitter"], RIGHTS["emitter, `deduplicate=False`"]
    for name, text in (
        ("emitter", emitters),
        ("without", without),
        ("worker", RIGHTS[f"worker of a {mode}"]),
    ):
        await account(rdb, name, *keys, *re.findall(r"\+[a-z]+", text))
    collector, event_ids = Collector(), []
    for name in ("emitter", "without"):
        emitter = RedisEmitter(
            url_of(one_server, name), mode=mode, deduplicate=name == "emitter", max_length=99
        )
        async with Tracker(emitter) as tracker:
            event_ids += [await tracker.track(PAGE) for _ in range(5)]
            await tracker.track(REFUSED)
            assert (await tracker.flush(30)).delivered == 6
    async with running(worker_with(collector, url_of(one_server, "worker"), "snowplow", mode)) as worker:
        await until_in_redis(lambda: settled(rdb, "snowplow", collector, event_ids))
        await until(lambda: worker.is_ready)
    assert len(await dead_letters(rdb)) == 2


# --- a server whose memory is full


@pytest.mark.parametrize("mode", MODES)
async def test_a_server_whose_memory_is_full_can_be_emptied(
    one_server: RedisServer, rdb: Any, mode: Any
) -> None:
    collector = Collector()
    good, _ = await queue(one_server, rdb, "queue", mode)
    await rdb.config_set("maxmemory", 1)
    try:
        async with running(worker_with(collector, one_server.url, "queue", mode)) as worker:
            await until_in_redis(lambda: settled(rdb, "queue", collector, good))
            await until(lambda: worker.is_ready)
    finally:
        await rdb.config_set("maxmemory", 0)
    assert len(await dead_letters(rdb, "{queue}:dead")) == 2
