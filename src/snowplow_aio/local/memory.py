"""Keeps events in a list, for tests and for looking at what a tracker makes."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from snowplow_aio.abc import AcceptingEmitter
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.payload import Payload
from snowplow_aio.outcomes import EmitterStats, FlushResult


class MemoryEmitter(AcceptingEmitter):
    """
    Keeps every event in memory and sends nothing.

    Args:
        name: The name of the emitter in statistics, not empty.

    Attributes:
        payloads: The events, in the order in which they were tracked.

    Raises:
        ConfigurationError: If *name* is empty or no string.

    Example:
        ::

            emitter = MemoryEmitter()
            async with Tracker(emitter) as tracker:
                await tracker.track(PageView(page_url="https://example.com"))
            assert emitter.payloads[0]["e"] == "pv"
    """

    def __init__(self, *, name: str = "memory") -> None:
        check_argument(isinstance(name, str) and name != "", "name", name, "must be a non-empty string")
        self.name = name
        self.payloads: list[Payload] = []
        self._taken = 0
        self._reported = 0

    def accept(self, payloads: Sequence[Payload]) -> None:
        self.payloads.extend(payloads)
        self._taken += len(payloads)

    def accept_nowait(self, payloads: Sequence[Payload]) -> None:
        self.accept(payloads)

    def watch(self, payload: Payload) -> Awaitable[str | None]:  # noqa: ARG002 - all are delivered
        return _delivered()

    def clear(self) -> None:
        """Empty the list; the statistics go on."""
        self.payloads.clear()

    async def flush(self, timeout: float | None = None, *, wait: bool = True) -> FlushResult:  # noqa: ARG002
        fresh, self._reported = self._taken - self._reported, self._taken
        return FlushResult(delivered=fresh)

    def stats(self) -> EmitterStats:
        return EmitterStats(accepted=self._taken, delivered=self._taken)


async def _delivered() -> None:
    return None
