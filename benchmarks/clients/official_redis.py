"""
The official tracker's hand-over by Redis, snowplow-tracker 0.15.0.

Parameters: ``work`` (``emit``: `RedisEmitter`; ``drain``: `RedisWorker` with
``emitter``, `Emitter` or `AsyncEmitter`; ``pass``: both at once), ``events``,
``seconds`` (of ``pass``), ``port``, ``redis_port``, ``core``, and for its best tuning ``batch_size``,
``session`` and ``quiet``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import requests
from common import (
    PAGE_TITLE,
    PRODUCT_SCHEMA,
    REFERRER,
    VISITOR_SCHEMA,
    Passage,
    Stopwatch,
    dress,
    page_url,
    parameters,
    product,
    versions_of,
    visitor,
)
from snowplow_tracker import (
    AsyncEmitter,
    Emitter,
    RedisEmitter,
    RedisWorker,
    SelfDescribingJson,
    Subject,
    Tracker,
)

Track = Callable[[int], Any]


class Counted:
    """
    Hands events to an emitter, and calls *finish* after so many of them: the worker would go on for ever.
    """

    def __init__(self, emitter: Any, events: int, finish: Callable[[], None]) -> None:
        self.emitter = emitter
        self.left = events
        self.finish = finish

    def input(self, payload: dict[str, Any]) -> None:
        self.emitter.input(payload)
        self.left -= 1
        if not self.left:
            self.finish()


def make_track(given: dict[str, Any]) -> tuple[Track, Any]:
    """
    Return a function that tracks into Redis, and what is to be flushed after it.
    """
    emitter = RedisEmitter(redis.Redis(port=given["redis_port"]))
    tracker = Tracker(
        namespace="bench", emitters=emitter, subject=dress(Subject()), app_id="bench", encode_base64=True
    )

    def track(number: int) -> Any:
        entities = [
            SelfDescribingJson(PRODUCT_SCHEMA, product(number)),
            SelfDescribingJson(VISITOR_SCHEMA, visitor(number)),
        ]
        return tracker.track_page_view(page_url(number), PAGE_TITLE, REFERRER, entities)

    return track, emitter


def make_emitter(given: dict[str, Any], **more: Any) -> Any:
    """
    Return the emitter that a worker hands events to.
    """
    kind = {"Emitter": Emitter, "AsyncEmitter": AsyncEmitter}[given.get("emitter", "Emitter")]
    return kind(
        "127.0.0.1",
        protocol=given["scheme"],
        port=given["port"],
        batch_size=given.get("batch_size"),
        session=requests.Session() if given.get("session") else None,
        **more,
    )


def versions() -> dict[str, str]:
    return versions_of("snowplow-tracker", "redis", "requests", "gevent")


def emit(given: dict[str, Any]) -> None:
    track, emitter = make_track(given)
    watch, clock = Stopwatch(), time.perf_counter_ns
    watch.start()
    for number in range(given["events"]):
        before = clock()
        track(number)
        watch.waits_ns.append(clock() - before)
    emitter.sync_flush()
    watch.stop()
    watch.report(versions())


def drain(given: dict[str, Any]) -> None:
    track, _ = make_track(given)
    for number in range(given["events"]):
        track(number)
    emitter = make_emitter(given)
    watch = Stopwatch()

    def finish() -> None:
        emitter.sync_flush()
        watch.stop()
        watch.report(versions())
        # It would now sleep five seconds, and look again.
        os._exit(0)

    worker = RedisWorker(Counted(emitter, given["events"], finish), redis.Redis(port=given["redis_port"]))
    watch.start()
    worker.run()


def pass_on(given: dict[str, Any]) -> None:
    """
    Track now and then in a thread, while the worker has the main one, as it asks for.
    """
    track, _ = make_track(given)
    passage = Passage(given["events"])

    def arrived(events: list[dict[str, Any]]) -> None:
        passage.arrive(event["url"] for event in events)
        if passage.is_over:
            passage.report(versions())
            os._exit(0)

    def track_all() -> None:
        for number in range(given["events"]):
            passage.leave(page_url(number))
            track(number)
            time.sleep(given["seconds"] / given["events"])

    worker = RedisWorker(make_emitter(given, on_success=arrived), redis.Redis(port=given["redis_port"]))
    passage.watch.start()
    threading.Thread(target=track_all, daemon=True).start()
    worker.run()


def main() -> None:
    given = parameters()
    if given.get("quiet"):
        for name in ("emitters", "redis.redis_emitter"):
            logging.getLogger(f"snowplow_tracker.{name}").setLevel(logging.ERROR)
    {"emit": emit, "drain": drain, "pass": pass_on}[given["work"]](given)


if __name__ == "__main__":
    main()
