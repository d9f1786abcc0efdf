"""Threads come one by one, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from snowplow_aio.runtime import one_by_one
from snowplow_aio.runtime.one_by_one import OneByOne


@contextmanager
def another_inside(block: OneByOne, left: list[str]) -> Generator[threading.Event]:
    """Have another thread in *block* until the event is set."""
    came, goes = threading.Event(), threading.Event()

    def stay() -> None:
        with block:
            came.set()
            goes.wait()
            left.append("another")

    thread = threading.Thread(target=stay)
    thread.start()
    came.wait()
    try:
        yield goes
    finally:
        goes.set()
        thread.join()


def test_a_thread_waits_until_the_one_inside_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    block, left = OneByOne(), list[str]()
    monkeypatch.setattr(one_by_one, "_MOST_STEPS", 10**9)
    with another_inside(block, left) as goes:
        monkeypatch.setattr("time.sleep", lambda _: goes.set())
        with block:
            left.append("this")
    assert left == ["another", "this"]


def test_a_thread_that_is_stuck_inside_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    block, steps = OneByOne(), list[float]()
    monkeypatch.setattr("time.sleep", steps.append)
    with another_inside(block, []):
        with block:
            waited = len(steps)
        with block:
            pass
    assert waited == len(steps) == 1_000


def test_a_signal_handler_in_the_midst_gets_in_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    block, steps = OneByOne(), list[float]()
    monkeypatch.setattr("time.sleep", steps.append)
    with block, block:
        pass
    with block:
        pass
    assert steps == []
