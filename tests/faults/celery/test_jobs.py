"""The visitor of a request in Celery tasks: real workers of each pool, and a real broker."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
import redis
from celery import chain

from snowplow_aio import StructuredEvent, use_context, use_subject
from snowplow_aio.integrations.asgi import SnowplowMiddleware, tracker_of
from snowplow_aio.integrations.jobs import HEADER, extract, inject
from tests.compat.examples.programs import ROOT
from tests.faults.celery import jobs
from tests.faults.celery.worker import Worker
from tests.integrations.made import Trackers, http_scope, request
from tests.integrations.test_jobs import Cart, comparable
from tests.redis.servers import RedisServer
from tests.scale import scale
from tests.waiting import wait_until

NewWorker = Callable[..., Worker]

# Celery did not keep headers in retries once, and people still go around that so, as Sentry does.
NESTED: dict[str, Any] = {"headers": {"other": "1"}}

POOLS = [*["threads", "prefork"], *scale([], ["solo", "gevent"])]


@contextmanager
def sending_to(broker: RedisServer) -> Generator[None]:
    """Have the tasks of this process go to *broker*."""
    before = jobs.app.conf.broker_url
    jobs.app.conf.update(broker_url=broker.url)
    try:
        yield
    finally:
        jobs.app.conf.update(broker_url=before)
        jobs.app.close()


def start(new_worker: NewWorker, broker: RedisServer, pool: str) -> Worker:
    if pool == "gevent":
        pytest.importorskip("gevent")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {"BROKER": broker.url, "PYTHONPATH": path}
    return new_worker(variables, f"--pool={pool}", "-c2", app="tests.faults.celery.jobs")


def done(broker: RedisServer, task: Any) -> Any:
    """Return the result of *task*, or of the one with this id, when a worker has kept it."""
    key = f"ended-{getattr(task, 'id', task)}"
    with redis.Redis(port=broker.port) as client:
        wait_until(lambda: client.exists(key))
        kept: Any = client.get(key)
    result = json.loads(kept)
    assert result["status"] == "SUCCESS", result
    return result["result"]


def users(events: list[dict[str, str]]) -> set[str | None]:
    return {event.get("uid") for event in events}


def answered(send: Callable[[], Any], headers: dict[str, str], **options: Any) -> tuple[list[Any], Any]:
    """Return the events of a request that calls *send*, and what that returned."""
    trackers, sent = Trackers(), []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await tracker_of(scope).track(StructuredEvent(category="order", action="ship"))
        # As FastAPI calls its sync endpoints: in a thread.
        sent.append(await asyncio.to_thread(send))

    middleware = SnowplowMiddleware(app, trackers, platform=None, user_id=lambda _: "u-42", **options)
    asyncio.run(request(middleware, http_scope("/cart", headers=headers)))
    return [comparable(event) for event in trackers.events], sent[0]


@pytest.mark.parametrize("pool", POOLS)
def test_from_a_request_to_a_task_and_its_tasks(
    broker: RedisServer, new_worker: NewWorker, pool: str
) -> None:
    visitor = {"User-Agent": "Firefox", "Cookie": "sp=network", "Host": "shop.example"}
    worker = start(new_worker, broker, pool)
    with sending_to(broker):
        # One visitor after the other, as each process of the pool meets all of them.
        for _ in range(2):
            (event,), task = answered(jobs.ship.delay, visitor)
            assert [comparable(found) for found in done(broker, task)] == [event], worker.log()
            assert (event["uid"], event["tnuid"], event["ua"]) == ("u-42", "network", "Firefox")

            (event,), task = answered(jobs.send.delay, visitor)
            inner = done(broker, task)
            assert [comparable(found) for found in done(broker, inner)] == [event]

            events, task = answered(jobs.ship.delay, visitor | {"DNT": "1"})
            assert (events, done(broker, task)) == ([], [])

            (event,), task = answered(jobs.send.delay, visitor | {"DNT": "1"}, without_consent="anonymous")
            inner = done(broker, task)
            assert [comparable(found) for found in done(broker, inner)] == [event]
            assert not event.keys() & {"uid", "tnuid", "ip"}

            assert users(done(broker, jobs.ship.delay())) == {None}


@pytest.mark.parametrize("pool", POOLS[:1])
def test_retries_chains_groups_chords_and_other_ways_to_send_tasks(
    broker: RedisServer, new_worker: NewWorker, pool: str
) -> None:
    start(new_worker, broker, pool)
    with sending_to(broker), use_subject(user_id="u-1"), use_context(Cart(items=2)):
        carried = inject()
        ways = [
            jobs.again.delay(),
            jobs.ship.apply_async(countdown=0.1),
            jobs.ship.apply_async(headers={"other": "1"}),
            jobs.again.apply_async(headers=NESTED),
            jobs.app.send_task("ship"),
            jobs.app.signature("ship").apply_async(),
            chain(jobs.send.si(), jobs.again.si(), jobs.ship.si())(),
        ]
        chords = jobs.send_chords.delay()
        with use_subject(user_id="u-2"):
            given = jobs.ship.apply_async(headers=carried)
        for way in [*ways, given]:
            (event,) = done(broker, way)
            assert event["uid"] == "u-1"
            assert "cx" in event
        for way in done(broker, chords):
            assert [users(events) for events in done(broker, way)] == [{"u-1"}] * 3
        jobs.app.conf.task_protocol = 1
        jobs.app.amqp.__dict__.pop("create_task_message", None)
        try:
            assert users(done(broker, jobs.again.delay())) == {"u-1"}
        finally:
            jobs.app.conf.task_protocol = 2
            jobs.app.amqp.__dict__.pop("create_task_message", None)


def test_two_visitors_at_once_in_the_threads_of_a_worker_never_mix(
    broker: RedisServer, new_worker: NewWorker
) -> None:
    start(new_worker, broker, "threads")
    with sending_to(broker):
        for first, second in (("u-1", "u-2"), ("u-3", None), (None, "u-4")):
            sent = []
            for user in (first, second):
                with use_subject(user_id=user):
                    sent.append(jobs.meet.delay())
            assert [users(done(broker, task)) for task in sent] == [{first}, {second}]


def test_what_is_called_when_a_task_has_failed_is_about_its_visitor(
    broker: RedisServer, new_worker: NewWorker
) -> None:
    worker = start(new_worker, broker, "prefork")
    with sending_to(broker), redis.Redis(port=broker.port) as client:
        for task, callback in product((jobs.fail, jobs.die), (jobs.complain.si(), jobs.complain_at_once.s())):
            with extract({HEADER: '1;all;{"visitor":{"uid":"u-1"}}'}):
                task.apply_async(link_error=callback, headers=NESTED)
            with extract({HEADER: "1;nothing;"}):
                task.apply_async(link_error=[callback])
        wait_until(lambda: client.llen("complaints") == 8, worker.log)
        found = [str(text) for text in client.lrange("complaints", 0, -1)]
    assert found.count("b'[]'") == 4
    assert len([text for text in found if "'uid': 'u-1'" in text]) == 4
