"""Checks that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def nothing_left(anyio_backend: str) -> AsyncIterator[None]:
    """Fail when a test leaves a task of ours behind."""
    yield
    ours = ("DeliveryLoop.", "BufferedEmitter.", "Supervisor.", "Hooks.", "RedisWorker.", "RedisStore.")
    assert not [task for task in asyncio.all_tasks() if any(name in repr(task) for name in ours)]
