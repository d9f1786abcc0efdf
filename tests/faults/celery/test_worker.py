"""No event is lost when a worker or its broker is killed, frozen or asked to end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery

from snowplow_aio import CeleryEmitter, PageView, Tracker
from tests.celery.conftest import messages, track, wait_for_acknowledgement
from tests.faults.celery.worker import Worker
from tests.faults.server import CollectorProcess, Faults
from tests.redis.servers import RedisServer
from tests.scale import scale
from tests.waiting import wait_until

NewWorker = Callable[..., Worker]

_PAGE = "https://example.com/"

# After two seconds the messages of a worker are given to others, who look for such messages every second.
_SOON = {"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}


def _settings(broker: RedisServer, collector: CollectorProcess, seconds: float) -> dict[str, str]:
    return {
        "SNOWPLOW_CELERY_BROKER_URL": broker.url,
        "SNOWPLOW_COLLECTOR": collector.url,
        "SNOWPLOW_CELERY_DELIVERY_TIMEOUT": str(seconds),
    }


def _configure(folder: Path, source: str) -> None:
    """Write the module that configures workers in *folder* in addition to the environment."""
    (folder / "snowplow_celery_config.py").write_text(source)


# By default systemd sends SIGTERM to every process of a service.
@pytest.mark.parametrize("number", [signal.SIGKILL, *scale([], [signal.SIGTERM])])
def test_a_batch_whose_process_is_killed_is_delivered_by_the_next(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker, number: int
) -> None:
    collector.do(Faults(manner="never"))
    worker = new_worker(_settings(broker, collector, 60), "--pool=prefork", "-c1")
    track(broker.url, *[_PAGE] * 10)
    wait_until(lambda: collector.counts().under_way == 1, worker.log)

    (child,) = worker.children()
    os.kill(child, number)
    collector.do(Faults())

    wait_until(lambda: collector.counts().distinct == 10, worker.log)
    wait_for_acknowledgement(broker, worker)


def test_a_batch_whose_worker_is_killed_is_delivered_by_another_after_the_visibility_timeout(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker, tmp_path: Path
) -> None:
    _configure(tmp_path, f"broker_transport_options = {_SOON}\n")
    settings = _settings(broker, collector, 60)
    collector.do(Faults(manner="never"))
    first = new_worker(settings, "--pool=prefork", "-c1")
    track(broker.url, *[_PAGE] * 10)
    wait_until(lambda: collector.counts().under_way == 1, first.log)

    first.kill()
    collector.do(Faults())
    # Not earlier: if it took longer than the message stays invisible, both would deliver it.
    second = new_worker(settings, "--pool=solo")

    wait_until(lambda: collector.counts().distinct == 10, second.log)
    wait_for_acknowledgement(broker, second)
    assert collector.counts().duplicates == 0


def test_a_limit_that_the_application_has_for_its_tasks_ends_no_delivery(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker, tmp_path: Path
) -> None:
    _configure(tmp_path, "task_time_limit = 0.1\ntask_soft_time_limit = 0.1\n")
    # The limit passes while requests are refused.
    collector.do(Faults(refused=1))
    worker = new_worker(_settings(broker, collector, 0.3), "--pool=prefork", "-c1")
    track(broker.url, *[_PAGE] * 10)
    worker.wait_for("0 events delivered, 10 are left")

    collector.do(Faults())

    wait_until(lambda: collector.counts().distinct == 10, worker.log)
    assert "time limit" not in worker.log().lower()


def test_a_worker_that_is_asked_to_end_leaves_to_others_what_it_has_not_delivered(
    broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker
) -> None:
    collector.do(Faults(manner="never"))
    worker = new_worker(_settings(broker, collector, 1), "--pool=solo")
    track(broker.url, *[_PAGE] * 60, batch=20)
    wait_until(lambda: collector.counts().under_way == 1, worker.log)

    assert worker.terminate() == 0

    # The batch that was under way waits for another worker, and so do the others.
    assert collector.counts().processed == 0
    assert len({event["eid"] for message in messages(broker) for event in message["body"][0][0]}) == 60


@pytest.mark.anyio
async def test_a_broker_that_is_frozen_and_one_that_is_killed_between_two_messages_cost_nothing(
    persistent_broker: RedisServer, collector: CollectorProcess, new_worker: NewWorker, tmp_path: Path
) -> None:
    broker = persistent_broker
    _configure(tmp_path, f"broker_transport_options = {_SOON}\n")
    worker = await asyncio.to_thread(new_worker, _settings(broker, collector, 1), "--pool=solo")
    app = Celery(broker=broker.url, set_as_current=False)
    slowest = 0.0
    async with Tracker(CeleryEmitter(app, max_batch=10, publish_timeout=3), app_id="a") as tracker:
        for fault in (None, broker.freeze, broker.thaw, broker.kill, broker.start):
            if fault == broker.kill:
                # With Redis, Celery takes a message out of the queue and records it afterwards. If the
                # broker is killed in between, the message is lost, whatever this library does.
                await asyncio.to_thread(wait_until, lambda: collector.counts().distinct == 300, worker.log)
                await asyncio.to_thread(wait_for_acknowledgement, broker, worker)
            if fault is not None:
                await asyncio.to_thread(fault)
            before = tracker.stats()["celery"].requests
            for _ in range(100):
                started = time.monotonic()
                await tracker.track(PageView(page_url=_PAGE))
                slowest = max(slowest, time.monotonic() - started)
            # Wait until two requests have met the fault.
            async with asyncio.timeout(30):
                while tracker.stats()["celery"].requests < before + 2:  # noqa: ASYNC110 - a broker is waited for
                    await asyncio.sleep(0.01)
        assert (await tracker.flush(30)).pending == 0

    # The queues alone do not show it: for a moment a message is in neither of them.
    await asyncio.to_thread(wait_until, lambda: collector.counts().distinct == 500, worker.log)
    await asyncio.to_thread(wait_for_acknowledgement, broker, worker)
    # Far longer than a busy machine needs, shorter than one publish to a frozen broker.
    assert slowest < 2
