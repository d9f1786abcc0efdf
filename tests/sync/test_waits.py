"""Calls that wait for a thread that stands still return all the same."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from snowplow_aio import HttpEmitter, MemoryStore, Overflow, PageView, Retry
from snowplow_aio.sync import Tracker
from tests.waiting import wait_until

PAGE = PageView(page_url="https://shop.example/")


@contextmanager
def standing_still(store: MemoryStore | None = None) -> Generator[Tracker]:
    """A tracker whose thread is blocked by a hook, until the end of the block."""
    is_blocked, goes_on = threading.Event(), threading.Event()

    def block(_outcome: object) -> None:
        if threading.current_thread().name == "snowplow_aio portal":
            is_blocked.set()
            goes_on.wait()

    emitter = HttpEmitter(
        "http://127.0.0.1:9", store=store, retry=Retry.never(), hooks=[block], batch_size=1, drain_timeout=0
    )
    with Tracker(emitter) as tracker:
        tracker.track(PAGE)
        is_blocked.wait()
        try:
            yield tracker
            assert not goes_on.is_set()
        finally:
            goes_on.set()


def test_a_flush_returns_in_time_though_a_hook_blocks_the_thread() -> None:
    with standing_still() as tracker:
        tracker.track(PAGE)
        assert tracker.flush(timeout=0).pending >= 1


def test_an_event_cannot_be_confirmed_while_a_hook_blocks_the_thread() -> None:
    with (
        standing_still() as tracker,
        pytest.raises(TimeoutError, match="the loop that delivers stands still"),
    ):
        tracker.track_and_confirm(PAGE, timeout=0)


def test_a_nearly_full_store_holds_nobody_up_for_long_though_a_hook_blocks_the_thread() -> None:
    with standing_still(MemoryStore(capacity=8)) as tracker:
        for _ in range(20):
            tracker.track(PAGE)
        assert tracker.stats()["http"].dropped["queue_full"] >= 1


def test_an_event_that_waits_for_room_is_taken_once_though_a_hook_blocks_the_thread() -> None:
    store = MemoryStore(capacity=1, overflow=Overflow.WAIT)
    with standing_still(store) as tracker:
        waiting = threading.Thread(target=lambda: [tracker.track(PAGE) for _ in range(3)], daemon=True)
        waiting.start()
        wait_until(lambda: tracker.stats()["http"].accepted >= 2)
    waiting.join()
    assert tracker.stats()["http"].accepted == 4
