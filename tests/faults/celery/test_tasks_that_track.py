"""Events that Celery tasks track are sent before their worker ends."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from celery import Celery
from redis.asyncio import Redis

from snowplow_aio.micro import Micro
from tests.compat.examples.programs import ROOT, Program, collecting, commands, running
from tests.redis.servers import RedisServer
from tests.scale import scale

pytestmark = pytest.mark.anyio


async def end(worker: Program, broker: RedisServer, tasks: int) -> None:
    """Wait until *worker* has run a number of *tasks*, and end it."""
    for _ in range(tasks):
        await worker.says("ship.* succeeded")
    async with Redis.from_url(broker.url) as client, asyncio.timeout(40):
        # A pool process that is told to end waits half a minute for its parent to read the last result.
        while await client.exists("unacked"):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.01)
    assert await worker.ends(signal.SIGTERM) == 0, worker.output


async def test_the_example_loses_nothing_and_its_event_has_the_id_of_the_task(broker: RedisServer) -> None:
    run_worker, call = commands("A Celery worker")
    async with collecting() as collector:
        async with running(run_worker, BROKER=broker.url, COLLECTOR=collector.url) as worker:
            async with running(call, BROKER=broker.url) as caller:
                task_id = (await caller.says(r"^([0-9a-f-]{36})$"))[1]
                assert await caller.ends() == 0, caller.output
            await end(worker, broker, tasks=1)
        (event,) = await collector.good()
    assert (event["se_label"], event["user_id"], event["app_id"]) == ("order-1", "ada", "shop-jobs")
    assert event["event_id"] == task_id


@pytest.mark.parametrize("pool", ["prefork", "threads", *scale([], ["solo"])])
async def test_in_every_pool_the_end_of_the_worker_sends_what_its_tasks_tracked(
    broker: RedisServer, tmp_path: Path, pool: str
) -> None:
    module = (ROOT / "docs" / "examples" / "worker.py").read_text("utf-8")
    # Without a timer: only the end of the worker can send the events.
    module = module.replace("HttpEmitter(COLLECTOR)", "HttpEmitter(COLLECTOR, flush_interval=None)")
    if pool != "prefork":
        module = module.replace("worker_process_", "worker_")
    (tmp_path / "worker.py").write_text(module)
    run_worker, _ = commands("A Celery worker")
    run_worker = run_worker.replace("docs/examples", str(tmp_path))
    app = Celery(broker=broker.url, set_as_current=False)
    for number in range(30):
        app.send_task("ship", args=[f"order-{number}", "ada"])
    async with Micro() as micro:
        options = ("--pool", pool, "--concurrency", "4")
        async with running(run_worker, *options, BROKER=broker.url, COLLECTOR=micro.url) as worker:
            await end(worker, broker, tasks=30)
        assert micro.counts() == {"total": 30, "good": 30, "bad": 0}
