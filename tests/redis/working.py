"""Workers for tests: in this process, and as the command in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from snowplow_aio import HttpEmitter, RedisEmitter, Tracker
from snowplow_aio.redis.worker import RedisWorker
from tests.collector import Collector
from tests.faults.conftest import missing
from tests.redis.reading import PAGE, QUICK
from tests.waiting import until

_PATIENCE_SECONDS = 30.0


async def until_delivered(worker: RedisWorker, count: int) -> None:
    """Wait until *worker* has delivered *count* events."""
    await until(lambda: worker.stats().delivered >= count)


async def until_in_redis(condition: Callable[[], Any]) -> None:
    """Wait until what *condition* returns, once it is awaited, holds."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)


def sending(collector: Collector | str, **options: Any) -> HttpEmitter:
    """Return an emitter, quicker than an application's, for a worker to send with."""
    url = collector if isinstance(collector, str) else collector.url
    settings: dict[str, Any] = {"retry": QUICK, "flush_interval": 0.02, **options}
    return HttpEmitter(url, **settings)


@asynccontextmanager
async def working(worker: RedisWorker) -> AsyncGenerator[RedisWorker, None]:
    """Run *worker* while the context is open, then stop it; all the while it counts right."""
    running = asyncio.create_task(worker.run())

    async def watch() -> None:
        while True:
            assert missing(worker) == 0
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    try:
        yield worker
    finally:
        worker.stop()
        await running
        watching.cancel()
        await asyncio.wait([watching])
    assert watching.cancelled()


async def put(url: str, count: int, key: str = "snowplow", **options: Any) -> list[str]:
    """Have an emitter put *count* events into Redis; return their ids."""
    emitter = RedisEmitter(url, key, retry=QUICK, **options)
    async with Tracker(emitter) as tracker:
        event_ids = [tracker.track_nowait(PAGE) for _ in range(count)]
        assert (await tracker.flush(_PATIENCE_SECONDS)).delivered == count
    return event_ids


async def dead_letters(rdb: Any, key: str = "{snowplow}:dead") -> list[dict[str, Any]]:
    """Return what stands in the dead-letter list."""
    return [json.loads(letter) for letter in await rdb.lrange(key, 0, -1)]


async def left(rdb: Any, key: str = "snowplow") -> int:
    """Return how many events wait in *key*, or are held by workers."""
    if await rdb.type(key) in (b"stream", "stream"):
        return int(await rdb.xlen(key))
    held = 0
    async for processing in rdb.scan_iter(f"{{{key}}}:processing:*"):
        held += await rdb.hlen(processing)
    return int(await rdb.llen(key)) + held


class Command:
    """
    ``snowplow-aio worker`` in a process of its own.

    Attributes:
        process: The process.
    """

    def __init__(self, process: Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def ended(self) -> tuple[int | None, str]:
        """Wait for its end; return its exit status, and what it has logged."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            _, errors = await self.process.communicate()
        return self.process.returncode, errors.decode()


@asynccontextmanager
async def command(*options: str, **variables: str) -> AsyncGenerator[Command, None]:
    """Run the command with *options* while the context is open, then kill it."""
    async with kept(await started(*options, variables=variables)) as running:
        yield running


@asynccontextmanager
async def command_with_files(files: int, *options: str) -> AsyncGenerator[Command, None]:
    """Do the same with a command that may have *files* open at a time."""
    async with kept(await started(*options, files=files)) as running:
        yield running


@asynccontextmanager
async def kept(process: Process) -> AsyncGenerator[Command, None]:
    """Kill *process* when the context ends."""
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def started(
    *options: str,
    quiet: bool = False,
    variables: Mapping[str, str] | None = None,
    files: int | None = None,
) -> Process:
    """Start the command, which may open so many *files*; where it is *quiet* nobody reads what it says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SNOWPLOW_")}
    program: Sequence[str] = [sys.executable, "-m", "snowplow_aio.cli.main", "worker", *options]
    if files is not None:
        program = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *program]
    pipe = asyncio.subprocess.DEVNULL if quiet else PIPE
    return await asyncio.create_subprocess_exec(
        *program, stdout=pipe, stderr=pipe, env=kept | dict(variables or {})
    )
