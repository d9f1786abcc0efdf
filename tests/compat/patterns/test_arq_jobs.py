"""The visitor of a request in jobs of arq, whose workers run in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio import use_subject
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.arq import connect
from snowplow_aio.integrations.jobs import HEADER, extract
from tests.integrations.test_jobs import users
from tests.redis.servers import RedisServer

pytestmark = pytest.mark.anyio


class Jobs:
    """A pool of arq, and what the jobs saw that were enqueued there."""

    def __init__(self, arq: Any, url: str) -> None:
        self.arq = arq
        self.url = url
        self.seen: list[Any] = []

    @asynccontextmanager
    async def pool(self, **options: Any) -> AsyncGenerator[Any]:

        pool = await self.arq.create_pool(self.arq.connections.RedisSettings.from_dsn(self.url), **options)
        try:
            yield pool
        finally:
            await pool.aclose(close_connection_pool=True)

    async def ship(self, ctx: dict[str, Any], order: str = "") -> None:

        await asyncio.sleep(0)
        if order == "again" and ctx["job_try"] < 3:
            with use_subject(user_id="of-the-first-attempt"):
                raise self.arq.Retry
        if order == "more":
            await ctx["redis"].enqueue_job("ship", "last")
        self.seen.append((order, users()))

    async def run(self, settings: Any, **more: Any) -> None:
        """Run a worker with *settings* until nothing is left to do."""

        address = self.arq.connections.RedisSettings.from_dsn(self.url)
        worker = self.arq.worker.create_worker(
            settings, redis_settings=address, burst=True, handle_signals=False, poll_delay=0.01, **more
        )
        try:
            await worker.async_run()
        finally:
            # Its own `close` calls a method that redis-py has deprecated.
            await worker.pool.aclose(close_connection_pool=True)

    def settings(self, **more: Any) -> dict[str, Any]:

        return {"functions": [self.arq.func(self.ship, name="ship")], **more}


@pytest.fixture
def arq_jobs(tmp_path: Path) -> Iterator[Jobs]:
    arq = pytest.importorskip("arq")
    with RedisServer(tmp_path) as redis:
        yield Jobs(arq, redis.url)


async def test_with_arq_retries_and_jobs_of_jobs_are_about_the_same_visitor(arq_jobs: Jobs) -> None:
    async with arq_jobs.pool() as pool:
        connect(pool)
        for user, order in (("u-1", "again"), ("u-2", "more"), ("u-3", "one")):
            with use_subject(user_id=user):
                await pool.enqueue_job("ship", order)
        await pool.enqueue_job("ship", "nobody")
        with extract({HEADER: "1;nothing;"}):
            await pool.enqueue_job("ship", "nothing")
        with use_subject(user_id="of-the-worker"):
            await arq_jobs.run(connect(arq_jobs.settings()))
        seen = dict(arq_jobs.seen)
        assert seen == {
            "again": ["u-1"],
            "more": ["u-2"],
            "last": ["u-2"],
            "one": ["u-3"],
            "nobody": [None],
            "nothing": [],
        }
        results = await pool.all_job_results()
        assert {result.function for result in results} == {"ship"}
        stored = b"".join([await pool.get(key) for key in await pool.keys("arq:result:*")])
        assert b"snowplow" not in stored
        assert users() == [None]


async def test_with_arq_serializers_and_hooks_of_the_application_are_kept(arq_jobs: Jobs) -> None:
    hooked: list[Any] = []

    async def started(ctx: dict[str, Any]) -> None:
        hooked.append(("start", ctx["job_id"], users()))

    async def ended(ctx: dict[str, Any]) -> None:
        hooked.append(("end", ctx["job_id"], users()))

    own: dict[str, Any] = {
        "job_serializer": lambda job: json.dumps(job, default=str).encode(),
        "job_deserializer": json.loads,
    }
    async with arq_jobs.pool(**own) as pool:
        connect(connect(pool))
        with use_subject(user_id="u-1"):
            await pool.enqueue_job("ship", "one", _job_id="1")
        assert json.loads(await pool.get("arq:job:1"))["f"] == "ship"

        @connect
        @connect
        class Settings:
            functions = arq_jobs.settings()["functions"]
            job_serializer = own["job_serializer"]
            job_deserializer = own["job_deserializer"]
            on_job_start = started
            on_job_end = ended

        await arq_jobs.run(Settings)
        assert arq_jobs.seen == [("one", ["u-1"])]
        assert hooked == [("start", "1", ["u-1"]), ("end", "1", ["u-1"])]


async def test_with_arq_each_side_may_be_connected_before_the_other(arq_jobs: Jobs) -> None:
    async with arq_jobs.pool() as pool:
        with use_subject(user_id="u-1"):
            await pool.enqueue_job("ship", "plain")
        await arq_jobs.run(connect(arq_jobs.settings()))
        with use_subject(user_id="u-1"):
            await connect(pool).enqueue_job("ship", "connected")
        await arq_jobs.run(arq_jobs.settings())
    assert arq_jobs.seen == [("plain", [None]), ("connected", [None])]


async def test_with_arq_a_look_at_a_job_binds_nothing(arq_jobs: Jobs) -> None:
    async with arq_jobs.pool() as pool:
        connect(pool)
        with use_subject(user_id="u-1"):
            job = await pool.enqueue_job("ship", "one")
        await job.info()
        await pool.queued_jobs()
        assert users() == [None]


@pytest.mark.parametrize("target", [None, object(), "pool", 5, []])
def test_what_is_neither_pool_nor_settings_of_arq_is_refused(target: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^target: must be a pool of arq, or the settings"):
        connect(target)
