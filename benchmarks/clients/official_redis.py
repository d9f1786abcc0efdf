"""
The official tracker's hand-over by Redis: snowplow-tracker 0.15.0, the last release that has it.

Parameters beside those of ``works.py``: ``scheme``, ``port`` and ``redis_port``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import common
import redis
from common import PAGE_TITLE, REFERRER, page_url
from snowplow_tracker import Emitter, RedisEmitter, RedisWorker, SelfDescribingJson, Subject, Tracker
from works import Given, Make, Passage, Side, main

VERSIONS = common.versions_of("snowplow-tracker", "redis", "requests", "gevent")


@dataclass
class Counted:
    """Hands events to an emitter, and calls *finish* after the last: the worker would go on for ever."""

    emitter: Any
    left: int
    finish: Callable[[], None]

    def input(self, payload: dict[str, Any]) -> None:
        self.emitter.input(payload)
        self.left -= 1
        if not self.left:
            self.finish()


def make(given: Given) -> Side:
    emitter = RedisEmitter(redis.Redis(port=given["redis_port"]))
    subject = common.dress(Subject())
    tracker = Tracker(
        namespace="bench", emitters=emitter, subject=subject, app_id="bench", encode_base64=True
    )

    def track(number: int) -> None:
        context = common.entities(SelfDescribingJson, number)
        tracker.track_page_view(page_url(number), PAGE_TITLE, REFERRER, context)

    return Side(track=track, versions=VERSIONS, flush=emitter.sync_flush)


def make_emitter(given: Given, **more: Any) -> Any:
    return Emitter("127.0.0.1", protocol=given["scheme"], port=given["port"], **more)


def drain(make: Make, given: Given) -> None:
    """Fill Redis, then have a worker bring all events to the collector."""
    side = make(given)
    for number in range(given["events"]):
        side.track(number)
    emitter, watch = make_emitter(given), common.Stopwatch()

    def finish() -> None:
        emitter.sync_flush()
        watch.stop()
        watch.report(VERSIONS)
        # The worker would now sleep for five seconds, and look again.
        os._exit(0)

    worker = RedisWorker(Counted(emitter, given["events"], finish), redis.Redis(port=given["redis_port"]))
    watch.start()
    worker.run()


def pass_on(make: Make, given: Given) -> None:
    """Track now and then in a thread, while the worker has the main one, as it asks for."""
    side, passage = make(given), Passage(given["events"])

    def arrived(events: list[dict[str, Any]]) -> None:
        passage.arrive(event["url"] for event in events)
        if not passage.left:
            passage.report(VERSIONS)
            os._exit(0)

    def track_all() -> None:
        for number in range(given["events"]):
            passage.leave(page_url(number))
            side.track(number)
            time.sleep(given["seconds"] / given["events"])

    worker = RedisWorker(
        make_emitter(given, batch_size=1, on_success=arrived), redis.Redis(port=given["redis_port"])
    )
    passage.watch.start()
    threading.Thread(target=track_all, daemon=True).start()
    worker.run()


if __name__ == "__main__":
    # The worker blocks, so these run without a loop.
    main(make, drain, pass_on)
