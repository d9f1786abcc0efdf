"""The emitter that hands events over to Redis, from which a worker delivers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack

from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.options import EmitterOptions, with_short_pauses
from snowplow_aio.model.arguments import check_count
from snowplow_aio.policies import Batching
from snowplow_aio.redis.transport import RedisTransport

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster


class RedisEmitter(BufferedEmitter):
    """
    Puts events into Redis, for `RedisWorker` or any other worker to deliver.

    Events wait in memory until Redis has taken them. One batch is one command.

    Args:
        client: A URL: ``redis://``, ``rediss://`` or ``unix://``. Or a client of ``redis.asyncio``
            (standalone, Sentinel or Cluster): its settings are used for connections of our own, and the
            client itself is not used, changed or closed. None for ``redis://127.0.0.1:6379/0``.

        key: The list or the stream. Anonymous events go to ``<key>:anonymous``.

        mode: ``list`` of JSON strings, as workers of other trackers read them, or ``stream``.

        deduplicate: Whether a lost answer stores nothing twice. Its scripts need the rights to run, and to
            use keys like ``{snowplow}:fence:*``.

        max_length: Most events in the list or the stream, from 1, or None. Events for which there is no
            room wait in memory.

        command_timeout: Seconds for one command, above 0.

        batch_size: Waiting events that make a command due, from 1.

        max_batch: Most events in one command, from 1.

        byte_limit: Most bytes of one command's events, from 1. A larger event travels alone.

        flush_interval: Seconds after which a waiting event is handed over in any case, above 0. None for
            never.

        name: The name of the emitter in statistics and logs.

        **options: The other arguments of `BufferedEmitter`. Without `retry`, pauses are up to five
            seconds: Redis is near, and back soon.

    Raises:
        ConfigurationError: If an argument is out of range, or the client is a synchronous one.

    Example:
        ::

            async with Tracker(RedisEmitter("redis://127.0.0.1:6379/0", "snowplow")) as tracker:
                await tracker.track(PageView(page_url="https://shop.example/"))
    """

    def __init__(
        self,
        client: Redis | RedisCluster | str | None = None,
        key: str = "snowplow",
        *,
        mode: Literal["list", "stream"] = "list",
        deduplicate: bool = True,
        max_length: int | None = None,
        command_timeout: float = 5.0,
        batch_size: int = 50,
        max_batch: int = 500,
        byte_limit: int = 500_000,
        flush_interval: float | None = 1.0,
        name: str = "redis",
        **options: Unpack[EmitterOptions],
    ) -> None:
        if max_length is not None:
            check_count("max_length", max_length)
            check_count("max_batch", max_batch)
            # A larger batch would never find room.
            max_batch = min(max_batch, max_length)
        transport = RedisTransport(
            client,
            key,
            mode=mode,
            deduplicate=deduplicate,
            max_length=max_length,
            command_timeout=command_timeout,
        )
        batching = Batching.one_at_a_time(
            batch_size=batch_size,
            max_batch=max_batch,
            byte_limit=byte_limit,
            flush_interval=flush_interval,
        )
        super().__init__(transport, batching=batching, name=name, **with_short_pauses(options))
