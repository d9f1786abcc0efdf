"""Shared by the tests of faults: a faulty collector, the law of conservation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import snowplow_aio
from snowplow_aio import EmitterStats, Tracker
from tests.faults.server import CollectorProcess
from tests.scale import scale


def lasting(seconds: float) -> pytest.MarkDecorator:
    """Return the mark of a test whose full version takes up to *seconds* on a busy machine."""
    return pytest.mark.timeout(scale(180, seconds))


@pytest.fixture
def collector() -> Iterator[CollectorProcess]:
    """A healthy collector in a process of its own; the test tells it what to do wrong."""
    with CollectorProcess(seed=1) as running:
        yield running


def balance(stats: EmitterStats) -> int:
    """Return how many events the numbers lose; 0 at every moment."""
    ends = stats.delivered + sum(stats.rejected.values()) + sum(stats.dropped.values())
    return stats.accepted - stats.pending - stats.leased - ends


def missing(source: Any) -> int:
    """
    Return how many accepted events an emitter or a worker has lost: not settled, and not in its store.

    Right only in the loop that delivers, because it asks twice.
    """
    stats, held = source.stats(), source._store.statistics()
    return balance(stats) or stats.pending + stats.leased - held.pending - held.leased


@asynccontextmanager
async def balanced(tracker: Tracker) -> AsyncGenerator[None, None]:
    """Assert the conservation law all the while. Only for events tracked in this thread."""

    async def watch() -> None:
        while True:
            assert [missing(emitter) for emitter in tracker.emitters if missing(emitter)] == []
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    if not watching.cancelled():
        watching.result()


_PACKAGE = str(Path(snowplow_aio.__file__).parent)


def internal_tasks() -> list[asyncio.Task[Any]]:
    """Return the tasks that the library has started."""
    codes = ((task, getattr(task.get_coro(), "cr_code", None)) for task in asyncio.all_tasks())
    return [task for task, code in codes if code is not None and code.co_filename.startswith(_PACKAGE)]


@pytest.fixture(autouse=True)
async def no_task_left(anyio_backend: str) -> AsyncIterator[None]:
    yield
    assert internal_tasks() == []
