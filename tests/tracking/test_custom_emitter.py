"""An object of the application's own may do anything: the rest ends in time, and each event is counted."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import pytest

from snowplow_aio import (
    ConfigurationError,
    DeliveryError,
    EcommerceTransaction,
    EcommerceTransactionItem,
    EmitterStats,
    MemoryEmitter,
    PageView,
    Payload,
    Tracker,
    sync,
)
from snowplow_aio.abc import AcceptingEmitter
from snowplow_aio.tracking import custom_emitter
from tests.faults.programs import end_of, output_of, started
from tests.waiting import until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
ORDER = EcommerceTransaction(
    order_id="o-7",
    total_value=35,
    currency="EUR",
    items=[
        EcommerceTransactionItem(id_="o-7", sku=sku, price=5, quantity=1, currency="EUR") for sku in "abc"
    ],
)


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what never ends be given up soon."""
    monkeypatch.setattr(custom_emitter, "_INPUT_SECONDS", 0.1)
    monkeypatch.setattr(custom_emitter, "_DRAIN_SECONDS", 0.3)


def balance(stats: EmitterStats) -> int:
    ends = stats.delivered + sum(stats.rejected.values()) + sum(stats.dropped.values())
    return stats.accepted - stats.pending - stats.leased - ends


async def hang() -> None:
    await asyncio.Event().wait()


class Stubborn:
    """Goes on although it is cancelled, until the test ends."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()

    async def __call__(self) -> None:
        while not self.is_over.is_set():
            try:
                await self.is_over.wait()
            except asyncio.CancelledError:
                continue


async def cancel_itself() -> None:
    raise asyncio.CancelledError


async def fail() -> None:
    raise ZeroDivisionError


def block() -> None:
    RELEASED.wait(30)


RELEASED = threading.Event()

FAULTS: dict[str, Callable[[], Any]] = {
    "hangs": lambda: hang,
    "goes on": Stubborn,
    "cancels itself": lambda: cancel_itself,
    "raises": lambda: fail,
    "blocks": lambda: block,
}


class Faulty:
    """Misbehaves in one of its methods."""

    def __init__(self, method: str, fault: Callable[[], Any]) -> None:
        self.inputs: list[str] = []
        self.fault = fault
        self._is_input = method == "input"
        if not self._is_input:
            setattr(self, method, fault)

    async def input(self, payload: Mapping[str, str]) -> None:
        if self._is_input:
            await self.fault()
        self.inputs.append(payload["eid"])

    async def end(self) -> None:
        RELEASED.set()
        if isinstance(self.fault, Stubborn):
            self.fault.is_over.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        RELEASED.clear()


@pytest.mark.parametrize("method", ["flush", "aclose"])
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("timeout", [None, 0, 0.05])
async def test_flush_and_close_end_in_time_and_reach_all_others(
    what: str, method: str, timeout: float | None
) -> None:
    faulty, kept = Faulty(method, FAULTS[what]()), MemoryEmitter()
    tracker = Tracker([faulty, kept])
    event_id = await tracker.track(PAGE)
    async with asyncio.timeout(20):
        await tracker.flush(timeout)
        result = await tracker.aclose(timeout)
    assert faulty.inputs == [event_id]
    assert kept.payloads[0]["eid"] == event_id
    assert result.by_emitter["Faulty"].pending == 0
    stats = tracker.stats()["Faulty"]
    assert (stats.delivered, stats.leased, balance(stats)) == (1, 0, 0)
    assert stats.last_error is not None
    await faulty.end()


@pytest.mark.parametrize("what", ["hangs", "goes on", "cancels itself", "raises"])
async def test_an_input_that_misbehaves_is_counted_and_keeps_the_event_from_no_other(what: str) -> None:
    faulty, kept = Faulty("input", FAULTS[what]()), MemoryEmitter()
    tracker = Tracker([faulty, kept])
    async with asyncio.timeout(20):
        await tracker.track(PAGE)
        tracker.track_nowait(PAGE)
        with pytest.raises((DeliveryError, TimeoutError)):
            await tracker.track_and_confirm(PAGE, timeout=5)
        result = await tracker.aclose()
    assert len(kept.payloads) == 3
    stats = tracker.stats()["Faulty"]
    assert (stats.accepted, stats.leased, stats.pending, sum(stats.dropped.values())) == (3, 0, 0, 3)
    assert result.by_emitter["Faulty"].dropped <= 3
    await faulty.end()


def test_an_interrupted_input_costs_its_own_event_and_no_other() -> None:
    got: list[str] = []

    class Interrupted:
        def input(self, payload: Mapping[str, str]) -> None:
            got.append(payload["e"])
            if len(got) == 2:
                raise KeyboardInterrupt

    tracker = sync.Tracker(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        tracker.track(ORDER)
    tracker.track(PAGE)
    (stats,) = tracker.stats().values()
    assert got == ["tr", "ti", "ti", "ti", "pv"]
    assert (stats.delivered, dict(stats.dropped), stats.pending) == (4, {"error": 1}, 0)
    tracker.close()


async def test_a_caller_that_gives_up_leaves_no_event_under_way_for_ever() -> None:
    faulty = Faulty("input", hang)
    tracker = Tracker([faulty])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tracker.track(PAGE), 0.01)
    call = asyncio.create_task(tracker.track(PAGE))
    call.cancel()
    await asyncio.wait([call])
    await until(lambda: tracker.stats()["Faulty"].leased == 0)
    assert dict(tracker.stats()["Faulty"].dropped) == {"timeout": 1}
    await tracker.aclose()


class Slow:
    """Takes a while for each event."""

    def __init__(self) -> None:
        self.inputs: list[str] = []

    async def input(self, payload: Mapping[str, str]) -> None:
        await asyncio.sleep(0.005)
        self.inputs.append(payload["e"])


async def test_a_transaction_whose_caller_is_cancelled_comes_with_all_of_its_items() -> None:
    slow = Slow()
    tracker = Tracker(slow)
    call = asyncio.create_task(tracker.track(ORDER))
    await asyncio.sleep(0.007)
    call.cancel()
    await asyncio.wait([call])
    await until(lambda: tracker.stats()["Slow"].leased == 0)
    assert slow.inputs == ["tr", "ti", "ti", "ti"]
    await tracker.aclose()


async def test_a_close_drops_and_counts_the_part_of_a_transaction_that_is_left() -> None:
    faulty = Faulty("input", hang)
    tracker = Tracker(faulty)
    call = asyncio.create_task(tracker.track(ORDER))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    result = await tracker.aclose(0)
    await asyncio.wait([call])
    assert (result.dropped, result.pending) == (4, 0)
    stats = tracker.stats()["Faulty"]
    assert (dict(stats.dropped), stats.state, balance(stats)) == ({"closed": 4}, "closed", 0)


def test_a_loop_that_ends_without_a_close_leaves_nothing_under_way() -> None:
    faulty = Faulty("input", hang)
    tracker = Tracker(faulty)

    async def main() -> None:
        tracker.track_nowait(ORDER)

    asyncio.run(main())
    stats = tracker.stats()["Faulty"]
    assert (stats.accepted, stats.leased, sum(stats.dropped.values())) == (4, 0, 4)


async def test_after_a_close_events_are_counted_as_dropped_and_input_is_not_called() -> None:
    slow = Slow()
    tracker = Tracker(slow)
    await tracker.track(PAGE)
    first = await tracker.aclose()
    await tracker.track(PAGE)
    tracker.track_nowait(PAGE)
    assert slow.inputs == ["pv"]
    assert dict(tracker.stats()["Slow"].dropped) == {"closed": 2}
    assert await tracker.aclose() == first


def test_what_waits_for_a_loop_that_never_runs_is_bounded() -> None:
    tracker = Tracker(Slow())
    for _ in range(10_100):
        tracker.track_nowait(PAGE)
    stats = tracker.stats()["Slow"]
    assert (stats.pending, dict(stats.dropped), balance(stats)) == (10_000, {"queue_full": 100}, 0)


def test_what_waits_without_a_loop_is_no_good_health() -> None:
    tracker = Tracker(Slow())
    assert tracker.health().is_ok
    tracker.track_nowait(PAGE)
    assert str(tracker.health()) == (
        "Slow: stalled (no event loop runs the delivery; a program without a loop uses snowplow_aio.sync); "
        "1 waiting; 0 delivered"
    )
    asyncio.run(tracker.aclose())
    assert tracker.stats()["Slow"].delivered == 1


def test_an_emitter_that_is_forgotten_with_events_says_so(caplog: pytest.LogCaptureFixture) -> None:
    Tracker(Slow()).track_nowait(PAGE)
    gc.collect()
    assert caplog.messages[-1].startswith("Slow: dropped without aclose() with 1 event undelivered")


PROGRAM = """
import asyncio, os, sys
from snowplow_aio import PageView, Tracker

class Mine:
    async def input(self, payload):
        print(payload["url"], flush=True)

def page(name):
    return PageView(page_url=f"https://shop.example/{name}")

tracker = Tracker(Mine())
tracker.track_nowait(page("parent"))
"""

AFTER_A_FORK = (
    PROGRAM
    + """
child = os.fork()
if child == 0:
    tracker.track_nowait(page("child"))
else:
    os.waitpid(child, 0)
asyncio.run(tracker.aclose())
sys.exit(tracker.stats()["Mine"].accepted != 1)
"""
)


async def test_a_program_that_ends_without_a_loop_says_what_is_lost() -> None:
    async with started(PROGRAM) as process:
        ended = await end_of(process)
    assert (ended.code, ended.printed) == (0, [])
    said = (
        "Mine: ended without aclose(), with 1 event undelivered "
        "(last error: no event loop runs the delivery; a program without a loop uses snowplow_aio.sync)"
    )
    assert said in ended.said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_child_of_a_fork_hands_over_its_own_events_only() -> None:
    assert await output_of(AFTER_A_FORK) == ["https://shop.example/child", "https://shop.example/parent"]


async def test_calls_of_a_flush_that_never_ends_are_bounded() -> None:
    calls = 0

    def flush() -> None:
        nonlocal calls
        calls += 1
        block()

    faulty = Faulty("flush", flush)
    tracker = Tracker(faulty)
    for _ in range(20):
        await tracker.flush(0)
    assert calls == 4
    await faulty.end()
    await tracker.aclose()


async def test_an_input_sees_the_context_of_its_caller() -> None:
    request, seen = contextvars.ContextVar[str]("request"), list[str]()

    class Looking:
        async def input(self, payload: Mapping[str, str]) -> None:
            await asyncio.sleep(0)
            seen.append(request.get())

    async with Tracker(Looking()) as tracker:
        for name in ("a", "b"):
            request.set(name)
            await tracker.track(PAGE)
    assert seen == ["a", "b"]


async def test_a_plain_input_lets_the_loop_run_now_and_then() -> None:
    class Plain:
        def input(self, payload: Mapping[str, str]) -> None:
            return

    async with Tracker(Plain()) as tracker:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        started = time.perf_counter()
        while not ticks and time.perf_counter() < started + 30:
            await tracker.track(PAGE)
        assert ticks
        ticking.cancel()
        await asyncio.wait([ticking])


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread")
async def test_a_signal_handler_tracks_while_its_thread_tracks() -> None:
    main, is_over, calls, tracked = threading.get_ident(), threading.Event(), [0], 0

    class Plain:
        def input(self, payload: Mapping[str, str]) -> None:
            return

    tracker = Tracker([Plain(), Slow()])

    def handle(_number: int, _frame: FrameType | None) -> None:
        calls[0] += 1
        tracker.track_nowait(PAGE)
        assert [balance(stats) for stats in tracker.stats().values()] == [0, 0]

    def storm() -> None:
        while not is_over.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)
            time.sleep(0.0005)

    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=storm)
    thread.start()
    try:
        while calls[0] < 50:
            tracker.track_nowait(PAGE)
            tracked += 1
            await asyncio.sleep(0)
    finally:
        is_over.set()
        await asyncio.to_thread(thread.join)
        signal.signal(signal.SIGUSR1, before)
    await tracker.aclose()
    assert {stats.accepted for stats in tracker.stats().values()} == {tracked + calls[0]}


class Raising(AcceptingEmitter):
    """One that keeps to the interface and fails in all of it."""

    name = "raising"

    def accept(self, payloads: Sequence[Payload]) -> None:
        raise ZeroDivisionError

    def accept_nowait(self, payloads: Sequence[Payload]) -> None:
        raise ZeroDivisionError

    async def watch(self, payload: Payload) -> None:
        return None

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> Any:
        raise ZeroDivisionError

    async def aclose(self, timeout: float | None = None) -> Any:
        raise ZeroDivisionError


async def test_an_emitter_that_fails_keeps_events_from_no_other() -> None:
    kept = MemoryEmitter()
    tracker = Tracker([Raising(), kept])
    with pytest.raises(ZeroDivisionError):
        await tracker.track(PAGE)
    with pytest.raises(ZeroDivisionError):
        tracker.track_nowait(PAGE)
    assert len(kept.payloads) == 2
    assert (await tracker.flush()).by_emitter["memory"].delivered == 2
    assert (await tracker.aclose()).delivered == 0
    with pytest.raises(ConfigurationError):
        await tracker.aclose(-1)
