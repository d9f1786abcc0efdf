"""Checks can be switched off, for the process or for one task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from snowplow_aio import (
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    PageView,
    StructuredEvent,
    Subject,
    Tracker,
    disable_validation,
    enable_validation,
)
from snowplow_aio.micro import Micro

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def switched_on_again() -> Iterator[None]:
    yield
    enable_validation()


def too_long() -> PageView:
    return PageView(page_url="https://shop.example/", page_title="x" * 3000)


def test_values_are_checked_unless_told_otherwise() -> None:
    with pytest.raises(ValidationError):
        too_long()
    disable_validation()
    assert too_long().page_title == "x" * 3000
    assert str(Subject().set_color_depth("walrus").color_depth) == "walrus"  # type: ignore[arg-type]
    enable_validation()
    with pytest.raises(ValidationError):
        too_long()
    with pytest.raises(InvalidEventError, match="color_depth: must be bits per pixel"):
        Subject().set_color_depth("walrus")  # type: ignore[arg-type]


def test_what_pydantic_checks_of_types_stays() -> None:
    with disable_validation(), pytest.raises(ValidationError):
        PageView(page_url=3)  # type: ignore[arg-type]


def test_as_a_context_manager_it_ends_with_the_block_and_nests() -> None:
    with disable_validation():
        too_long()
        with enable_validation(), pytest.raises(ValidationError):
            too_long()
        too_long()
    with pytest.raises(ValidationError):
        too_long()


async def test_as_a_context_manager_it_is_for_one_task() -> None:
    entered, checked = asyncio.Event(), asyncio.Event()

    async def unchecked() -> None:
        with disable_validation():
            entered.set()
            await checked.wait()
            too_long()

    task = asyncio.create_task(unchecked())
    await entered.wait()
    with pytest.raises(ValidationError):
        too_long()
    checked.set()
    await task


async def test_what_is_wrong_then_harms_no_other_event() -> None:
    async with Micro() as micro:
        async with Tracker(HttpEmitter(micro.url), namespace="test", app_id="shop") as tracker:
            good = await tracker.track(PageView(page_url="https://shop.example/"))
            with disable_validation():
                await tracker.track(too_long())
                await tracker.track(StructuredEvent(category="c", action="a", value=float("nan")))
                await tracker.track(
                    PageView(page_url="https://shop.example/?_sp=a.b"),
                    subject=Subject(platform="mars", screen_resolution=(-1, 0), domain_session_id="no"),
                )
        assert [event["event"]["event_id"] for event in micro.good] == [good]
        assert micro.counts() == {"total": 4, "good": 1, "bad": 3}


async def test_what_would_lose_a_whole_request_is_refused_all_the_same() -> None:
    emitter = MemoryEmitter()
    with disable_validation(), pytest.raises(InvalidEventError):
        await emitter.input({"e": "pv", "p": "web", "tv": "t", "unknown": "1"})
    assert emitter.payloads == []
