"""With RabbitMQ as the broker: no event is lost when it, a worker or the collector fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from celery import Celery

from snowplow_aio import CeleryEmitter, PageView, Retry, Tracker
from tests.faults.celery.rabbitmq import PROGRAM, RabbitMQ
from tests.faults.celery.worker import Worker
from tests.faults.server import CollectorProcess, Faults
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(PROGRAM is None, reason="there is no rabbitmq-server on this machine"),
]

_PAGE = "https://example.com/"

# Seconds for which a worker tries to deliver one batch to a collector that never answers. A request is given
# up after ten seconds, so nearly all the time one is under way, with less than a second between two. The
# worker gets through one batch after the other in this time, so none is tried more than a few times before
# the worker is killed. The pause of a batch that went back to the broker, which doubles from one second up
# to a minute, therefore stays far below the time that the test waits.
_ATTEMPT_SECONDS = 12


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


def _settings(rabbit: RabbitMQ, collector: CollectorProcess, seconds: float) -> dict[str, str]:
    return {
        "SNOWPLOW_CELERY_BROKER_URL": rabbit.url,
        "SNOWPLOW_COLLECTOR": collector.url,
        "SNOWPLOW_CELERY_DELIVERY_TIMEOUT": str(seconds),
    }


def _dead(rabbit: RabbitMQ) -> int:
    """Return the number of messages in the queue of dead letters."""
    with Celery(broker=rabbit.url, set_as_current=False).connection_for_read() as connection:
        queue = connection.SimpleQueue("snowplow.dead")
        count: int = queue.qsize()
        queue.close()
    return count


async def test_every_event_is_delivered_or_put_aside_though_broker_and_collector_fail(
    rabbit: RabbitMQ, collector: CollectorProcess, new_worker: Callable[..., Worker]
) -> None:
    app = Celery(broker=rabbit.url, set_as_current=False)
    emitter = CeleryEmitter(app, max_batch=100, publish_timeout=0.5)
    async with Tracker(emitter, namespace="t", app_id="a") as tracker:
        for i in range(500):
            await tracker.track(PageView(page_url=f"{_PAGE}answer/400" if i == 7 else _PAGE))
        assert (await tracker.flush(30)).delivered == 500
        rabbit.freeze()
        for _ in range(100):
            await tracker.track(PageView(page_url=_PAGE))
        assert (await tracker.flush(2)).pending == 100
        assert sum(tracker.stats()["celery"].retries.values()) >= 1
        rabbit.thaw()
        assert (await tracker.flush(30)).pending == 0

    collector.do(Faults(refused=1))
    worker = new_worker(_settings(rabbit, collector, 1), "--pool=prefork", "-c2")
    worker.wait_for("0 events delivered, 100 are left", times=2)
    collector.do(Faults())

    wait_until(lambda: collector.counts().distinct == 599, worker.log)
    wait_until(lambda: _dead(rabbit) == 1, worker.log)
    # Messages that it has not acknowledged would come back in the next test.
    assert worker.terminate() == 0


async def test_nothing_is_lost_when_broker_and_worker_are_killed(
    rabbit: RabbitMQ, collector: CollectorProcess, new_worker: Callable[..., Worker]
) -> None:
    first = new_worker(_settings(rabbit, collector, _ATTEMPT_SECONDS), "--pool=solo")
    app = Celery(broker=rabbit.url, set_as_current=False)
    # Pauses are short: a broker that is killed closes its connections, so that no time-out is waited for.
    emitter = CeleryEmitter(app, max_batch=10, retry=Retry(initial_delay=0.1, max_delay=1))
    async with Tracker(emitter, namespace="t", app_id="a") as tracker:
        for _ in range(300):
            await tracker.track(PageView(page_url=_PAGE))
        # The broker is killed in the middle of the delivery.
        await asyncio.to_thread(wait_until, lambda: collector.counts().distinct > 0, first.log)
        await asyncio.to_thread(rabbit.kill)
        collector.do(Faults(manner="never"))
        for _ in range(100):
            await tracker.track(PageView(page_url=_PAGE))
        await asyncio.to_thread(rabbit.start)
        assert (await tracker.flush(30)).pending == 0
    # Celery tries to reconnect after two seconds, then four, then six, and so on: that is soon enough.
    await asyncio.to_thread(wait_until, lambda: collector.counts().under_way >= 1, first.log)

    first.kill()
    collector.do(Faults())
    second = new_worker(_settings(rabbit, collector, _ATTEMPT_SECONDS), "--pool=solo")

    wait_until(lambda: collector.counts().distinct == 400, second.log)


async def test_a_password_that_the_broker_refuses_is_said(rabbit: RabbitMQ) -> None:
    app = Celery(broker=rabbit.url.replace("guest:guest", "guest:hush"), set_as_current=False)
    async with Tracker(CeleryEmitter(app, drain_timeout=0), namespace="t", app_id="a") as tracker:
        await tracker.track(PageView(page_url=_PAGE))
        await tracker.flush(wait=False)

        async with asyncio.timeout(30):
            while tracker.stats()["celery"].state != "misconfigured":  # noqa: ASYNC110 - a broker is waited for
                await asyncio.sleep(0.01)
        assert "ACCESS_REFUSED" in str(tracker.health())
        assert "hush" not in str(tracker.health())
