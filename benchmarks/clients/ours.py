"""
This library, from the working tree or wherever PYTHONPATH shows it.

``compare.py`` runs this with older versions too, so it uses only names that
every version has. Parameters beside those of ``works.py``: ``emitter``
(``http``, ``null``, ``redis``, or ``store``: an `HttpEmitter` that has given up
sending), ``event`` (``page_view``, ``structured`` or ``fault``), ``entities``
(``model`` or plain data), ``padding`` (more characters of the first entity),
``method``, ``scheme``, ``port``, ``redis_port``, ``batch_size`` and ``validation``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import common
from common import PAGE_TITLE, PRODUCT_SCHEMA, REFERRER, VISITOR_SCHEMA, page_url, product, visitor
from pydantic import create_model
from works import Given, Make, Passage, Side, main, track_all, until

import snowplow_aio
from snowplow_aio import HttpEmitter, PageView, SelfDescribing, SelfDescribingJson, StructuredEvent, Tracker

# The events of a batch, so that the first request is made at once.
REFUSED = 50
VERSIONS = {"snowplow-aio": snowplow_aio.__version__} | common.versions_of(
    "aiohttp", "orjson", "pydantic", "redis", "uvloop"
)


def model_of(schema: str, data: dict[str, Any]) -> Any:
    """Return the model of an entity as an application declares it: a field for each name in *data*."""
    types = {name: list[str] if isinstance(value, list) else type(value) for name, value in data.items()}
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in types.items()}
    return create_model("Entity", __base__=SelfDescribing, __cls_kwargs__={"schema": schema}, **fields)


def make_track(tracker: Tracker, given: Given) -> Callable[[int], Awaitable[str]]:
    """Return the function that makes an event of the kind asked for, and tracks it."""
    padding = given.get("padding", 0)

    def page_view(number: int) -> Awaitable[str]:
        return tracker.track(
            PageView(page_url=page_url(number), page_title=PAGE_TITLE, referrer=REFERRER),
            context=[
                SelfDescribingJson(PRODUCT_SCHEMA, product(number, padding)),
                SelfDescribingJson(VISITOR_SCHEMA, visitor(number)),
            ],
        )

    def structured(number: int) -> Awaitable[str]:
        label = f"SKU-{number}"
        return tracker.track(
            StructuredEvent(category="shop", action="add-to-basket", label=label, property_="pcs", value=2)
        )

    def fault(number: int) -> Awaitable[str]:
        label, context = common.fault_event(SelfDescribingJson, number, given)
        event = StructuredEvent(category="shop", action="add-to-basket", label=label, value=2)
        return tracker.track(event, context=context)

    def with_models(number: int) -> Awaitable[str]:
        return tracker.track(
            PageView(page_url=page_url(number), page_title=PAGE_TITLE, referrer=REFERRER),
            context=[product_model(**product(number)), visitor_model(**visitor(number))],
        )

    if given.get("entities") == "model":
        product_model = model_of(PRODUCT_SCHEMA, product(0))
        visitor_model = model_of(VISITOR_SCHEMA, visitor(0))
        return with_models
    return {"page_view": page_view, "structured": structured, "fault": fault}[given["event"]]


def make_emitter(given: Given) -> Any:
    match given["emitter"]:
        case "null":
            return common.NullEmitter()
        case "store":
            # The first request finds nobody, and the next is due after all else is over.
            return HttpEmitter(
                "http://127.0.0.1:9",
                store=snowplow_aio.MemoryStore(capacity=10_000_000, capacity_bytes=2**40),
                retry=snowplow_aio.Retry(initial_delay=1e6, max_delay=1e6),
                drain_timeout=0,
            )
        case "redis":
            options = {"batch_size": given["batch_size"]} if "batch_size" in given else {}
            return snowplow_aio.RedisEmitter(redis_url(given), **options)
        case _:
            return http_emitter(given)


def http_emitter(given: Given, **options: Any) -> HttpEmitter:
    return HttpEmitter(f"{given['scheme']}://127.0.0.1:{given['port']}", method=given["method"], **options)


def redis_url(given: Given) -> str:
    return f"redis://127.0.0.1:{given['redis_port']}/0"


def make(given: Given) -> Side:
    if not given.get("validation", True):
        snowplow_aio.disable_validation()
    emitter = make_emitter(given)
    # In a trial with a fault the tracker has its defaults alone.
    subject = None if given["event"] == "fault" else common.dress(snowplow_aio.Subject())
    tracker = Tracker(emitter, namespace="bench", app_id="bench", subject=subject)
    track = make_track(tracker, given)

    async def close() -> int:
        result = await tracker.aclose()
        return result.rejected + result.dropped + result.pending

    async def come_to_rest() -> None:
        for number in range(REFUSED):
            await track(number)
        # The refusal is waited for: its cost is not that of an event.
        await until(lambda: bool(emitter.stats().retries))

    side = Side(track=track, versions=VERSIONS, is_async=True, close=close, emitter=emitter)
    if given["emitter"] == "store":
        side.open = come_to_rest
    else:
        side.open, side.flush = tracker.__aenter__, tracker.flush
    return side


def worker_of(given: Given, emitter: HttpEmitter) -> Any:
    from snowplow_aio.worker import RedisWorker  # noqa: PLC0415 - only some works need it

    return RedisWorker(emitter, client=redis_url(given))


async def drain(make: Make, given: Given) -> None:
    """Fill Redis, then have a worker bring all events to the collector."""
    side, watch = make(given), common.Stopwatch()
    await track_all(side, range(given["events"]), [])
    await side.close()
    worker = worker_of(given, http_emitter(given))
    watch.start()
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.stats().delivered >= given["events"])
    watch.stop()
    worker.stop()
    await running
    watch.report(VERSIONS)


async def pass_on(make: Make, given: Given) -> None:
    """Track now and then, while a worker in the same loop brings each event to the collector."""
    passage, side = Passage(given["events"]), make(given | {"batch_size": 1})

    def arrived(outcome: Any) -> None:
        passage.arrive(payload["url"] for payload in outcome.payloads)

    worker = worker_of(given, http_emitter(given, batch_size=1, hooks=[arrived]))
    passage.watch.start()
    running = asyncio.create_task(worker.run())
    for number in range(given["events"]):
        passage.leave(page_url(number))
        await side.track(number)
        await asyncio.sleep(given["seconds"] / given["events"])
    await until(lambda: not passage.left)
    worker.stop()
    await running
    await side.close()
    passage.report(VERSIONS)


if __name__ == "__main__":
    main(make, drain, pass_on)
