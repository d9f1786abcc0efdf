"""
This library, imported from the working tree.

Parameters: ``emitter`` (``http``, ``null`` or ``memory``), ``event``
(``page_view`` or ``structured``), ``entities`` (``json`` or ``model``),
``method``, ``events``, ``port``, ``core``, ``loop`` (``asyncio`` or ``uvloop``)
and ``validation``.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Mapping
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
    price: float
    currency: str
    stock: int


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


def make_with_json(number: int) -> Made:
    entities = [
        SelfDescribingJson(PRODUCT_SCHEMA, product(number)),
        SelfDescribingJson(VISITOR_SCHEMA, visitor(number)),
    ]
    return make_page_view(number), entities


def make_with_models(number: int) -> Made:
    return make_page_view(number), [Product(**product(number)), Visitor(**visitor(number))]


def make_structured(number: int) -> Made:
    event = StructuredEvent(
        category="shop", action="add-to-basket", label=f"SKU-{number}", property_="pcs", value=2
    )
    return event, None


def make_emitter(given: dict[str, Any]) -> Any:
    match given["emitter"]:
        case "null":
            return NullEmitter()
        case "memory":
            return MemoryEmitter()
        case _:
            return HttpEmitter(f"http://127.0.0.1:{given['port']}", method=given["method"])


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


async def track_all(tracker: Tracker, make: Callable[[int], Made], events: int, waits_ns: list[int]) -> None:
    clock = time.perf_counter_ns
    for number in range(events):
        before = clock()
        event, context = make(number)
        await tracker.track(event, context=context)
        waits_ns.append(clock() - before)


async def run(given: dict[str, Any]) -> None:
    make = make_structured
    if given["event"] == "page_view":
        make = make_with_models if given["entities"] == "model" else make_with_json
    emitter = make_emitter(given)
    async with Tracker(emitter, namespace="bench", app_id="bench", subject=dress(Subject())) as tracker:
        watch = Stopwatch()
        watch.start()
        await track_all(tracker, make, given["events"], watch.waits_ns)
        await tracker.flush()
        watch.stop()
    versions = {"snowplow-aio": __version__} | versions_of("aiohttp", "orjson", "pydantic", "uvloop")
    watch.report(versions, taken=taken_by(emitter), loop=given["loop"])


def main() -> None:
    given = parameters()
    if not given["validation"]:
        disable_validation()
    # `asyncio` or `uvloop`: both modules make their loops by the same name.
    loop_maker = importlib.import_module(given["loop"])
    with asyncio.Runner(loop_factory=loop_maker.new_event_loop) as runner:
        runner.run(run(given))


if __name__ == "__main__":
    main()
