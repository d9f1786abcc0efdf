"""Futures for callers that wait for the end of single events."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Confirmations:
    """Futures of events under way, by the identity of their payloads, which the callers keep alive."""

    def __init__(self) -> None:
        self._futures: dict[int, list[asyncio.Future[str | None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._futures)

    def watch(self, payload: object) -> asyncio.Future[str | None]:
        """Return a future for the end of *payload*: None if it is delivered, else the reason."""
        settled: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._futures.setdefault(id(payload), []).append(settled)
        settled.add_done_callback(lambda _settled: self._futures.pop(id(payload), None))
        return settled

    def tell(self, payload: object, fault: str | None) -> None:
        """Resolve the futures of *payload*; *fault* is None if it is delivered. Safe from any thread."""
        for settled in self._futures.get(id(payload), ()):
            # A closed loop waits for nothing.
            with suppress(RuntimeError):
                settled.get_loop().call_soon_threadsafe(_resolve, settled, fault)


def _resolve(settled: asyncio.Future[str | None], fault: str | None) -> None:
    if not settled.done():
        settled.set_result(fault)
