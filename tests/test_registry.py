"""Named trackers in one process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from snowplow_aio import ConfigurationError, MemoryEmitter, PageView
from snowplow_aio.registry import (
    TrackerRegistry,
    close_trackers,
    create_tracker,
    get_tracker,
    remove_tracker,
    set_default_tracker,
)

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")


async def test_a_tracker_is_found_by_its_namespace_everywhere_in_the_process() -> None:
    kept = MemoryEmitter()
    created = create_tracker("checkout", kept, app_id="shop")
    try:
        assert get_tracker("checkout") is created
        await get_tracker("checkout").track(PAGE)
        assert (kept.payloads[0]["tna"], kept.payloads[0]["aid"]) == ("checkout", "shop")
    finally:
        assert list(await close_trackers()) == ["checkout"]


async def test_the_first_tracker_is_the_default_until_another_is_chosen() -> None:
    first, second = create_tracker("first", MemoryEmitter()), create_tracker("second", MemoryEmitter())
    assert get_tracker() is first
    set_default_tracker("second")
    assert get_tracker() is second
    assert remove_tracker("second") is second
    assert get_tracker() is first
    await close_trackers()


def test_what_is_not_there_is_named_with_what_is() -> None:
    registry = TrackerRegistry()
    with pytest.raises(ConfigurationError, match="there is no tracker None; there are: none"):
        registry.get()
    registry.create("b", MemoryEmitter())
    registry.create("a", MemoryEmitter())
    for call in (registry.get, registry.remove, registry.set_default):
        with pytest.raises(ConfigurationError, match="there is no tracker 'c'; there are: a, b"):
            call("c")


def test_a_name_belongs_to_one_tracker() -> None:
    registry = TrackerRegistry()
    registry.create("a", MemoryEmitter())
    with pytest.raises(ConfigurationError, match="namespace: must not be taken by another tracker, got 'a'"):
        registry.create("a", MemoryEmitter())
    with pytest.raises(ConfigurationError, match="namespace: must be a non-empty string, got ''"):
        registry.create("", MemoryEmitter())


def test_trackers_share_nothing_that_can_change() -> None:
    registry = TrackerRegistry()
    first, second = registry.create("a", MemoryEmitter()), registry.create("b", MemoryEmitter())
    first.subject.set_user_id("u")
    assert second.subject.user_id is None


def test_of_many_threads_one_creates_the_tracker() -> None:
    registry = TrackerRegistry()

    def create(_number: int) -> bool:
        try:
            registry.create("a", MemoryEmitter())
        except ConfigurationError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(50))) == 1


def test_a_tracker_can_be_used_in_one_loop_after_another() -> None:
    registry, kept = TrackerRegistry(), MemoryEmitter()
    registry.create("a", kept)

    async def main() -> None:
        await registry.get().track(PAGE)

    asyncio.run(main())
    asyncio.run(main())
    assert len(kept.payloads) == 2


def test_a_name_that_is_none_is_neither_the_default_nor_another() -> None:
    registry = TrackerRegistry()
    registry.create("a", MemoryEmitter())
    for call in (registry.set_default, registry.remove):
        with pytest.raises(ConfigurationError, match="namespace: must be a non-empty string, got None"):
            call(None)  # type: ignore[arg-type]
    assert registry.names() == ["a"]
