"""Who waits for what becomes of a single event."""

from __future__ import annotations

import asyncio


class Confirmations:
    """Futures of events under way, by the identity of their payloads: who waits keeps those alive."""

    def __init__(self) -> None:
        self._futures: dict[int, list[asyncio.Future[str | None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._futures)

    def watch(self, payload: object) -> asyncio.Future[str | None]:
        """Return what ends when *payload* is settled: with None, or why it was rejected or dropped."""
        settled: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._futures.setdefault(id(payload), []).append(settled)
        settled.add_done_callback(lambda _settled: self._futures.pop(id(payload), None))
        return settled

    def tell(self, payload: object, fault: str | None) -> None:
        """Say that *payload* is settled: delivered, or not and why; safe from any thread."""
        for settled in self._futures.get(id(payload), ()):
            settled.get_loop().call_soon_threadsafe(_resolve, settled, fault)


def _resolve(settled: asyncio.Future[str | None], fault: str | None) -> None:
    if not settled.done():
        settled.set_result(fault)
