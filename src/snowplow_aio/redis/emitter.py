"""Hands events over to Redis, from which a worker delivers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Unpack

from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.delivery.options import EmitterOptions
from snowplow_aio.model.arguments import check_argument, check_count
from snowplow_aio.policies import Batching, Retry
from snowplow_aio.redis.list_store import RedisListStore
from snowplow_aio.redis.stream_store import RedisStreamStore
from snowplow_aio.redis.transport import RedisTransport

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.cluster import RedisCluster

_STORES = {"list": RedisListStore, "stream": RedisStreamStore}


class RedisEmitter(BufferedEmitter):
    """
    Puts events into Redis, for `RedisWorker` or any other worker to deliver.

    Events wait in memory until Redis has taken them. One batch is one command.

    Args:
        client: A client of ``redis.asyncio`` (standalone, Sentinel or Cluster), whose settings
            are used for connections of our own; it stays as it is, and open. Or a URL:
            ``redis://``, ``rediss://`` or ``unix://``. None for ``redis://127.0.0.1:6379/0``.

        key: The list or the stream; anonymous events go to ``<key>:anonymous``.

        mode: ``list`` of JSON strings, as workers of other trackers read them, or ``stream``.

        deduplicate: Whether a lost answer stores nothing twice. Its scripts need the rights to
            run, and to use keys like ``{snowplow}:fence:*``.

        max_length: Most events in the list or the stream, from 1, or None. What finds no room
            waits in memory.

        command_timeout: Seconds for one command, above 0.

        batch_size: Waiting events that make a command due, from 1.

        max_batch: Most events in one command, from 1.

        byte_limit: Most bytes of one command's events, from 1. An event that is larger travels alone.

        flush_interval: Seconds after which a waiting event is handed over in any case; None for never.

        name: What statistics and logs call the emitter.

        **options: The rest of what `BufferedEmitter` takes. Where there is no `retry`, pauses
            are up to five seconds: Redis is near, and back soon.

    Raises ConfigurationError when a value is out of range, or the client is a synchronous one.
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
        check_argument(mode in _STORES, "mode", mode, "must be 'list' or 'stream'")
        if max_length is not None:
            check_count("max_length", max_length)
            check_count("max_batch", max_batch)
            # A larger batch would never find room.
            max_batch = min(max_batch, max_length)
        store = _STORES[mode](
            client,
            key,
            deduplicate=deduplicate,
            max_length=max_length,
            command_timeout=command_timeout,
        )
        batching = Batching(
            batch_size=batch_size,
            max_batch=max_batch,
            byte_limit=byte_limit,
            flush_interval=flush_interval,
            # One command after the other, so that the order of the events is kept.
            max_connections=1,
        )
        if options.get("retry") is None:
            options["retry"] = Retry(initial_delay=0.1, max_delay=5.0)
        super().__init__(RedisTransport(store), batching=batching, name=name, **options)
