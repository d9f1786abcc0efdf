"""Into another store, from which another process delivers."""

from __future__ import annotations

from collections.abc import Sequence

from snowplow_aio.abc import Response, SharedStore, Transport
from snowplow_aio.model.payload import Payload


class RedisTransport(Transport):
    """
    Hands events over to a store that processes share.

    Args:
        store: Where they go; it is closed with the transport.
    """

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    async def send(self, payloads: Sequence[Payload]) -> Response:
        return await self._store.put(payloads)

    def abandon(self) -> None:
        self._store.abandon()

    async def aclose(self) -> None:
        await self._store.aclose()
