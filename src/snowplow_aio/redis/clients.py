"""
Private clients of redis-py: connected as a URL or a user's client says, and never repeating a command.

A URL is the usual way, and all that it says is read with redis-py's own parser. A user's client is the
exception: its settings are copied from it, which follows the attributes of redis-py 5 to 8. The client
itself is never used, changed or closed.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import redis
import redis.asyncio as aioredis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.redis.urls import check_place, settings_of_url
from snowplow_aio.runtime.foreign_text import shown

# Makes one private client, with connections of its own. The type is Any because a client for one server and
# one for a cluster have no class in common.
NewClient = Callable[[], Any]

DEFAULT_URL = "redis://127.0.0.1:6379/0"

_CONNECT_TIMEOUT = 2.0

# More than the delivery loop ever uses at a time: a pool that reached its limit would raise.
_MAX_CONNECTIONS = 64

# Settings that belong to the pool of the user's client: its size, and its parts that follow a server which
# moves. They would tie our connections to that pool.
_OF_THEIR_POOL = (
    "connection_pool", "event_dispatcher", "himport_registry", "maint_notifications_config",
    "maint_notifications_pool_handler", "max_connections", "orig_host_address",
    "orig_socket_connect_timeout", "orig_socket_timeout", "oss_cluster_maint_notifications_handler",
    "response_callbacks",
)  # fmt: skip


def client_factory(source: object, command_timeout: float) -> NewClient:
    """
    Return a function that makes private clients.

    Args:
        source: A URL (``redis://``, ``rediss://``, ``unix://``), a client of ``redis.asyncio``
            (standalone, Sentinel or Cluster), or None for ``redis://127.0.0.1:6379/0``.

        command_timeout: Seconds after which a socket gives up, unless *source* says fewer.

    Raises:
        ConfigurationError: If *source* is something else.
    """
    if source is None:
        source = DEFAULT_URL
    if isinstance(source, str):
        return _for_server(settings_of_url(source), command_timeout)
    if isinstance(source, RedisCluster):
        return _like_cluster(source, command_timeout)
    if isinstance(source, aioredis.Redis):
        return _like_client(source, command_timeout)
    rule = "must be a client of redis.asyncio, a redis:// URL or None"
    if isinstance(source, redis.Redis | redis.RedisCluster):
        rule = "must be a client of redis.asyncio, not a synchronous one"
    elif isinstance(source, Sentinel):
        rule = "must be a client of redis.asyncio, like sentinel.master_for('name')"
    # Not its repr: that of a client has its host in it, and can have more.
    kind = type(source)
    raise ConfigurationError(f"client: {rule}, got a {kind.__module__}.{kind.__qualname__}")


def _for_server(settings: Mapping[str, Any], command_timeout: float) -> NewClient:
    check_place(settings)
    ours: dict[str, Any] = _without_repeats(settings, command_timeout) | {"max_connections": _MAX_CONNECTIONS}
    try:
        # Without connecting: redis-py looks at most settings only when it makes a connection.
        pool: Any = ConnectionPool(**ours)
        pool.make_connection()
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigurationError(f"client: must have settings that redis-py takes: {shown(error)}") from None
    return lambda: aioredis.Redis.from_pool(ConnectionPool(**ours))


def _without_repeats(settings: Mapping[str, Any], command_timeout: float) -> dict[str, Any]:
    """Return *settings* for connections that repeat nothing, give up in time and answer with bytes."""
    ours: dict[str, Any] = {name: value for name, value in settings.items() if name not in _OF_THEIR_POOL}
    for name, most in (("socket_timeout", command_timeout), ("socket_connect_timeout", _CONNECT_TIMEOUT)):
        ours[name] = min(ours.get(name) or most, most)
    return ours | {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "decode_responses": False,
        # Keys and scripts are in UTF-8, whatever the texts of the application are in.
        "encoding": "utf-8",
        "encoding_errors": "strict",
        # The same answers from every version of redis-py and of the server.
        "protocol": 2,
    }


# --- a user's client, whose settings are read at once: the client of a cluster forgets unreachable nodes


def _like_client(client: aioredis.Redis, command_timeout: float) -> NewClient:
    pool: Any = client.connection_pool
    settings = {**pool.connection_kwargs, "connection_class": pool.connection_class}
    if isinstance(pool, SentinelConnectionPool):
        return _like_sentinel(pool, settings, command_timeout)
    return _for_server(settings, command_timeout)


def _like_sentinel(pool: Any, settings: Mapping[str, Any], command_timeout: float) -> NewClient:
    ours: dict[str, Any] = _without_repeats(settings, command_timeout) | {
        "max_connections": _MAX_CONNECTIONS,
        "is_master": pool.is_master,
        "check_connection": pool.check_connection,
    }
    new_sentinels = [_like_client(sentinel, command_timeout) for sentinel in pool.sentinel_manager.sentinels]
    new_pool: Any = SentinelConnectionPool

    def new_client() -> Any:
        manager = copy.copy(pool.sentinel_manager)
        manager.sentinels = [new_sentinel() for new_sentinel in new_sentinels]
        return aioredis.Redis.from_pool(new_pool(pool.service_name, manager, **ours))

    return new_client


def _like_cluster(client: RedisCluster, command_timeout: float) -> NewClient:
    settings: Mapping[str, Any] = client.connection_kwargs
    nodes: Any = client.nodes_manager
    addresses = {(node.host, node.port) for node in (*nodes.startup_nodes.values(), *client.get_nodes())}
    ours: dict[str, Any] = _without_repeats(settings, command_timeout) | {
        "max_connections": _MAX_CONNECTIONS,
        "ssl": issubclass(settings.get("connection_class") or object, SSLConnection),
        "require_full_coverage": nodes.require_full_coverage,
        "address_remap": nodes.address_remap,
    }
    known = inspect.signature(RedisCluster.__init__).parameters
    if "connection_error_retry_attempts" in known:
        # Before redis-py 6 a cluster's client repeats commands whatever `retry` says.
        ours |= {"cluster_error_retry_attempts": 0, "connection_error_retry_attempts": 0}
    ours = {name: value for name, value in ours.items() if name in known}
    return lambda: RedisCluster(startup_nodes=[ClusterNode(*address) for address in addresses], **ours)
