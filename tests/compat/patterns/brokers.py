"""A broker of taskiq's on a Redis list: taskiq's own runs in one process only."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import redis.asyncio
from taskiq import AsyncBroker, BrokerMessage


class ListBroker(AsyncBroker):
    """
    Keeps tasks in a list.

    Args:
        url: The Redis.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._client = redis.asyncio.Redis.from_url(url)

    async def kick(self, message: BrokerMessage) -> None:
        await self._client.rpush("tasks", message.message)

    async def listen(self) -> AsyncGenerator[bytes, None]:
        while True:
            found = await self._client.blpop(["tasks"], timeout=1)
            if found is not None and isinstance(found[1], bytes):
                yield found[1]

    async def shutdown(self) -> None:
        await super().shutdown()
        await self._client.aclose()
