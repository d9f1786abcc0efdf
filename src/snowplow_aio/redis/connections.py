"""
Connections to Redis of our own, made from what a user's client says, and its errors in our words.

redis-py repeats a command whose answer is lost, which stores events twice, and
waits for a frozen server for a minute (DELIVERY_NOTES.md M14). So nothing is
repeated here, every command has a deadline, and the delivery loop's breaker decides.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import inspect
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import redis
import redis.asyncio as aioredis
from redis import exceptions as errors
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from snowplow_aio.abc import Response
from snowplow_aio.exceptions import ConfigurationError, TransportError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.runtime import fork

# Where Redis is when nobody says otherwise.
DEFAULT_URL = "redis://127.0.0.1:6379/0"

_SCHEMES = ("redis://", "rediss://", "unix://")

# One argument of a command.
Word = str | bytes | float

COMMAND_TIMEOUT = 5.0
_CONNECT_TIMEOUT = 2.0

# As many as there are commands at a time, which the delivery bounds; a pool never waits.
_CONNECTIONS = 64

# What belongs to the given client's own pool, or repeats commands.
_NOT_COPIED = (
    "connection_pool", "event_dispatcher", "himport_registry", "maint_notifications_config",
    "maint_notifications_pool_handler", "max_connections", "orig_host_address",
    "orig_socket_connect_timeout", "orig_socket_timeout", "oss_cluster_maint_notifications_handler",
    "response_callbacks",
)  # fmt: skip

# States of a server that pass, or that somebody there mends.
_PASSING = frozenset(
    [
        "ASK", "BUSY", "CLUSTERDOWN", "INPROG", "LOADING", "MASTERDOWN", "MAXCLIENTS", "MISCONF", "MOVED",
        "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN", "UNKILLABLE",
    ]
)  # fmt: skip

# Servers before version 7 wrap the code of a script's error in a sentence.
_CODE = re.compile(rf"\b(?:{'|'.join(sorted(_PASSING))}|WRONGTYPE|NOPERM|NOAUTH|NOGROUP|BUSYGROUP)\b")

# The codes that redis-py takes off the message.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (errors.BusyLoadingError, "LOADING"),
    (errors.OutOfMemoryError, "OOM"),
    (errors.ReadOnlyError, "READONLY"),
    (errors.NoPermissionError, "NOPERM"),
    (errors.NoScriptError, "NOSCRIPT"),
    (errors.MasterDownError, "MASTERDOWN"),
    (errors.ClusterDownError, "CLUSTERDOWN"),
    (errors.TryAgainError, "TRYAGAIN"),
    (errors.ClusterCrossSlotError, "CROSSSLOT"),
    (errors.MovedError, "MOVED"),
    (errors.AskError, "ASK"),
    (errors.AuthenticationError, "NOAUTH"),
)

_MAX_DETAIL = 200


class Refusal(TransportError):  # noqa: N818 - what the server says, not what went wrong here
    """
    The server answered that it does not do what it was asked: nothing of it is done.

    Attributes:
        response: What the delivery makes of it.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.reason}: {response.detail}")
        self.response = response


class Script:
    """
    A Lua script, which a server runs as one step.

    Args:
        source: Its text.
    """

    def __init__(self, source: str) -> None:
        self.source: str = source
        # The name that Redis gives to it.
        self.sha: str = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Connections:
    """
    Connections with the settings of a user's client, which is not used, changed or closed.

    They are opened when they are needed. Every method raises TransportError when
    there is no answer, which leaves open whether the command was executed, and its
    subclass `Refusal` when the server refuses.

    Args:
        given: A client of ``redis.asyncio`` (standalone, Sentinel or Cluster), a URL
            (``redis://``, ``rediss://``, ``unix://``), or None for ``redis://127.0.0.1:6379/0``.

        command_timeout: Seconds for one command, above 0.

    Raises ConfigurationError when *given* is something else.
    """

    def __init__(self, given: object = None, *, command_timeout: float = COMMAND_TIMEOUT) -> None:
        check_seconds("command_timeout", command_timeout)
        self._timeout = command_timeout
        self._open = _opener(_checked(given), command_timeout)
        self._client: Any = None

    async def command(self, *words: Word) -> Any:
        """Return the answer to one command, as redis-py parses it; texts are bytes."""
        return await self._answered(self._own().execute_command(*words))

    async def transaction(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Return the answers to *commands*, all of which are executed, or none; their keys share a slot."""
        answers: list[Any] = await self._answered(self._transaction(commands))
        return answers

    async def _transaction(self, commands: Sequence[Sequence[Word]]) -> Any:
        async with self._own().pipeline(transaction=True) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()

    async def run(self, script: Script, keys: Sequence[str], words: Sequence[Word]) -> Any:
        """Return what *script* returns for *keys*, which share a slot, and *words*."""
        return await self._answered(self._run(script, keys, words))

    async def _run(self, script: Script, keys: Sequence[str], words: Sequence[Word]) -> Any:
        try:
            return await self._own().evalsha(script.sha, len(keys), *keys, *words)
        except errors.NoScriptError:
            # A new or restarted server; it remembers what it has seen once.
            return await self._own().eval(script.source, len(keys), *keys, *words)

    async def _answered(self, command: Awaitable[Any]) -> Any:
        """Return the answer to *command* within the time; its errors are translated here and nowhere else."""
        task = asyncio.current_task()
        cancelling = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(self._timeout):
                answer = await command
                if task is not None and task.cancelling() > cancelling:
                    # redis-py sends in `asyncio.wait_for`, which before Python 3.12 swallows a
                    # cancellation that comes when it is done (DELIVERY_NOTES.md M8).
                    raise asyncio.CancelledError
                return answer
        except (TimeoutError, errors.TimeoutError) as error:
            raise TransportError(f"no answer within {self._timeout:g} s") from error
        except (errors.RedisError, errors.RedisClusterException, OSError) as error:
            if isinstance(error, errors.RedisClusterException):
                # It has found none of the nodes that it still knows.
                await self.aclose()
            refusal = _refusal(error)
            if refusal is None:
                raise TransportError(_shortened(error) or "no answer from Redis") from error
            raise Refusal(refusal) from error

    def _own(self) -> Any:
        if self._client is None:
            self._client = self._open()
        return self._client

    def abandon(self) -> None:
        """Forget open connections without touching them: they belong to a parent process or a dead loop."""
        if self._client is not None:
            fork.never_finalize(self._client)
            self._client = None

    async def aclose(self) -> None:
        """Close the connections; a later command opens new ones."""
        client, self._client = self._client, None
        if client is None:
            return
        manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
        clients = (client, *getattr(manager, "sentinels", ()))
        # A caller whose time is up leaves none of them half open.
        await asyncio.shield(asyncio.gather(*(one.aclose() for one in clients), return_exceptions=True))


def beside(key: str, suffix: str) -> str:
    """Return a key for *suffix* in the same slot of a cluster as *key*."""
    return f"{key}:{suffix}" if _has_tag(key) else f"{{{key}}}:{suffix}"


def _has_tag(key: str) -> bool:
    start = key.find("{")
    return start >= 0 and key.find("}", start) > start + 1


def require_key(key: object) -> None:
    """Raise ConfigurationError unless *key* can be the name of a queue."""
    rule = "must be a string that is not empty, with braces only around a hash tag, like 'a{tag}'"
    valid = isinstance(key, str) and key != "" and (_has_tag(key) or not set("{}") & set(key))
    check_argument(valid, "key", key, rule)


# --- the private client


def _checked(given: object) -> Any:
    if given is None:
        given = DEFAULT_URL
    if isinstance(given, str):
        rule = "must be a URL like 'redis://host:6379/0', 'rediss://...' or 'unix:///path'"
        try:
            # redis-py takes a scheme without slashes, and then the default host.
            if given.startswith(_SCHEMES):
                return aioredis.Redis.from_url(given)
        except (ValueError, TypeError):
            pass
        # It may have a password in it.
        raise ConfigurationError.about("client", "***", rule)
    if not isinstance(given, aioredis.Redis | RedisCluster):
        # A client's own repr has its host in it, and may have more.
        kind = type(given)
        rule = "must be a client of redis.asyncio, a redis:// URL or None"
        if isinstance(given, redis.Redis | redis.RedisCluster):
            rule = "must be a client of redis.asyncio, not a synchronous one"
        raise ConfigurationError(f"client: {rule}, got a {kind.__module__}.{kind.__qualname__}")
    return given


def _opener(given: Any, timeout: float) -> Callable[[], Any]:
    """
    Return what makes clients with the settings of *given* and connections of their own, which repeat nothing.

    The settings are those of now: a cluster's client forgets nodes that it has not reached.
    """
    if isinstance(given, RedisCluster):
        return _cluster_opener(given, timeout)
    pool: Any = given.connection_pool
    settings = _settings(pool.connection_kwargs, timeout)
    settings |= {"connection_class": pool.connection_class, "max_connections": _CONNECTIONS}
    if isinstance(pool, SentinelConnectionPool):
        settings |= {"is_master": pool.is_master, "check_connection": pool.check_connection}
        return _sentinel_opener(pool, settings, timeout)
    return lambda: aioredis.Redis.from_pool(ConnectionPool(**settings))


def _sentinel_opener(pool: Any, settings: Mapping[str, Any], timeout: float) -> Callable[[], Any]:
    openers = [_opener(sentinel, timeout) for sentinel in pool.sentinel_manager.sentinels]
    new_pool: Any = SentinelConnectionPool

    def opened() -> Any:
        manager = copy.copy(pool.sentinel_manager)
        manager.sentinels = [opener() for opener in openers]
        return aioredis.Redis.from_pool(new_pool(pool.service_name, manager, **settings))

    return opened


def _settings(theirs: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    settings = {name: value for name, value in theirs.items() if name not in _NOT_COPIED}
    for name, most in (("socket_timeout", timeout), ("socket_connect_timeout", _CONNECT_TIMEOUT)):
        settings[name] = min(settings.get(name) or most, most)
    return settings | {
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "decode_responses": False,
        # The same answers from every version of redis-py and of the server.
        "protocol": 2,
    }


def _cluster_opener(given: RedisCluster, timeout: float) -> Callable[[], Any]:
    theirs: Mapping[str, Any] = given.connection_kwargs
    nodes: Any = given.nodes_manager
    addresses = {(node.host, node.port) for node in (*nodes.startup_nodes.values(), *given.get_nodes())}
    settings: dict[str, Any] = _settings(theirs, timeout) | {
        "ssl": issubclass(theirs.get("connection_class") or object, SSLConnection),
        "max_connections": _CONNECTIONS,
        "require_full_coverage": nodes.require_full_coverage,
        "address_remap": nodes.address_remap,
    }
    known = inspect.signature(RedisCluster.__init__).parameters
    if "connection_error_retry_attempts" in known:
        # Before redis-py 6 the cluster repeats by itself, whatever `retry` says.
        settings |= {"cluster_error_retry_attempts": 0, "connection_error_retry_attempts": 0}
    settings = {name: value for name, value in settings.items() if name in known}
    return lambda: RedisCluster(startup_nodes=[ClusterNode(*address) for address in addresses], **settings)


# --- errors


def _refusal(error: Exception) -> Response | None:
    """Return what the server's refusal *error* means, or None when there was no answer."""
    if (doubt := _certificate_error(error)) is not None:
        detail = f"the certificate is not trusted: {doubt.verify_message}"
        return Response(status=0, reason=type(doubt).__name__, detail=detail, is_misconfigured=True)
    code = _code(error)
    if code is None:
        return None
    detail = _shortened(error)
    if code in _PASSING:
        return Response(status=503, reason=code, detail=detail)
    return Response(status=0, reason=code, detail=detail, is_misconfigured=True)


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return why the server's certificate was refused, where that is behind *error*."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _code(error: Exception) -> str | None:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    text = str(error)
    if "max number of clients" in text:
        return "MAXCLIENTS"
    if "unauthenticated" in text:
        # What a command with many arguments is answered before AUTH.
        return "NOAUTH"
    if "ACL failure in script" in text or "user executing the script" in text:
        # What a command inside of a script is answered, in server 7 and before.
        return "NOPERM"
    if "luster mode is not enabled" in text:
        return "CLUSTERDISABLED"
    if not isinstance(error, errors.ResponseError):
        return None
    found = _CODE.search(text)
    return found[0] if found else "ERR"


def _shortened(error: Exception) -> str:
    """Return what the server says, without the arguments of the command: they are events."""
    return str(error).partition(", with args")[0][:_MAX_DETAIL]
