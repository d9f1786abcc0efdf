"""When the delivery loop sends and for how long it waits, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest

from snowplow_aio import MemoryStore, Payload, Retry
from snowplow_aio.delivery.counters import Counters
from snowplow_aio.delivery.hooks import Hooks
from snowplow_aio.delivery.loop import DeliveryLoop
from snowplow_aio.local.console import ConsoleTransport
from snowplow_aio.policies import Batching


class Waited(Exception):  # noqa: N818 - no error
    """The loop waits, for as long as this says."""


class Store(MemoryStore):
    """A store in which nobody waits."""

    async def wait(self, *, count: float, size: float, timeout: float | None) -> None:
        raise Waited(count, size, timeout)


@pytest.mark.anyio
async def test_a_pause_that_ends_while_the_loop_looks_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a flush interval a flush would never end: nothing else wakes the loop."""
    store, counters = Store(), Counters()
    loop = DeliveryLoop(
        name="test",
        store=store,
        transport=ConsoleTransport(),
        batching=Batching(flush_interval=None),
        retry=Retry(),
        counters=counters,
        hooks=Hooks(()),
    )
    payload = Payload({"e": "pv", "p": "web", "tv": "t"})
    store.add_nowait([payload], now=0.0, window=counters.accept())
    loop.flush_soon(counters.close_window(), 0.0)
    loop.breaker.fail(0.0, 0.0, retry_after=10.0)
    times = itertools.chain([10.0 - 1e-9], itertools.repeat(10.0 + 1e-9))
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: next(times))
    with pytest.raises(Waited) as waited:
        await loop.deliver()
    monkeypatch.undo()
    assert waited.value.args == (math.inf, math.inf, pytest.approx(1e-9, rel=0.1))
