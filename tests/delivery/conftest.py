"""A scripted collector, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faults import Collector, running_collector


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


@pytest.fixture
def time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let a delivery that is closed take its time to give back what is on its way.

    For tests that count what a close leaves at once. The others keep the short time that an application has.
    """
    monkeypatch.setattr("snowplow_aio.emitters.buffered._CLOSE_SECONDS", 3.0)


@pytest.fixture(autouse=True)
async def nothing_left(anyio_backend: str) -> AsyncIterator[None]:
    """Fail when a test leaves a task of ours behind."""
    yield
    ours = ("Delivery.", "BufferedEmitter.", "Hooks.", "CustomEmitter.")
    assert not [task for task in asyncio.all_tasks() if any(name in repr(task) for name in ours)]
