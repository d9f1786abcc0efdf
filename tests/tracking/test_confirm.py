"""Waiting for what became of a single event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from snowplow_aio import (
    DeliveryError,
    EcommerceTransaction,
    HttpEmitter,
    MemoryEmitter,
    PageView,
    Retry,
    Tracker,
)
from tests.collector import Answer, running_collector

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")


async def test_a_confirmed_event_is_delivered_without_waiting_for_the_flush_interval() -> None:
    async with running_collector() as collector:
        emitters = [HttpEmitter(collector.url, flush_interval=None), MemoryEmitter()]
        async with Tracker(emitters) as tracker:
            event_id = await tracker.track_and_confirm(PAGE)
            assert collector.accepted[event_id] == 1


async def test_an_event_that_is_refused_raises_with_the_reason() -> None:
    async with running_collector() as collector:
        collector.rule = lambda _request: Answer(422)
        async with Tracker([HttpEmitter(collector.url), MemoryEmitter()]) as tracker:
            with pytest.raises(DeliveryError, match=r"event .{36} was not delivered by http \(refused\)"):
                await tracker.track_and_confirm(PAGE)


async def test_an_event_that_is_given_up_raises_with_the_reason() -> None:
    async with running_collector() as collector:
        collector.rule = lambda _request: Answer(503)
        async with Tracker(HttpEmitter(collector.url, retry=Retry.never())) as tracker:
            with pytest.raises(DeliveryError, match="not_retried"):
                await tracker.track_and_confirm(PAGE)
        with pytest.raises(DeliveryError, match="closed"):
            await tracker.track_and_confirm(PAGE)


async def test_whoever_stops_waiting_does_not_stop_the_event() -> None:
    async with running_collector() as collector:
        collector.answer_next(Answer(hangs=True))
        async with Tracker(HttpEmitter(collector.url, retry=Retry(initial_delay=0.01))) as tracker:
            with pytest.raises(TimeoutError, match="the event was not delivered within"):
                await tracker.track_and_confirm(PAGE, timeout=0.01)
            await collector.requested(1)
            collector.disconnect()
            assert (await tracker.flush()).delivered == 1


async def test_a_transaction_is_confirmed_with_its_items() -> None:
    event = EcommerceTransaction(order_id="o", total_value=1, items=[{"sku": "s", "price": 1, "quantity": 1}])
    async with running_collector() as collector, Tracker(HttpEmitter(collector.url)) as tracker:
        await tracker.track_and_confirm(event)
        assert collector.accepted.total() == 2


class Own:
    """An emitter of the application's own."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails

    async def input(self, payload: Mapping[str, str]) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise OSError


async def test_an_own_emitter_confirms_by_returning() -> None:
    await Tracker(Own(fails=False)).track_and_confirm(PAGE)
    with pytest.raises(DeliveryError, match=r"Own \(OSError\)"):
        await Tracker(Own(fails=True)).track_and_confirm(PAGE)
