"""The transport that hands events over to Redis, from which a worker delivers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from snowplow_aio.abc import Response, Transport
from snowplow_aio.model.payload import Payload
from snowplow_aio.redis.connections import COMMAND_TIMEOUT, Connections
from snowplow_aio.redis.entries import Mode
from snowplow_aio.redis.writer import RedisWriter

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster


class RedisTransport(Transport):
    """
    Hands events over to Redis: one batch is one command.

    Args:
        client: A URL (``redis://``, ``rediss://``, ``unix://``), a client of ``redis.asyncio`` whose
            settings are used, or None for ``redis://127.0.0.1:6379/0``.

        key: The list or the stream. Anonymous events go to ``<key>:anonymous``.

        mode: ``list`` or ``stream``.

        deduplicate: Whether a lost answer stores nothing twice. It needs the right to run scripts.

        max_length: Most events in the list or the stream, from 1, or None.

        command_timeout: Seconds for one command, above 0.

    Raises:
        ConfigurationError: If an argument is out of range, or the client is a synchronous one.

    Example:
        ::

            transport = RedisTransport("redis://127.0.0.1:6379/0", "snowplow")
            response = await transport.send(payloads)
            await transport.aclose()
    """

    def __init__(
        self,
        client: Redis | RedisCluster | str | None = None,
        key: str = "snowplow",
        *,
        mode: Mode = "list",
        deduplicate: bool = True,
        max_length: int | None = None,
        command_timeout: float = COMMAND_TIMEOUT,
    ) -> None:
        self._connections = Connections(client, command_timeout=command_timeout)
        self._writer = RedisWriter(
            self._connections, key, mode=mode, deduplicate=deduplicate, max_length=max_length
        )

    async def send(self, payloads: Sequence[Payload]) -> Response:
        return await self._writer.put(payloads)

    def abandon(self) -> None:
        self._connections.abandon()
        self._writer.abandon()

    async def aclose(self) -> None:
        await self._writer.aclose()
        await self._connections.aclose()
