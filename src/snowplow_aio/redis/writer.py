"""
Writing batches of events into Redis, each with one command.

A command whose answer is lost may have been executed. It may also be executed later, when a server that
stood still goes on and reads what it has received. So with `deduplicate` every command has a number, and a
key beside the queue, the *fence*, has the number of the last command and what became of it:

    12+   command 12 was executed
    12-   command 12 was not executed and never will be: it was refused, or its sender has asked

A sender without an answer therefore asks once, and then knows. The fence is one small key for each emitter,
however many events there are.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from snowplow_aio.abc import Response
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.model.payload import Payload
from snowplow_aio.redis.connections import Connections, beside, check_key
from snowplow_aio.redis.entries import STREAM_FIELD, Mode, check_mode
from snowplow_aio.redis.errors import Refusal
from snowplow_aio.redis.scripts import Script, Word
from snowplow_aio.runtime import fork
from snowplow_aio.runtime.copies import NeverCopied

# A fence must outlive the longest time for which Redis cannot be reached: a week.
_FENCE_SECONDS = 7 * 24 * 3600

# For how long the fence of a closed emitter is kept where a command may still be on its way.
_LAST_FENCE_SECONDS = 3600

# The answer where there is no room; a worker has a second to make some.
_FULL = Response(status=503, reason="full", detail="the queue has its max_length", retry_after=1.0)
_STORED = Response(status=200)

# Events that are stored although their answer was lost are written again soon, or they were dropped. So
# only the latest are remembered.
_MOST_REMEMBERED = 10_000

# Lua passes at most some thousand arguments on. The fence is written before any event, because an account
# can have the right to write the queue and not the fence.
_PUSH = """
local fence = call('GET', KEYS[2])
if fence == ARGV[1] .. '+' then return 'stored' end
if fence and tonumber(string.match(fence, '^%d+')) >= tonumber(ARGV[1]) then return 'taken' end
local most = tonumber(ARGV[3])
if most > 0 and call('{length}', KEYS[1]) + #ARGV - 3 > most then return 'full' end
call('SET', KEYS[2], ARGV[1] .. '-', 'EX', ARGV[2])
{push}
call('SET', KEYS[2], ARGV[1] .. '+', 'EX', ARGV[2])
return 'stored'
"""
_PUSHES = {
    "list": Script(
        _PUSH.format(
            length="LLEN",
            push="for i = 4, #ARGV, 1000 do"
            " call('RPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV))) end",
        )
    ),
    "stream": Script(
        _PUSH.format(
            length="XLEN",
            push=f"for i = 4, #ARGV do call('XADD', KEYS[1], '*', '{STREAM_FIELD}', ARGV[i]) end",
        )
    ),
}
_ASK = Script("""
local fence = call('GET', KEYS[1])
if fence == ARGV[1] .. '+' then return 1 end
if not fence or tonumber(string.match(fence, '^%d+')) < tonumber(ARGV[1]) then
  call('SET', KEYS[1], ARGV[1] .. '-', 'EX', ARGV[2])
end
return 0
""")

_LENGTHS = {"list": "LLEN", "stream": "XLEN"}


class _Target:
    """
    One key to write to, and what is known of the commands for it.

    Attributes:
        key: The list or the stream.

        anonymous: Whether its events travel with ``SP-Anonymous``.

        fence: The key with the number of the last command.

        number: Commands so far.

        unanswered: The events of the last command, if it has no answer yet.

        is_doubtful: Whether a command had no answer in time: it can still be on its way.

        has_fence: Whether there is a fence to remove.
    """

    def __init__(self, key: str, emitter_id: str, *, anonymous: bool) -> None:
        self.key = key
        self.anonymous = anonymous
        self.fence = beside(key, f"fence:{emitter_id}")
        self.number = 0
        self.unanswered: Sequence[Payload] = ()
        self.is_doubtful = False
        self.has_fence = False
        # The stored events of calls that did not succeed as a whole: the bytes, and how often.
        self._stored: Counter[bytes] = Counter()

    def remember(self, payloads: Sequence[Payload]) -> None:
        """Note that *payloads* are stored, although the call that wrote them may not say so."""
        self._stored.update(payload.tail for payload in payloads)
        while len(self._stored) > _MOST_REMEMBERED:
            del self._stored[next(iter(self._stored))]

    def without_stored(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Return those of *payloads* that are not known to be stored."""
        if not self._stored:
            return payloads
        fresh: list[Payload] = []
        seen: Counter[bytes] = Counter()
        for payload in payloads:
            seen[payload.tail] += 1
            if seen[payload.tail] > self._stored[payload.tail]:
                fresh.append(payload)
        return fresh

    def forget(self, payloads: Sequence[Payload]) -> None:
        """Remember *payloads* no more: the caller knows that they are stored."""
        for payload in payloads if self._stored else ():
            self._stored[payload.tail] -= 1
            if self._stored[payload.tail] <= 0:
                del self._stored[payload.tail]


class RedisWriter(NeverCopied):
    """
    Writes events into a list or a stream, anonymous events into one of their own.

    The values are the JSON of the events, as workers of other trackers read them. Calls wait for each
    other, so that the order of the events is kept.

    Args:
        connections: The connections to use; the caller closes them.

        key: The list or the stream. Anonymous events go to ``<key>:anonymous``.

        mode: ``list`` or ``stream``.

        deduplicate: Whether a lost answer stores nothing twice. It needs the right to run scripts.

        max_length: Most events in the list or the stream, from 1, or None. Without `deduplicate` the
            length is read before each command, so several emitters can exceed it by a batch each.

        tidy_timeout: Seconds that `aclose` takes at most to remove its fences, above 0. A fence that is
            left expires by itself.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example:
        ::

            connections = Connections("redis://127.0.0.1:6379/0")
            writer = RedisWriter(connections, "snowplow")
            response = await writer.put(payloads)
    """

    def __init__(
        self,
        connections: Connections,
        key: str,
        *,
        mode: Mode = "list",
        deduplicate: bool = True,
        max_length: int | None = None,
        tidy_timeout: float = 0.1,
    ) -> None:
        check_key(key)
        check_mode(mode)
        check_argument(isinstance(deduplicate, bool), "deduplicate", deduplicate, "must be True or False")
        if max_length is not None:
            check_count("max_length", max_length)
        check_seconds("tidy_timeout", tidy_timeout)
        self._connections = connections
        self._key = key
        self._mode: Mode = mode
        self._deduplicate = deduplicate
        self._max_length = max_length or 0
        self._tidy_timeout = tidy_timeout
        self._turn = asyncio.Lock()
        self._begin()

    def _begin(self) -> None:
        """Number commands anew, under a new id."""
        self._process_marker = fork.process_marker()
        # Not from a random generator, whose state a child process shares.
        emitter_id = secrets.token_hex(8)
        self._targets = (
            _Target(self._key, emitter_id, anonymous=False),
            _Target(f"{self._key}:anonymous", emitter_id, anonymous=True),
        )

    async def put(self, payloads: Sequence[Payload]) -> Response:
        """
        Make one attempt to store *payloads*, at least one.

        Events that an earlier call stored without saying so are recognised by their bytes and not stored
        again. So after a failure the caller can repeat a call, or divide its events differently.

        Returns:
            Status 200 if all of them are stored. Otherwise the refusal of the server, or 503 with the
            reason ``full``.

        Raises:
            TransportError: If there was no answer.
        """
        async with self._turn:
            parts = [
                (target, part)
                for target in self._targets
                if (part := [payload for payload in payloads if payload.anonymous == target.anonymous])
            ]
            for target, part in parts:
                response = await self._put(target, part, is_all=len(parts) == 1)
                if response is not _STORED:
                    return response
            for target, part in parts:
                target.forget(part)
            return _STORED

    async def _put(self, target: _Target, payloads: Sequence[Payload], *, is_all: bool) -> Response:
        """Store *payloads* in one key; *is_all* says whether the call has no others."""
        try:
            if target.unanswered:
                await self._ask(target)
            fresh = target.without_stored(payloads)
            if not fresh:
                return _STORED
            if self._deduplicate:
                response = await self._write_numbered(target, fresh)
            else:
                response = await self._write(target, fresh)
        except Refusal as refusal:
            return self._explained(target, refusal.response)
        if response is _STORED and not is_all:
            # The others can still fail.
            target.remember(fresh)
        return response

    async def _ask(self, target: _Target) -> None:
        """Find out whether the unanswered command was executed, and prevent that it ever is after that."""
        target.is_doubtful = True
        words = (target.number, _FENCE_SECONDS)
        if await self._connections.run(_ASK, [target.fence], words):
            target.remember(target.unanswered)
        target.unanswered = ()

    async def _write_numbered(self, target: _Target, payloads: Sequence[Payload]) -> Response:
        target.number += 1
        values = [payload.json for payload in payloads]
        words: list[Word] = [target.number, _FENCE_SECONDS, self._max_length, *values]
        # Whatever ends this without an answer leaves it unanswered, also a cancellation.
        target.unanswered, target.has_fence = payloads, True
        try:
            answer = await self._connections.run(_PUSHES[self._mode], [target.key, target.fence], words)
        except Refusal:
            target.unanswered = ()
            raise
        target.unanswered = ()
        if answer == b"taken":
            # A copy of this process, down to its random numbers, numbers its commands with the same fence.
            self._begin()
            raise TransportError("somebody else counts on the same fence")
        return _FULL if answer == b"full" else _STORED

    async def _write(self, target: _Target, payloads: Sequence[Payload]) -> Response:
        if self._max_length:
            length: int = await self._connections.command(_LENGTHS[self._mode], target.key)
            if length + len(payloads) > self._max_length:
                return _FULL
        values = [payload.json for payload in payloads]
        if self._mode == "list":
            await self._connections.command("RPUSH", target.key, *values)
        else:
            commands = [("XADD", target.key, "*", STREAM_FIELD, value) for value in values]
            await self._connections.transaction(commands)
        return _STORED

    def _explained(self, target: _Target, response: Response) -> Response:
        """Return *response* with a hint where scripts or their keys are not allowed."""
        is_forbidden = response.reason == "NOPERM" or "eval" in response.detail.lower()
        if not (self._deduplicate and is_forbidden):
            return response
        hint = f"scripts and keys like {beside(target.key, 'fence:*')} are for deduplicate=True only"
        return replace(response, detail=f"{response.detail} ({hint})")

    def abandon(self) -> None:
        """Go on in another event loop, or in a child process, which numbers its own commands."""
        if not self._process_marker[0]:
            self._begin()
        self._turn = asyncio.Lock()

    async def aclose(self) -> None:
        """Remove the fences that nobody needs any more, within `tidy_timeout`."""
        targets = [target for target in self._targets if target.has_fence and not target.unanswered]
        with suppress(TransportError, TimeoutError):
            async with asyncio.timeout(self._tidy_timeout):
                for target in targets:
                    target.has_fence = False
                    seconds = _LAST_FENCE_SECONDS if target.is_doubtful else 0
                    await self._connections.command("EXPIRE", target.fence, seconds)
