"""Named trackers in one process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

import snowplow_aio
from snowplow_aio import ConfigurationError, HttpEmitter, MemoryEmitter, PageView, sync
from snowplow_aio.micro import Micro
from snowplow_aio.registry import (
    TrackerRegistry,
    add_tracker,
    close_blocking_trackers,
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
            call(None)  # type: ignore[arg-type, call-overload]
    assert registry.names() == ["a"]


# --- trackers that are there already


async def test_a_tracker_of_either_kind_is_kept_under_its_namespace() -> None:
    blocking = sync.Tracker(MemoryEmitter(), namespace="script", app_id="shop")
    awaited = snowplow_aio.Tracker(MemoryEmitter(), namespace="service")
    assert add_tracker(blocking) is blocking
    assert add_tracker(awaited) is awaited
    default: object = get_tracker()
    assert default is get_tracker("script", sync.Tracker) is blocking
    assert get_tracker("service", kind=snowplow_aio.Tracker) is awaited
    assert (get_tracker("script").namespace, get_tracker("script").app_id) == ("script", "shop")
    assert list(await close_trackers()) == ["script", "service"]


def test_a_tracker_of_the_other_kind_is_refused_where_one_kind_is_asked_for() -> None:
    registry = TrackerRegistry()
    registry.add(sync.Tracker(MemoryEmitter(), namespace="a"))
    with pytest.raises(
        ConfigurationError, match=r"^kind: must be the class of the tracker, snowplow_aio.sync.Tr"
    ):
        registry.get("a", kind=snowplow_aio.Tracker)
    with pytest.raises(ConfigurationError, match=r"^kind: must be the class Tracker of"):
        registry.get("a", kind=dict)  # type: ignore[type-var]


def test_what_cannot_be_kept_is_named() -> None:
    registry = TrackerRegistry()
    with pytest.raises(
        ConfigurationError, match=r"^tracker: must be a Tracker of snowplow_aio or of snowplow_"
    ):
        registry.add(MemoryEmitter())  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match=r"^namespace: must be a non-empty string, got ''"):
        registry.add(sync.Tracker(MemoryEmitter()))
    first = registry.add(sync.Tracker(MemoryEmitter(), namespace="a"))
    assert registry.add(first) is first
    with pytest.raises(
        ConfigurationError, match=r"^namespace: must not be taken by another tracker, got 'a'"
    ):
        registry.add(snowplow_aio.Tracker(MemoryEmitter(), namespace="a"))


def test_a_tracker_is_removed_by_itself_or_by_its_namespace() -> None:
    registry = TrackerRegistry()
    first = registry.add(sync.Tracker(MemoryEmitter(), namespace="a"))
    other = sync.Tracker(MemoryEmitter(), namespace="a")
    with pytest.raises(ConfigurationError, match=r"^namespace: must be of a tracker that is kept"):
        registry.remove(other)
    assert registry.remove(first) is first
    registry.add(other)
    removed: object = registry.remove("a")
    assert removed is other
    assert registry.names() == []


async def test_closing_all_trackers_delivers_for_both_kinds(micro: Micro) -> None:
    blocking = add_tracker(sync.Tracker(HttpEmitter(micro.url), namespace="script"))
    awaited = add_tracker(snowplow_aio.Tracker(HttpEmitter(micro.url), namespace="service"))
    await asyncio.to_thread(blocking.track, PAGE)
    await awaited.track(PAGE)
    results = await close_trackers()
    assert {name: result.delivered for name, result in results.items()} == {"script": 1, "service": 1}
    assert micro.counts()["good"] == 2


async def test_a_program_without_a_loop_closes_its_own_trackers_and_leaves_the_others(micro: Micro) -> None:
    blocking = add_tracker(sync.Tracker(HttpEmitter(micro.url), namespace="script"))
    awaited = add_tracker(snowplow_aio.Tracker(MemoryEmitter(), namespace="service"))
    await asyncio.to_thread(blocking.track, PAGE)
    results = await asyncio.to_thread(close_blocking_trackers, 30)
    assert {name: result.delivered for name, result in results.items()} == {"script": 1}
    assert remove_tracker(awaited) is awaited
    with pytest.raises(ConfigurationError, match="there are: none"):
        get_tracker()
