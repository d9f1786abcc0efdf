"""
Putting batches into Redis, each with one command.

A command whose answer is lost may have been executed, or be executed later, when
a frozen server wakes up and reads what it has received. With `deduplicate` every
command has a number, and a *fence* beside the queue has the number of the last one:

    12+   command 12 was executed
    12-   command 12 was not executed, and never will be: whoever sent it has asked, or it was refused

So whoever has no answer asks once, and then knows. One small key for each emitter
is enough, however many events there are (DELIVERY_NOTES.md §4.5).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from snowplow_aio.abc import Response
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.arguments import check_argument, check_count
from snowplow_aio.model.payload import Payload
from snowplow_aio.redis.connections import Connections, Refusal, Script, Word, beside, require_key
from snowplow_aio.runtime import fork

Mode = Literal["list", "stream"]

# The field of a stream entry that has the event.
FIELD = "e"

# A fence must outlive the longest time for which Redis cannot be reached.
_FENCE_SECONDS = 7 * 24 * 3600

# That of a closed emitter, whatever the network still has of its commands.
_LAST_FENCE_SECONDS = 3600

# What a full queue is given to be worked off.
_FULL = Response(status=503, reason="full", detail="the queue has its max_length", retry_after=1.0)
_STORED = Response(status=200)

# Closing does not wait for Redis: a fence that is left expires.
_TIDY_SECONDS = 0.1

# Stored events whose answer was lost are put again soon, or they were dropped.
_MOST_REMEMBERED = 10_000

# Lua passes at most some thousand arguments on. An account may write to the queue and not to
# the fence: it is found out before anything is stored.
_PUSH = """
local fence = redis.call('GET', KEYS[2])
if fence == ARGV[1] .. '+' then return 'stored' end
if fence and tonumber(string.match(fence, '^%d+')) >= tonumber(ARGV[1]) then return 'taken' end
local most = tonumber(ARGV[3])
if most > 0 and redis.call('{length}', KEYS[1]) + #ARGV - 3 > most then return 'full' end
redis.call('SET', KEYS[2], ARGV[1] .. '-', 'EX', ARGV[2])
{push}
redis.call('SET', KEYS[2], ARGV[1] .. '+', 'EX', ARGV[2])
return 'stored'
"""
_PUSHES = {
    "list": Script(
        _PUSH.format(
            length="LLEN",
            push="for i = 4, #ARGV, 1000 do"
            " redis.call('RPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV))) end",
        )
    ),
    "stream": Script(
        _PUSH.format(
            length="XLEN",
            push=f"for i = 4, #ARGV do redis.call('XADD', KEYS[1], '*', '{FIELD}', ARGV[i]) end",
        )
    ),
}
_SETTLE = Script("""
local fence = redis.call('GET', KEYS[1])
if fence == ARGV[1] .. '+' then return 1 end
if not fence or tonumber(string.match(fence, '^%d+')) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1] .. '-', 'EX', ARGV[2])
end
return 0
""")

_LENGTHS = {"list": "LLEN", "stream": "XLEN"}


class _Queue:
    """
    One key, and what is known of the commands for it.

    Attributes:
        key: The list or the stream.

        fence: Where the number of the last command is.

        number: Commands so far.

        unanswered: The events of the last command, if it has no answer yet.

        is_doubtful: Whether any command had no answer in time: it may still be on its way.

        has_fence: Whether a fence is to be removed.
    """

    def __init__(self, key: str, emitter: str) -> None:
        self.key = key
        self.fence = beside(key, f"fence:{emitter}")
        self.number = 0
        self.unanswered: Sequence[Payload] = ()
        self.is_doubtful = False
        self.has_fence = False


class Push:
    """
    Puts events into a list or a stream, anonymous ones into one of their own.

    The values are the JSON of the events, as workers of other trackers read them.
    Calls are made one after the other.

    Args:
        connections: How Redis is reached; whoever has made them closes them.

        key: The list or the stream; anonymous events go to ``<key>:anonymous``.

        mode: ``list`` or ``stream``.

        deduplicate: Whether a lost answer stores nothing twice. It needs the right to run scripts.

        max_length: Most events in the list or the stream, from 1, or None. Without
            `deduplicate` it is looked at before each command, so that several emitters
            at once may exceed it by a batch each.

    Raises ConfigurationError when a value is out of range.
    """

    def __init__(
        self,
        connections: Connections,
        key: str,
        *,
        mode: Mode = "list",
        deduplicate: bool = True,
        max_length: int | None = None,
    ) -> None:
        require_key(key)
        check_argument(mode in _PUSHES, "mode", mode, "must be 'list' or 'stream'")
        check_argument(isinstance(deduplicate, bool), "deduplicate", deduplicate, "must be True or False")
        if max_length is not None:
            check_count("max_length", max_length)
        self._connections = connections
        self._key = key
        self._mode: Mode = mode
        self._deduplicate = deduplicate
        self._max_length = max_length or 0
        self._lock = asyncio.Lock()
        self._begin()

    def _begin(self) -> None:
        """Begin to count anew."""
        self._process_marker = fork.process_marker()
        # Not from a random generator whose state a child process shares.
        emitter = secrets.token_hex(8)
        self._queues = (_Queue(self._key, emitter), _Queue(f"{self._key}:anonymous", emitter))
        # Stored events that the delivery does not know to be so: by identity, as it keeps the same objects.
        self._stored: dict[int, Payload] = {}

    async def put(self, payloads: Sequence[Payload]) -> Response:
        """
        Make one attempt to store all of *payloads*, at least one, or none of them.

        Raises TransportError when there was no answer.
        """
        async with self._lock:
            for is_anonymous, queue in zip((False, True), self._queues, strict=True):
                if part := [payload for payload in payloads if payload.anonymous == is_anonymous]:
                    response = await self._put(queue, part)
                    if response is not _STORED:
                        return response
            for payload in payloads:
                self._stored.pop(id(payload), None)
            return _STORED

    async def _put(self, queue: _Queue, payloads: Sequence[Payload]) -> Response:
        try:
            if queue.unanswered:
                await self._ask(queue)
            fresh = [payload for payload in payloads if id(payload) not in self._stored]
            if not fresh:
                return _STORED
            response = await (
                self._numbered(queue, fresh) if self._deduplicate else self._plain(queue, fresh)
            )
        except Refusal as refusal:
            return self._explained(queue, refusal.response)
        if response is _STORED:
            self._remember(fresh)
        return response

    async def _ask(self, queue: _Queue) -> None:
        """Find out whether the unanswered command was executed, and have it never be executed later."""
        queue.is_doubtful = True
        words = (queue.number, _FENCE_SECONDS)
        if await self._connections.run(_SETTLE, [queue.fence], words):
            self._remember(queue.unanswered)
        queue.unanswered = ()

    async def _numbered(self, queue: _Queue, payloads: Sequence[Payload]) -> Response:
        queue.number += 1
        values = [payload.json for payload in payloads]
        words: list[Word] = [queue.number, _FENCE_SECONDS, self._max_length, *values]
        # Whatever ends this without an answer, a cancellation as well, leaves it so.
        queue.unanswered, queue.has_fence = payloads, True
        try:
            answer = await self._connections.run(_PUSHES[self._mode], [queue.key, queue.fence], words)
        except Refusal:
            queue.unanswered = ()
            raise
        queue.unanswered = ()
        if answer == b"taken":
            # A copy of this process, down to its random numbers, counts on the same fence.
            self._begin()
            raise TransportError("somebody else counts on the same fence")
        return _FULL if answer == b"full" else _STORED

    async def _plain(self, queue: _Queue, payloads: Sequence[Payload]) -> Response:
        if self._max_length:
            length: int = await self._connections.command(_LENGTHS[self._mode], queue.key)
            if length + len(payloads) > self._max_length:
                return _FULL
        values = [payload.json for payload in payloads]
        if self._mode == "list":
            await self._connections.command("RPUSH", queue.key, *values)
        else:
            await self._connections.transaction([("XADD", queue.key, "*", FIELD, value) for value in values])
        return _STORED

    def _remember(self, payloads: Sequence[Payload]) -> None:
        self._stored |= {id(payload): payload for payload in payloads}
        while len(self._stored) > _MOST_REMEMBERED:
            del self._stored[next(iter(self._stored))]

    def _explained(self, queue: _Queue, response: Response) -> Response:
        """Return *response* with what helps where scripts, or their keys, are not allowed."""
        is_forbidden = response.reason == "NOPERM" or "eval" in response.detail.lower()
        if not (self._deduplicate and is_forbidden):
            return response
        hint = f"scripts and keys like {beside(queue.key, 'fence:*')} are for deduplicate=True only"
        return replace(response, detail=f"{response.detail} ({hint})")

    def abandon(self) -> None:
        """Go on in another event loop, or in a child process, which counts for itself."""
        if not self._process_marker[0]:
            self._begin()
        self._lock = asyncio.Lock()

    async def aclose(self) -> None:
        """Remove the fences that nobody needs any more, if that is quick."""
        queues = [queue for queue in self._queues if queue.has_fence and not queue.unanswered]
        with suppress(TransportError, TimeoutError):
            async with asyncio.timeout(_TIDY_SECONDS):
                for queue in queues:
                    queue.has_fence = False
                    await self._connections.command("EXPIRE", queue.fence, _left_for(queue))


def _left_for(queue: _Queue) -> int:
    """Return the seconds for which the fence of *queue* is still needed."""
    return _LAST_FENCE_SECONDS if queue.is_doubtful else 0
