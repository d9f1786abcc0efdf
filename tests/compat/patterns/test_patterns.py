"""The patterns of the documentation, each as a process that ends the way such processes end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from snowplow_aio.micro import Micro
from tests.collector import Answer, running_collector
from tests.compat.examples.programs import ROOT, commands, running
from tests.compat.patterns.page import blocks, program
from tests.faults.programs import end_of, output_of, started
from tests.ports import held_port
from tests.redis.servers import RedisServer, proxy_to
from tests.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def micro() -> AsyncIterator[Micro]:
    async with Micro() as collector:
        yield collector


# --- a bot


async def test_a_second_interrupt_ends_the_bot_at_once_and_it_says_what_is_lost() -> None:
    play_chat, run_bot = commands("A bot")
    with held_port() as port:
        async with running_collector() as collector, proxy_to(port) as proxy:
            collector.rule = lambda _request: Answer(hangs=True)
            async with (
                running(play_chat, GATEWAY_PORT=str(port)) as gateway,
                running(run_bot, CHAT=f"http://127.0.0.1:{proxy.port}", COLLECTOR=collector.url) as bot,
            ):
                await gateway.says("All 30 commands are answered")
                bot.gets(signal.SIGINT)
                # The first one has been heard: it has left the chat. Two at once would be one.
                await until(lambda: proxy.connections == 0)
                # It has begun to send what is left, and would go on for five seconds.
                await collector.requested(1)
                assert await bot.ends(signal.SIGINT) == 0
    (line,) = [line for line in bot.lines if "30 events undelivered" in line]
    assert line.startswith("WARNING:snowplow_aio")


# --- a daemon


async def test_an_interrupted_daemon_sends_what_it_has_found(micro: Micro) -> None:
    (daemon,) = blocks("A daemon with aiohttp's client", micro.url)
    async with running_collector() as site:
        site.rule = lambda _request: Answer(204, is_processed=False)
        watch = f"asyncio.run(watch(['{site.url}/'], every=0))"
        async with started(program(daemon, watch)) as process:
            await site.requested(20)
            process.send_signal(signal.SIGINT)
            ended = await end_of(process)
    # The interrupt may have come between an answer and its event.
    assert len(site.requests) - 1 <= micro.counts()["good"] <= len(site.requests)
    assert micro.bad == []
    assert ended.code == -signal.SIGINT
    assert "undelivered" not in ended.said


# --- workers

TASKIQ_BROKER = "broker = InMemoryBroker()  # or yours"


async def test_a_taskiq_worker_sends_the_events_of_its_tasks_when_it_ends(
    micro: Micro, tmp_path: Path
) -> None:
    (tasks,) = blocks("A taskiq task", micro.url)
    assert TASKIQ_BROKER in tasks
    with RedisServer(tmp_path) as redis:
        tasks = tasks.replace(TASKIQ_BROKER, f"broker = ListBroker({redis.url!r})")
        module = tmp_path / "shop_jobs.py"
        module.write_text(program("from tests.compat.patterns.brokers import ListBroker", tasks))
        await send_jobs(tmp_path, TASKIQ_SENDER, count=30)
        command = "taskiq worker shop_jobs:broker --workers 1 --shutdown-timeout 10"
        async with running(command, PYTHONPATH=search_path(tmp_path)) as worker:
            for _ in range(30):
                await worker.says("Executing task ship")
            await worker.ends(signal.SIGTERM)
    labels = sorted(record["event"]["se_label"] for record in micro.good)
    assert labels == sorted(f"order-{number}" for number in range(30)), worker.output
    assert micro.bad == []


TASKIQ_SENDER = """
import sys
from shop_jobs import broker, ship

async def send():
    for number in range(int(sys.argv[1])):
        await ship.kiq(f"order-{number}")
    await broker.shutdown()

import asyncio
asyncio.run(send())
"""


async def send_jobs(folder: Path, sender: str, count: int) -> None:
    """Have the program *sender* send *count* of the jobs that the module in *folder* has."""
    module = f"import sys\nsys.path.insert(0, {str(folder)!r})\n"
    assert await output_of(module + sender, str(count)) == []


def search_path(folder: Path) -> str:
    """Return where a process finds modules in *folder*, and what this one finds."""
    return os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])


ARQ_SENDER = """
import asyncio, sys
from arq import create_pool
from shop_jobs import WorkerSettings

async def send():
    pool = await create_pool(WorkerSettings.redis_settings)
    for number in range(int(sys.argv[1])):
        await pool.enqueue_job("ship_order", f"order-{number}")
    await pool.aclose()

asyncio.run(send())
"""


async def test_an_arq_worker_sends_the_events_of_its_jobs_when_it_ends(micro: Micro, tmp_path: Path) -> None:
    # It asks for an older redis-py than Celery does: where it is installed, the tests of Celery are not run.
    pytest.importorskip("arq")
    (jobs,) = blocks("An arq task", micro.url)
    with RedisServer(tmp_path) as redis:
        settings = f"WorkerSettings.redis_settings = RedisSettings.from_dsn({redis.url!r})"
        module = tmp_path / "shop_jobs.py"
        module.write_text(program("from arq.connections import RedisSettings", jobs, settings))
        await send_jobs(tmp_path, ARQ_SENDER, count=30)
        async with running("arq shop_jobs.WorkerSettings", PYTHONPATH=search_path(tmp_path)) as worker:
            for _ in range(30):
                await worker.says("ship_order ●")
            await worker.ends(signal.SIGTERM)
    labels = sorted(record["event"]["se_label"] for record in micro.good)
    assert labels == sorted(f"order-{number}" for number in range(30)), worker.output
    assert micro.bad == []


# --- a pytest suite


async def test_the_fixtures_of_the_page_are_a_suite_that_passes(tmp_path: Path) -> None:
    fixtures, tests = blocks("A pytest suite")
    imported = "from snowplow_aio import Tracker\n"
    (tmp_path / "conftest.py").write_text(imported + fixtures)
    (tmp_path / "test_shop.py").write_text(
        program("import pytest\nfrom snowplow_aio import MemoryEmitter", tests)
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    # Nothing is needed but what comes with the library.
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "anyio.pytest_plugin"]
    ended = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert ended.stdout.splitlines()[-1].startswith("2 passed"), ended.stdout


# --- a notebook

# Runs cells as a kernel does: in a loop that runs all the time, and that is stopped and left at the end.
KERNEL = """
import ast, asyncio, inspect, json, sys

cells = json.loads(sys.argv[1])
namespace = {"__name__": "__main__"}
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)

async def execute(cell):
    code = compile(cell, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if inspect.isawaitable(result := eval(code, namespace)):
        await result

async def execute_all():
    for cell in cells:
        await execute(cell)
    loop.stop()

running = loop.create_task(execute_all())
loop.run_forever()
running.result()
print("the kernel ends", flush=True)
"""


async def run_notebook(*cells: str) -> str:
    """Run *cells* in a kernel until it has ended by itself; return what it said on standard error."""
    async with started(KERNEL, json.dumps(cells)) as process:
        ended = await end_of(process)
    assert (ended.code, ended.printed) == (0, ["the kernel ends"])
    return ended.said


async def test_a_cell_that_flushes_leaves_nothing_to_the_end_of_the_kernel(micro: Micro) -> None:
    make, track, _ = blocks("A notebook", micro.url)
    said = await run_notebook(program(make), track)
    assert micro.counts() == {"total": 3, "good": 3, "bad": 0}
    assert "undelivered" not in said


async def test_what_cells_did_not_flush_is_sent_when_the_kernel_ends(micro: Micro) -> None:
    make, track, close_at_exit = blocks("A notebook", micro.url)
    track = track.partition("(await tracker.flush")[0]
    said = await run_notebook(program(make), close_at_exit, track)
    assert micro.counts() == {"total": 3, "good": 3, "bad": 0}
    assert "undelivered" not in said


async def test_without_the_two_it_is_sent_when_the_kernel_ends_too(micro: Micro) -> None:
    make, track, _ = blocks("A notebook", micro.url)
    said = await run_notebook(program(make), track.partition("(await tracker.flush")[0])
    assert micro.counts() == {"total": 3, "good": 3, "bad": 0}
    assert "undelivered" not in said
