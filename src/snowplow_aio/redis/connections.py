"""
Connections to Redis for this library alone: a deadline for every command, no repetition, our own errors.

redis-py repeats a command whose answer is lost, which stores events twice, and it waits up to a minute for
a server that stands still. Here a command is sent once and has a deadline; the circuit breaker of the
delivery loop, or the pauses of the store, decide when to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from redis import exceptions as errors
from redis.asyncio.cluster import RedisCluster

from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.redis.clients import client_factory
from snowplow_aio.redis.errors import Refusal, translate
from snowplow_aio.redis.scripts import Script, Word
from snowplow_aio.runtime import fork
from snowplow_aio.runtime.copies import NeverCopied

COMMAND_TIMEOUT = 5.0


class Connections(NeverCopied):
    """
    Sends commands to Redis over connections of its own, which it opens when they are needed.

    Every method raises TransportError if there is no answer, which leaves open whether the command was
    executed, and its subclass `Refusal` if the server refuses.

    Args:
        source: A URL (``redis://``, ``rediss://``, ``unix://``); a client of ``redis.asyncio``
            (standalone, Sentinel or Cluster), whose settings are used and which is not used, changed
            or closed; or None for ``redis://127.0.0.1:6379/0``.

        command_timeout: Seconds for one command, above 0.

    Raises:
        ConfigurationError: If an argument is none of these.

    Example:
        ::

            connections = Connections("redis://127.0.0.1:6379/0")
            length = await connections.command("LLEN", "snowplow")
            await connections.aclose()
    """

    def __init__(self, source: object = None, *, command_timeout: float = COMMAND_TIMEOUT) -> None:
        check_seconds("command_timeout", command_timeout)
        self._timeout = command_timeout
        self._new_client = client_factory(source, command_timeout)
        self._client: Any = None
        self._may_begin = False

    async def command(self, *words: Word) -> Any:
        """Return the answer to one command as redis-py parses it; texts are bytes."""
        subject = " ".join(_said(word) for word in words[:2])
        return await self._answer_to(self._own_client().execute_command(*words), subject)

    async def transaction(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """
        Execute all *commands* or none, and return their answers; their keys must share a slot.

        Only if the right to MULTI is taken away between two calls, the commands of the second are executed
        although it raises.
        """
        subject = " ".join(_said(word) for word in commands[0][:2])
        try:
            if not self._may_begin and not isinstance(self._own_client(), RedisCluster):
                # Alone at first: without this right the commands that are sent with it would be executed.
                await self.command("MULTI")
                # It ends with its connection.
                await self.aclose()
            answers: list[Any] = await self._answer_to(self._transaction(commands), subject)
        except Refusal:
            self._may_begin = False
            # An EXEC that was refused leaves the transaction open, and the next one would execute it too.
            await self.aclose()
            raise
        self._may_begin = True
        return answers

    async def _transaction(self, commands: Sequence[Sequence[Word]]) -> Any:
        async with self._own_client().pipeline(transaction=True) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()

    async def run(self, script: Script, keys: Sequence[str], words: Sequence[Word]) -> Any:
        """Run *script* with *keys*, which must share a slot, and *words*, and return its result."""
        return await self._answer_to(self._run(script, keys, words), f"a script of {', '.join(keys)}")

    async def _run(self, script: Script, keys: Sequence[str], words: Sequence[Word]) -> Any:
        try:
            return await self._own_client().evalsha(script.sha, len(keys), *keys, *words)
        except errors.NoScriptError:
            # A new or restarted server. It remembers a script that it has executed once.
            return await self._own_client().eval(script.source, len(keys), *keys, *words)

    async def _answer_to(self, command: Awaitable[Any], subject: str) -> Any:
        """Return the answer to *command*, or raise our own error, which names *subject* if it is refused."""
        task = asyncio.current_task()
        cancelling = task.cancelling() if task is not None else 0
        try:
            async with asyncio.timeout(self._timeout):
                return await command
        except (TimeoutError, errors.TimeoutError) as error:
            raise TransportError(f"no answer within {self._timeout:g} s") from error
        except errors.RedisClusterException as error:
            # The client has reached none of the nodes that it still knows. A new one begins with all of them.
            await self.aclose()
            raise translate(error, subject) from error
        except (errors.RedisError, OSError) as error:
            raise translate(error, subject) from error
        finally:
            if task is not None and task.cancelling() > cancelling:
                # redis-py sends with `asyncio.wait_for`, which before Python 3.12 swallows a
                # cancellation that comes at the moment in which the sending ends.
                raise asyncio.CancelledError

    def _own_client(self) -> Any:
        if self._client is None:
            self._client = self._new_client()
        return self._client

    def abandon(self) -> None:
        """Forget open connections without touching them: they belong to a parent process or a closed loop."""
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
        # Shielded, so that a caller whose time is up leaves none of them half open.
        await asyncio.shield(asyncio.gather(*(one.aclose() for one in clients), return_exceptions=True))


def _said(word: Word) -> str:
    return word.decode(errors="backslashreplace") if isinstance(word, bytes) else str(word)


def beside(key: str, suffix: str) -> str:
    """Return a key for *suffix* in the same slot of a cluster as *key*."""
    return f"{key}:{suffix}" if _has_tag(key) else f"{{{key}}}:{suffix}"


def _has_tag(key: str) -> bool:
    start = key.find("{")
    return start >= 0 and key.find("}", start) > start + 1


def check_key(key: object) -> None:
    """
    Check the argument *key*.

    Raises:
        ConfigurationError: If it cannot be the key of a list or a stream.
    """
    rule = "must be a string that is not empty, with braces only around a hash tag, like 'a{tag}'"
    valid = isinstance(key, str) and key != "" and (_has_tag(key) or not set("{}") & set(key))
    check_argument(valid, "key", key, rule)
