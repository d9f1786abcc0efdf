"""Celery carries each event once under what instruments it, which goes on to see the application's tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from celery import Celery

from tests.celery.conftest import messages, wait_for_acknowledgement
from tests.faults.celery.worker import Worker
from tests.faults.programs import end_of, started
from tests.faults.server import CollectorProcess
from tests.neighbours.celery_apps import IN_CELERY
from tests.neighbours.neighbour import answers, each
from tests.redis.servers import RedisServer
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

EVENTS = 20


@pytest.fixture
def broker(new_server: Callable[[], RedisServer]) -> RedisServer:
    return new_server()


@pytest.fixture
def collector() -> Iterator[CollectorProcess]:
    with CollectorProcess(seed=1) as running:
        yield running


@pytest.fixture
def new_worker(
    tmp_path: Path, broker: RedisServer, collector: CollectorProcess
) -> Iterator[Callable[[str], Worker]]:
    """Start a worker under a neighbour."""
    with ExitStack() as running:

        def start(name: str) -> Worker:
            (tmp_path / "shop.py").write_text(IN_CELERY[name].worker(broker.url))
            variables = {"SNOWPLOW_COLLECTOR": collector.url, "SNOWPLOW_CELERY_BROKER_URL": broker.url}
            return running.enter_context(Worker(tmp_path, variables, "--pool=prefork", "-c1", app="shop"))

        yield start


@answers("arrives", "closes", "own")
@pytest.mark.parametrize("name", each(IN_CELERY))
async def test_each_event_arrives_once_and_the_applications_own_tasks_are_seen(
    broker: RedisServer, collector: CollectorProcess, new_worker: Callable[[str], Worker], name: str
) -> None:
    async with started(IN_CELERY[name].shop, broker.url, str(EVENTS), warnings="error") as process:
        ended = await end_of(process)
    assert ended.code == 0, ended.said
    (trace,) = ended.printed
    # The events of a message are of many requests: it is not named after one of them.
    assert [message for message in messages(broker) if trace in json.dumps(message["headers"])] == []

    application = Celery(broker=broker.url, set_as_current=False)
    # A connection of its own: Celery's pool would stay open.
    with application.connection_for_write() as connection:
        application.send_task("sell", queue="snowplow", connection=connection)
    worker = new_worker(name)
    worker.wait_for("the task is seen as sell")
    wait_until(lambda: collector.counts().distinct == EVENTS, worker.log)
    wait_for_acknowledgement(broker, worker)
    assert worker.terminate() == 0
    assert collector.counts().processed == EVENTS
    assert messages(broker) == []
    assert "Sentry is told of" not in worker.log()
    assert "Traceback" not in worker.log()
