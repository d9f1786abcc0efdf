"""A signal handler tracks, at any moment, in the thread that tracks or delivers."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Self

import pytest

from snowplow_aio import MemoryStore, Overflow, PageView, QueueFullError, Tracker
from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.model.payload import Payload
from snowplow_aio.policies import Batching
from tests.faults.conftest import balance
from tests.scale import scale

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread"),
]

PAGE = PageView(page_url="https://shop.example/")
SIGNALS = scale(25, 1_000)


class Sink(Transport):
    """Takes everything, and counts."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def send(self, payloads: Sequence[Payload]) -> Response:
        self.ids += [payload["eid"] for payload in payloads]
        await asyncio.sleep(0)
        return Response(status=200)


class Storm:
    """
    Sends signals to this thread from another one, as fast as it can; each has an event tracked.

    Args:
        tracker: Where.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.calls = 0
        self.ids: list[str] = []
        self._tracker = tracker
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(threading.get_ident(),))

    def _run(self, receiver: int) -> None:
        while not self._is_over.is_set():
            signal.pthread_kill(receiver, signal.SIGUSR1)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.calls += 1
        with suppress(QueueFullError):
            self.ids.append(self._tracker.track_nowait(PAGE))

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGUSR1, self._handle)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._before)


async def test_a_signal_handler_tracks_while_its_thread_tracks_and_delivers() -> None:
    sink, tracked = Sink(), list[str]()
    emitter = BufferedEmitter(sink, batching=Batching(batch_size=5, max_batch=20), name="sink")
    async with Tracker(emitter) as tracker:
        with Storm(tracker) as storm:
            while storm.calls < SIGNALS:
                for _ in range(50):
                    tracked.append(await tracker.track(PAGE))
        await tracker.flush()
        stats = tracker.stats()["sink"]
    assert balance(stats) == 0
    assert stats.accepted == len(tracked) + len(storm.ids)
    assert sorted(sink.ids) == sorted(tracked + storm.ids)
    assert len(set(sink.ids)) == len(sink.ids)


@pytest.mark.parametrize("overflow", [Overflow.DROP_NEW, Overflow.DROP_OLD, Overflow.RAISE])
def test_a_signal_handler_tracks_into_a_store_that_is_full(overflow: Overflow) -> None:
    """Before any loop runs, so that nothing is delivered."""
    store = MemoryStore(capacity=10, overflow=overflow)
    emitter = BufferedEmitter(Sink(), batching=Batching(), name="sink", store=store)
    tracker, tracked = Tracker(emitter), 0
    with Storm(tracker) as storm:
        while storm.calls < SIGNALS:
            with suppress(QueueFullError):
                tracker.track_nowait(PAGE)
                tracked += 1
    stats = tracker.stats()["sink"]
    assert balance(stats) == 0
    assert stats.accepted == tracked + len(storm.ids)
    assert stats.pending <= 10
    result = asyncio.run(tracker.aclose())
    assert result.delivered + result.dropped == stats.accepted
