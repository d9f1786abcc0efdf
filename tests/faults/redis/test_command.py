"""The command `snowplow-aio worker`, run as operators run it: started, told to stop, killed."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from snowplow_aio.cli.main import main
from snowplow_aio.settings import Settings
from tests.collector import OK, Answer, Collector, running_collector
from tests.redis.reading import stored_ids
from tests.redis.servers import RedisServer
from tests.redis.working import Command, command, command_with_files, left, put, until_in_redis
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio

MODES = ["list", "stream"]


@pytest.fixture
async def collector() -> AsyncGenerator[Collector, None]:
    async with running_collector() as running:
        yield running


def options(server: RedisServer, collector: Collector, *more: str) -> tuple[str, ...]:
    return ("--redis-url", server.url, "--key", "snowplow", "--collector", collector.url, *more)


@pytest.mark.usefixtures("time_to_tidy_up")
@pytest.mark.parametrize("signum", [signal.SIGINT, *scale([], [signal.SIGTERM])])
async def test_a_signal_ends_it_with_0_when_what_it_holds_is_delivered(
    server: RedisServer, rdb: Any, collector: Collector, signum: signal.Signals
) -> None:
    event_ids = await put(server.url, 100)
    async with command(*options(server, collector)) as worker:
        await collector.requested(1)
        worker.process.send_signal(signum)
        code, log = await worker.ended()
    assert code == 0
    assert seconds_between("worker: stopping", "worker: stopped", log) < 5
    assert collector.accepted.keys() | set(await stored_ids(rdb)) == set(event_ids)
    assert collector.accepted
    assert set(collector.accepted.values()) == {1}
    assert set(await rdb.keys()) <= {b"snowplow"}
    assert "INFO snowplow_aio.redis: worker: started as" in log
    assert "worker: stopped; " in log
    assert "Traceback" not in log


@pytest.mark.usefixtures("time_to_tidy_up")
@pytest.mark.parametrize("mode", scale(["list"], MODES))
async def test_what_cannot_be_delivered_in_the_drain_time_is_given_back(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    event_ids = await put(server.url, 100, mode=mode)
    async with command(*options(server, collector, "--mode", mode, "--drain-timeout", "1")) as worker:
        await collector.requested(1)
        worker.process.terminate()
        code, log = await worker.ended()
    # By default it would try for five seconds; a busy machine takes its time for the rest.
    assert seconds_between("worker: stopping", "worker: stopped", log) < 4
    assert code == 0
    assert "gave 100 events back" in log
    assert await stored_ids(rdb) == event_ids
    assert set(await rdb.keys()) == {b"snowplow"}


def seconds_between(first: str, second: str, log: str) -> float:
    """Return the time from one line of *log* to another one."""
    times = [
        datetime.fromisoformat(line[:23].replace(",", "."))
        for text in (first, second)
        for line in log.splitlines()
        if text in line
    ]
    assert len(times) == 2, log
    return (times[1] - times[0]).total_seconds()


@pytest.mark.parametrize("mode", scale(["stream"], MODES))
async def test_a_second_signal_ends_it_at_once_and_loses_nothing(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    collector.rule = lambda _request: Answer(hangs=True)
    event_ids = await put(server.url, 100, mode=mode)
    flags = options(server, collector, "--mode", mode, "--takeover-after", "0.5")
    async with command(*flags, "--drain-timeout", "600") as worker:
        await collector.requested(1)
        worker.process.terminate()
        await until_stopping(worker)
        worker.process.send_signal(signal.SIGINT)
        started = time.monotonic()
        code, _ = await worker.ended()
        assert time.monotonic() - started < 10
    assert code == 128 + signal.SIGINT
    assert await left(rdb) == 100
    collector.rule = lambda _request: OK
    async with command(*flags):
        await until(lambda: collector.accepted.keys() == set(event_ids))


async def until_stopping(worker: Command) -> None:
    assert worker.process.stderr is not None
    async with asyncio.timeout(20):
        while b"worker: stopping" not in await worker.process.stderr.readline():
            pass


@pytest.mark.usefixtures("time_to_tidy_up")
@pytest.mark.parametrize("mode", MODES)
async def test_what_a_killed_worker_held_is_taken_over_in_the_configured_time(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    """The one that takes over is there already, and has nothing else to do."""
    collector.rule = lambda _request: Answer(hangs=True)
    event_ids = await put(server.url, 700, mode=mode)
    flags = options(server, collector, "--mode", mode, "--takeover-after", "1")
    async with command(*flags) as first:
        await collector.requested(1)
        await until_in_redis(lambda: holds(rdb, mode, 700))
        async with command(*flags, "--health-port", "0") as second:
            port = int((await second.line()).rpartition(":")[2].partition("/")[0])
            await until_ready(port)
            collector.rule = lambda _request: OK
            first.process.kill()
            killed = time.monotonic()
            await until(lambda: collector.accepted.keys() == set(event_ids))
            # Dead one second after its last sign of life, of which it gives three in that time; found out
            # at the next sign of life of the other.
            assert 0.6 < time.monotonic() - killed < 10
            assert await number(port, "taken_over_total") == 700
            await until_in_redis(lambda: holds(rdb, mode, 0))
            # The next round finds nothing more of the dead worker, and forgets it.
            await until_in_redis(lambda: is_alone(rdb))
            second.process.terminate()
            assert (await second.ended())[0] == 0
    assert await left(rdb) == 0
    # Nothing is left of either of them, but for the stream.
    assert set(await rdb.keys()) <= {b"snowplow"}


async def holds(rdb: Any, mode: str, count: int) -> bool:
    """Return whether workers hold *count* events."""
    if mode == "stream":
        return bool((await rdb.xpending("snowplow", "snowplow"))["pending"] == count)
    return bool(await left(rdb) - await rdb.llen("snowplow") == count)


async def is_alone(rdb: Any) -> bool:
    """Return whether one worker is known."""
    return bool(await rdb.zcard("{snowplow}:workers") == 1)


async def until_ready(port: int) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{port}/ready") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.02)


async def number(port: int, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        found = re.search(rf"(?m)^snowplow_worker_{name} (\S+)$", await answer.text())
    assert found is not None
    return float(found[1])


async def test_a_health_endpoint_on_a_port_of_choice(server: RedisServer, collector: Collector) -> None:
    async with command(*options(server, collector, "--health-port", "0")) as worker:
        line = await worker.line()
        match = re.fullmatch(r"Health: http://127\.0\.0\.1:(\d+)/health", line)
        assert match is not None, line
        await until_ready(int(match[1]))
        assert await number(int(match[1]), "ready") == 1
        worker.process.terminate()
        assert (await worker.ended())[0] == 0


async def test_silent_connections_to_the_health_endpoint_keep_no_event_from_being_delivered(
    server: RedisServer, collector: Collector
) -> None:
    flags = options(server, collector, "--health-port", "0")
    async with command_with_files(64, *flags) as worker, AsyncExitStack() as stack:
        port = int((await worker.line()).rpartition(":")[2].partition("/")[0])
        connecting = [asyncio.open_connection("127.0.0.1", port) for _ in range(185)]
        for _, writer in await asyncio.gather(*connecting):
            stack.callback(writer.close)
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        event_ids = await put(server.url, 500)
        await until(lambda: collector.accepted.keys() == set(event_ids))
        # And whoever looks after it gets an answer.
        await until_ready(port)
        worker.process.terminate()
        code, log = await worker.ended()
    assert code == 0
    assert log.count("connections were closed without an answer") == 1
    assert len(log) < 5_000


async def test_the_environment_says_what_arguments_do_not(
    server: RedisServer, rdb: Any, collector: Collector
) -> None:
    event_ids = await put(server.url, 3, "events", mode="stream")
    variables = {
        "SNOWPLOW_REDIS_URL": server.url,
        "SNOWPLOW_REDIS_KEY": "other",
        "SNOWPLOW_REDIS_MODE": "stream",
        "SNOWPLOW_COLLECTOR": collector.url,
        "SNOWPLOW_METHOD": "get",
    }
    async with command("--key", "events", **variables):
        await until(lambda: collector.accepted.keys() == set(event_ids))
    assert {request.method for request in collector.requests} == {"GET"}


async def test_a_redis_that_comes_later_is_waited_for(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    async with command(*options(server, collector)) as worker:
        assert worker.process.stderr is not None
        async with asyncio.timeout(20):
            while b"WARNING snowplow_aio.redis" not in await worker.process.stderr.readline():
                pass
        with server:
            event_ids = await put(server.url, 3)
            await until(lambda: collector.accepted.keys() == set(event_ids))
            worker.process.terminate()
            assert (await worker.ended())[0] == 0


@pytest.mark.parametrize(
    ("flags", "code", "complaint"),
    [
        ([], 1, "snowplow-aio worker: collector: must be given, as --collector or SNOWPLOW_COLLECTOR"),
        (["--collector", "ftp://c"], 1, "snowplow-aio worker: endpoint: must be"),
        (["--collector", "c", "--redis-url", "redis:/hush"], 1, "snowplow-aio worker: client: must be a URL"),
        (
            ["--collector", "c", "--redis-url", "redis://:hush@h:0"],
            1,
            "snowplow-aio worker: client: must be a URL",
        ),
        (
            ["--collector", "c", "--redis-url", "redis://h/name"],
            1,
            "snowplow-aio worker: client: must be a URL",
        ),
        (["--collector", "c", "--key", "a}b"], 1, "snowplow-aio worker: key: must be a string"),
        (["--collector", "c", "--takeover-after", "-1"], 1, "snowplow-aio worker: takeover_after: must be"),
        (
            ["--collector", "c", "--health-port", "x"],
            2,
            "snowplow-aio worker: error: argument --health-port: must be a port from 0 to 65535, got 'x'",
        ),
        (
            ["--collector", "c", "--mode", "set"],
            2,
            "snowplow-aio worker: error: argument --mode: invalid choice: 'set'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    code: int,
    complaint: str,
) -> None:
    monkeypatch.delenv("SNOWPLOW_COLLECTOR", raising=False)
    assert said(code, flags, capsys).startswith(complaint)


def said(code: int, flags: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command with *flags*, which ends with *code*; return its last line."""
    if code == 2:
        with pytest.raises(SystemExit, match="2"):
            main(["worker", *flags])
    else:
        assert main(["worker", *flags]) == code
    output, errors = capsys.readouterr()
    assert output == ""
    assert code == 2 or errors.count("\n") == 1
    assert "hush" not in errors
    return errors.splitlines()[-1]


def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SNOWPLOW_TAKEOVER_AFTER", "soon")
    line = said(1, ["--collector", "c"], capsys)
    assert line.startswith("snowplow-aio worker: SNOWPLOW_TAKEOVER_AFTER: must be seconds, above 0")


async def test_a_port_in_use_is_one_line_and_1(server: RedisServer, collector: Collector) -> None:
    async with command(*options(server, collector, "--health-port", str(server.port))) as worker:
        status, line = await worker.ended()
    assert (status, line.count("\n")) == (1, 1)
    assert line.startswith(f"snowplow-aio worker: cannot listen on 127.0.0.1:{server.port}: ")


def test_every_option_and_its_variable_are_in_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["worker", "--help"])
    guide = (Path(__file__).parents[3] / "docs" / "howto" / "deploy-workers.md").read_text("utf-8")
    rows = dict(re.findall(r"(?m)^\| `(--[a-z-]+)` \| `(SNOWPLOW_[A-Z_]+)` \|", guide))
    assert rows.keys() == set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    names = {field.name.upper() for field in dataclasses.fields(Settings)}
    assert {variable.removeprefix("SNOWPLOW_") for variable in rows.values()} == {
        name for name in names if not name.startswith("CELERY")
    }
