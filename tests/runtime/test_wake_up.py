"""One coroutine that waits, and all who may wake it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import pytest

from snowplow_aio.runtime import wake_up as module
from snowplow_aio.runtime.wake_up import WakeUp

pytestmark = pytest.mark.anyio


async def test_a_notification_ends_the_wait_under_way() -> None:
    wake_up = WakeUp()
    waiting = asyncio.create_task(wake_up.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    wake_up.notify()
    await waiting
    assert not wake_up.is_notified


async def test_a_notification_that_nobody_waits_for_ends_the_next_wait() -> None:
    wake_up = WakeUp()
    states = [wake_up.is_notified]
    wake_up.notify()
    wake_up.notify()
    states.append(wake_up.is_notified)
    await wake_up.wait()
    states.append(wake_up.is_notified)
    assert states == [False, True, False]
    # Both are used up.
    await wake_up.wait(timeout=0.001)


async def test_a_wait_ends_when_its_time_is_over() -> None:
    wake_up = WakeUp()
    await wake_up.wait(timeout=0.001)
    await wake_up.wait(timeout=0)
    assert not wake_up.is_notified


async def test_another_thread_wakes_a_sleeping_loop() -> None:
    wake_up, asked = WakeUp(), queue.SimpleQueue[bool]()

    def answer() -> None:
        while asked.get():
            wake_up.notify()

    thread = threading.Thread(target=answer)
    thread.start()
    async with asyncio.timeout(30):
        for _ in range(200):
            asked.put(True)
            await wake_up.wait()
    asked.put(False)
    await asyncio.to_thread(thread.join)


async def test_of_many_threads_no_notification_is_lost() -> None:
    """Each thread counts before it notifies: whoever looks after each wait sees the last count."""
    wake_up, counts = WakeUp(), [0] * 4

    def count(number: int) -> None:
        for _ in range(2_000):
            counts[number] += 1
            wake_up.notify()

    threads = [threading.Thread(target=count, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(30):
        while sum(counts) < 8_000:
            await wake_up.wait()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("is_notified_first", [True, False])
async def test_a_wait_that_is_cancelled_leaves_the_notification_to_the_next(is_notified_first: bool) -> None:
    wake_up = WakeUp()
    waiting = asyncio.create_task(wake_up.wait())
    await asyncio.sleep(0)
    for step in (wake_up.notify, waiting.cancel) if is_notified_first else (waiting.cancel, wake_up.notify):
        step()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert wake_up.is_notified
    await wake_up.wait()


async def test_a_wait_that_is_cancelled_from_a_thread_at_any_moment_leaves_the_notification() -> None:
    """The thread notifies once a round. Either that wait returns, or the next one does."""
    wake_up, rounds = WakeUp(), queue.SimpleQueue[bool]()

    def answer() -> None:
        while rounds.get():
            wake_up.notify()

    thread = threading.Thread(target=answer)
    thread.start()
    async with asyncio.timeout(30):
        for _ in range(200):
            waiting = asyncio.create_task(wake_up.wait())
            await asyncio.sleep(0)
            rounds.put(True)
            waiting.cancel()
            await asyncio.wait([waiting])
            if waiting.cancelled():
                await wake_up.wait()
    rounds.put(False)
    await asyncio.to_thread(thread.join)


def test_a_wait_in_a_closed_loop_is_left_alone() -> None:
    wake_up = WakeUp()
    loop = asyncio.new_event_loop()
    left = loop.create_task(wake_up.wait())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    wake_up.notify()
    wake_up.notify()

    async def wait_again() -> None:
        await wake_up.wait()
        waiting = asyncio.create_task(wake_up.wait())
        await asyncio.sleep(0)
        # The old wait ends now: that must not take the new one's place.
        left.get_coro().close()
        wake_up.notify()
        await waiting

    asyncio.run(asyncio.wait_for(wait_again(), 30))
    left._log_destroy_pending = False  # type: ignore[attr-defined]


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often it is called from elsewhere."""

    calls = 0

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        self.calls += 1
        return super().call_soon_threadsafe(*args, **options)


def test_a_loop_that_stands_still_is_told_once() -> None:
    wake_up, loop = WakeUp(), CountingLoop()
    waiting = loop.create_task(wake_up.wait())
    loop.run_until_complete(asyncio.sleep(0))
    for _ in range(1_000):
        wake_up.notify()
    assert loop.calls == 1
    loop.run_until_complete(waiting)
    loop.close()


# --- signal handlers


@contextlib.contextmanager
def on_signal(call: Callable[[], None]) -> Generator[Callable[[], None], None, None]:
    """Have *call* called for each signal; give what sends one to this thread."""
    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: call())
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


needs_signals = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this system has no such signals"
)


@needs_signals
async def test_a_signal_handler_wakes_a_sleeping_loop() -> None:
    """Python runs the handler without ending the sleep of the loop: the notification has to."""
    wake_up, asked, is_awake = WakeUp(), queue.SimpleQueue[bool](), threading.Event()
    with on_signal(wake_up.notify) as send:

        def answer() -> None:
            while asked.get():
                # Python runs no handler for a signal that comes right before the sleep: again, until it does.
                while not is_awake.wait(0.001):
                    send()

        thread = threading.Thread(target=answer)
        thread.start()
        async with asyncio.timeout(30):
            for _ in range(50):
                is_awake.clear()
                asked.put(True)
                await wake_up.wait()
                is_awake.set()
        asked.put(False)
        await asyncio.to_thread(thread.join)


@needs_signals
async def test_a_signal_handler_may_notify_while_others_notify_and_wait() -> None:
    wake_up, count = WakeUp(), 0
    is_over = threading.Event()

    def notify() -> None:
        nonlocal count
        count += 1
        wake_up.notify()

    with on_signal(notify) as send:

        def storm() -> None:
            while not is_over.is_set():
                send()

        thread = threading.Thread(target=storm)
        thread.start()
        async with asyncio.timeout(30):
            while count < 200:
                seen = count
                wake_up.notify()
                await wake_up.wait()
                while count == seen:
                    await wake_up.wait()
        is_over.set()
        await asyncio.to_thread(thread.join)


def test_a_notification_in_the_midst_of_any_line_is_not_lost() -> None:
    """As a signal handler would, between each two lines of `notify` and `wait`."""
    wake_up = WakeUp()
    interrupted: set[int] = set()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line" and frame.f_lineno not in interrupted:
            interrupted.add(frame.f_lineno)
            wake_up.notify()
        return trace

    async def wait_twice() -> None:
        waiting = asyncio.create_task(wake_up.wait())
        await asyncio.sleep(0)
        wake_up.notify()
        await waiting
        await wake_up.wait(timeout=0.001)

    async def main() -> int:
        rounds = 0
        async with asyncio.timeout(30):
            while True:
                before = len(interrupted)
                previous = sys.gettrace()
                sys.settrace(trace)
                try:
                    await wait_twice()
                finally:
                    sys.settrace(previous)
                rounds += 1
                if len(interrupted) == before:
                    return rounds

    assert asyncio.run(main()) > 1
    assert len(interrupted) > 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_child_of_a_fork_does_not_touch_the_loop_of_its_parent() -> None:
    wake_up, loop = WakeUp(), CountingLoop()
    waiting = loop.create_task(wake_up.wait())
    loop.run_until_complete(asyncio.sleep(0))
    if (child := os.fork()) == 0:
        status = 1
        try:
            wake_up.notify()
            wake_up.notify()
            asyncio.run(asyncio.wait_for(wake_up.wait(), 30))
            status = loop.calls
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not waiting.done()
    wake_up.notify()
    loop.run_until_complete(waiting)
    loop.close()
