"""The workers of the page on jobs, as processes: each event is about the visitor who has caused it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio.micro import Micro
from tests.compat.examples.programs import running
from tests.compat.patterns.page import blocks, program
from tests.compat.patterns.test_patterns import search_path
from tests.faults.celery.test_tasks_that_track import end
from tests.faults.programs import output_of
from tests.redis.servers import RedisServer
from tests.scale import scale

pytestmark = pytest.mark.anyio

# The address on the page.
REDIS = "redis://redis.example.com:6379/0"

# The label of each order says what its visitor permits.
VISITORS = """
from snowplow_aio.integrations.jobs import HEADER, extract

about = '{"visitor":{"uid":"u-42","ip":"203.0.113.50","ua":"Firefox"},"page":{"url":"https://shop.example/cart"}}'

async def send_all(send):
    for permission in ("all", "anonymous", "nothing"):
        with extract({HEADER: f"1;{permission};{about}"}):
            await send(permission)
    await send("nobody")
"""


@pytest.fixture
async def micro() -> AsyncIterator[Micro]:
    async with Micro() as collector:
        yield collector


async def send_from(folder: Path, sender: str) -> None:
    path = f"import asyncio, sys\nsys.path[:0] = {search_path(folder).split(':')!r}\n"
    assert await output_of(path + VISITORS + sender) == []


def assert_each_is_about_its_visitor(micro: Micro) -> None:
    events = [record["event"] for record in micro.good]
    found: dict[str, Any] = {
        event["se_label"]: (event["user_id"], event["user_ipaddress"], event["useragent"], event["page_url"])
        for event in events
    }
    assert found.keys() == {"all", "anonymous", "nobody"}
    assert found["all"] == ("u-42", "203.0.113.50", "Firefox", "https://shop.example/cart")
    assert (found["anonymous"][0], found["anonymous"][2]) == (None, "Firefox")
    assert found["anonymous"][1] != "203.0.113.50"
    assert (found["nobody"][0], found["nobody"][3]) == (None, None)
    assert micro.bad == []


TASKIQ_SENDER = """
from shop_jobs import broker, ship

async def send():
    await send_all(ship.kiq)
    await broker.shutdown()

asyncio.run(send())
"""


async def test_tasks_of_a_taskiq_worker_are_about_their_visitors(micro: Micro, tmp_path: Path) -> None:
    (tasks,) = blocks("taskiq", micro.url, page="jobs")
    with RedisServer(tmp_path) as redis:
        assert "= InMemoryBroker()." in tasks
        tasks = tasks.replace("= InMemoryBroker().", f"= ListBroker({redis.url!r}).")
        (tmp_path / "shop_jobs.py").write_text(
            program("from tests.compat.patterns.brokers import ListBroker", tasks)
        )
        await send_from(tmp_path, TASKIQ_SENDER)
        command = "taskiq worker shop_jobs:broker --workers 1 --shutdown-timeout 10"
        async with running(command, PYTHONPATH=search_path(tmp_path)) as worker:
            for _ in range(4):
                await worker.says("Executing task ship")
            await worker.ends(signal.SIGTERM)
    assert_each_is_about_its_visitor(micro)


ARQ_SENDER = """
from shop_jobs import open_pool

async def send():
    pool = await open_pool()
    await send_all(lambda order: pool.enqueue_job("ship_order", order))
    job = await pool.enqueue_job("ship_order", "nobody")
    assert (await job.info()).args == ("nobody",)
    await pool.aclose()

asyncio.run(send())
"""


async def test_jobs_of_an_arq_worker_are_about_their_visitors(micro: Micro, tmp_path: Path) -> None:
    pytest.importorskip("arq")
    jobs = "\n".join(blocks("arq", micro.url, page="jobs"))
    with RedisServer(tmp_path) as redis:
        assert jobs.count(REDIS) == 2
        (tmp_path / "shop_jobs.py").write_text(program(jobs.replace(REDIS, redis.url)))
        await send_from(tmp_path, ARQ_SENDER)
        async with running("arq shop_jobs.WorkerSettings", PYTHONPATH=search_path(tmp_path)) as worker:
            for _ in range(5):
                await worker.says("ship_order ●")
            await worker.ends(signal.SIGTERM)
    assert_each_is_about_its_visitor(micro)


CELERY_SENDER = """
from shop_jobs import app, ship

async def send(order):
    ship.delay(order)

asyncio.run(send_all(send))
app.close()
"""


@pytest.mark.parametrize("pool", ["prefork", *scale([], ["threads", "solo"])])
async def test_tasks_of_a_celery_worker_are_about_their_visitors(
    micro: Micro, tmp_path: Path, pool: str
) -> None:
    (tasks,) = blocks("Celery", micro.url, page="jobs")
    with RedisServer(tmp_path) as redis:
        assert REDIS in tasks
        tasks = tasks.replace(REDIS, redis.url)
        (tmp_path / "shop_jobs.py").write_text(program(tasks))
        await send_from(tmp_path, CELERY_SENDER)
        command = (
            f"celery -A shop_jobs worker --pool {pool} -c2 --loglevel INFO --without-gossip --without-mingle"
        )
        async with running(command, PYTHONPATH=search_path(tmp_path)) as worker:
            await end(worker, redis, tasks=4)
    assert_each_is_about_its_visitor(micro)
