"""Futures for callers that wait for the end of single events."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial


class Confirmations:
    """Futures of events under way, by the identity of their payloads, which the callers keep alive."""

    def __init__(self) -> None:
        self._futures: dict[int, tuple[asyncio.Future[str | None], ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._futures)

    def watch(self, payload: object) -> asyncio.Future[str | None]:
        """Return a future for the end of *payload*: None if it is delivered, else the reason."""
        settled: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        key = id(payload)
        # Never changed in place: `tell` may be going through it, in another thread.
        self._futures[key] = (*self._futures.get(key, ()), settled)
        settled.add_done_callback(partial(self._forget, key))
        return settled

    def _forget(self, key: int, settled: asyncio.Future[str | None]) -> None:
        others = tuple(other for other in self._futures.pop(key, ()) if other is not settled)
        if others:
            self._futures[key] = others

    def tell(self, payload: object, fault: str | None) -> None:
        """Resolve the futures of *payload*; *fault* is None if it is delivered. Safe from any thread."""
        for settled in self._futures.get(id(payload), ()):
            # A closed loop waits for nothing.
            with suppress(RuntimeError):
                settled.get_loop().call_soon_threadsafe(_resolve, settled, fault)


def _resolve(settled: asyncio.Future[str | None], fault: str | None) -> None:
    if not settled.done():
        settled.set_result(fault)
