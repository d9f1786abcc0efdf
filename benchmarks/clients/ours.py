"""
This library, imported from the working tree.

Parameters: ``emitter`` (``http``, ``null``, ``memory``, ``redis``, or ``store``:
`HttpEmitter` whose delivery never starts; for ``redis``: ``redis_port``, ``mode``,
``deduplicate`` and ``batch_size``), ``event`` (``page_view`` or ``structured``),
``entities`` (``json`` or ``model``), ``padding`` (characters that the first entity
is longer by), ``method``, ``scheme``, ``events``, ``tasks``, ``port``, ``core``,
``loop`` (``asyncio`` or ``uvloop``) and ``validation``.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from common import (
    PAGE_TITLE,
    PRODUCT_SCHEMA,
    REFERRER,
    VISITOR_SCHEMA,
    Stopwatch,
    dress,
    page_url,
    parameters,
    product,
    versions_of,
    visitor,
)

from snowplow_aio import (
    HttpEmitter,
    MemoryEmitter,
    PageView,
    RedisEmitter,
    SelfDescribing,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
    __version__,
    disable_validation,
)


class Product(SelfDescribing, schema=PRODUCT_SCHEMA):
    """
    The first entity as an application declares it.
    """

    sku: str
    name: str
    category: str
    description: str | None = None
    price: float
    currency: str
    stock: int
    brand: str
    list_price: float
    image: str
    tags: list[str]


class Visitor(SelfDescribing, schema=VISITOR_SCHEMA):
    """
    The second entity as an application declares it.
    """

    visits: int
    tier: str
    newsletter: bool
    groups: list[str]


class NullEmitter:
    """
    Takes every event and forgets it: what is left is the cost of building.
    """

    def __init__(self) -> None:
        self.taken = 0

    def input(self, payload: Mapping[str, str]) -> None:
        self.taken += 1


# What one event needs: the event itself and its entities.
Made = tuple[Any, list[Any] | None]


def make_page_view(number: int) -> Any:
    return PageView(page_url=page_url(number), page_title=PAGE_TITLE, referrer=REFERRER)


def make_with_json(number: int, padding: int = 0) -> Made:
    entities = [
        SelfDescribingJson(PRODUCT_SCHEMA, product(number, padding)),
        SelfDescribingJson(VISITOR_SCHEMA, visitor(number)),
    ]
    return make_page_view(number), entities


def make_with_models(number: int, padding: int = 0) -> Made:
    return make_page_view(number), [Product(**product(number, padding)), Visitor(**visitor(number))]


def make_structured(number: int) -> Made:
    event = StructuredEvent(
        category="shop", action="add-to-basket", label=f"SKU-{number}", property_="pcs", value=2
    )
    return event, None


def maker(given: dict[str, Any]) -> Callable[[int], Made]:
    """
    Return the function that makes the events asked for.
    """
    if given["event"] == "structured":
        return make_structured
    make = make_with_models if given["entities"] == "model" else make_with_json
    return functools.partial(make, padding=given["padding"]) if given["padding"] else make


def make_emitter(given: dict[str, Any]) -> Any:
    match given["emitter"]:
        case "null":
            return NullEmitter()
        case "memory":
            return MemoryEmitter()
        case "redis":
            return RedisEmitter(
                f"redis://127.0.0.1:{given['redis_port']}/0",
                mode=given.get("mode", "list"),
                deduplicate=given.get("deduplicate", True),
                batch_size=given.get("batch_size", 50),
            )
        case _:
            return HttpEmitter(f"{given['scheme']}://127.0.0.1:{given['port']}", method=given["method"])


def make_tracker(emitter: Any) -> Tracker:
    return Tracker(emitter, namespace="bench", app_id="bench", subject=dress(Subject()))


def versions() -> dict[str, str]:
    return {"snowplow-aio": __version__} | versions_of("aiohttp", "orjson", "pydantic", "redis", "uvloop")


def taken_by(emitter: Any) -> int | None:
    """
    Return how many events an emitter that sends nothing has taken; None for one that sends.
    """
    match emitter:
        case NullEmitter():
            return emitter.taken
        case MemoryEmitter():
            return len(emitter.payloads)
        case _:
            return None


async def track_all(
    tracker: Tracker, make: Callable[[int], Made], numbers: Iterable[int], waits_ns: list[int]
) -> None:
    clock = time.perf_counter_ns
    for number in numbers:
        before = clock()
        event, context = make(number)
        await tracker.track(event, context=context)
        waits_ns.append(clock() - before)


async def run(given: dict[str, Any]) -> None:
    make, events, tasks = maker(given), given["events"], given["tasks"]
    emitter = make_emitter(given)
    async with make_tracker(emitter) as tracker:
        watch = Stopwatch()
        watch.start()
        if tasks == 1:
            await track_all(tracker, make, range(events), watch.waits_ns)
        else:
            shares = (range(task, events, tasks) for task in range(tasks))
            await asyncio.gather(*(track_all(tracker, make, share, watch.waits_ns) for share in shares))
        await tracker.flush()
        watch.stop()
    watch.report(versions(), taken=taken_by(emitter), loop=given["loop"])


def accept(given: dict[str, Any]) -> None:
    """
    Build events and have the emitter's store take them, with no loop and so no delivery.
    """
    make, tracker, clock = maker(given), make_tracker(make_emitter(given)), time.perf_counter_ns
    watch = Stopwatch()
    watch.start()
    for number in range(given["events"]):
        before = clock()
        event, context = make(number)
        tracker.track_nowait(event, context=context)
        watch.waits_ns.append(clock() - before)
    watch.stop()
    (stats,) = tracker.stats().values()
    watch.report(versions(), taken=stats.accepted)
    # No farewell to events that were never meant to be sent.
    os._exit(0)


def main() -> None:
    given = parameters()
    if not given["validation"]:
        disable_validation()
    if given["emitter"] == "store":
        accept(given)
    # `asyncio` or `uvloop`: both modules make their loops by the same name.
    loop_maker = importlib.import_module(given["loop"])
    with asyncio.Runner(loop_factory=loop_maker.new_event_loop) as runner:
        runner.run(run(given))


if __name__ == "__main__":
    main()
