"""
A list in Redis of events as JSON, which the trackers of other languages and versions know.

What a worker holds is beside the list in a hash of its own, number to event:
removing it by its number is quick, may be repeated, and sends no event again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from snowplow_aio.redis.connections import Script
from snowplow_aio.redis.held import CHUNK, CHUNK_BYTES, NOW, TRIM, Pulse, Queue, Taken, Words, parts
from snowplow_aio.redis.store import RedisStore
from snowplow_aio.redis.writer import Mode

# KEYS: the list, ours, the workers. ARGV: our id, most events, most bytes, the number of the first.
_TAKE = Script(
    NOW
    + """
redis.call('ZADD', KEYS[3], 'NX', now, ARGV[1])
local taken, sizes, size = {}, {}, 0
for i = 1, tonumber(ARGV[2]) do
  if size >= tonumber(ARGV[3]) then break end
  local event = redis.call('LPOP', KEYS[1])
  if not event then break end
  redis.call('HSET', KEYS[2], string.format('%.0f', ARGV[4] + i - 1), event)
  taken[i] = event
  sizes[i] = #event
  size = size + #event
end
return {table.concat(sizes, ' '), table.concat(taken)}
"""
)

# KEYS: ours, the dead letters. ARGV: most dead letters, how many numbers, these, then
# numbers with their letters.
_REMOVE = Script(
    """
local count = tonumber(ARGV[2])
if count > 0 then redis.call('HDEL', KEYS[1], unpack(ARGV, 3, count + 2)) end
for i = count + 3, #ARGV, 2 do
  if redis.call('HDEL', KEYS[1], ARGV[i]) == 1 then redis.call('RPUSH', KEYS[2], ARGV[i + 1]) end
end
"""
    + TRIM
)

# KEYS: the workers, ours, the list. ARGV: our id, when a silent worker is dead, whether we may take over.
_BEAT = Script(
    NOW
    + """
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
local dead = {}
if ARGV[3] == '1' and before and now - before < tonumber(ARGV[2]) then
  dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
end
return {redis.call('HLEN', KEYS[2]), redis.call('LLEN', KEYS[3]), dead}
"""
)

# KEYS: the list, somebody's, the workers. ARGV: whose, when a silent worker is dead or 0, most events,
# numbers that stay. The latest go first, each before the last: so the earliest is the first in the end.
_RETURN = Script(
    NOW
    + """
local beat = redis.call('ZSCORE', KEYS[3], ARGV[1])
if beat and now - beat < tonumber(ARGV[2]) then return {0, 0} end
local stays, numbers = {}, {}
for i = 4, #ARGV do stays[ARGV[i]] = true end
for _, number in ipairs(redis.call('HKEYS', KEYS[2])) do
  if not stays[number] then numbers[#numbers + 1] = number end
end
table.sort(numbers, function(a, b) return tonumber(a) > tonumber(b) end)
local count = math.min(#numbers, tonumber(ARGV[3]))
for i = 1, count do
  redis.call('LPUSH', KEYS[1], redis.call('HGET', KEYS[2], numbers[i]))
  redis.call('HDEL', KEYS[2], numbers[i])
end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('ZREM', KEYS[3], ARGV[1]) end
return {count, #numbers - count}
"""
)


# KEYS: ours. As a script the answer is the same from every client and protocol.
_NOTED = Script("return redis.call('HGETALL', KEYS[1])")


class RedisListStore(RedisStore):
    """
    Events in a list, oldest first.

    What it survives: what the server persists. Its arguments are those of `RedisStore`.
    """

    mode: ClassVar[Mode] = "list"
    # Numbers never come twice, not even for a process that takes an old id: they begin with the time.
    _number: int = 0

    async def _take(self, queue: Queue, count: int) -> Sequence[Taken]:
        first = max(self._number, time.time_ns() // 1000)
        self._number = first + count
        words: Words = [self._worker, count, CHUNK_BYTES, first]
        keys = [queue.key, queue.processing, queue.workers]
        sizes, joined = await self._redis.run(_TAKE, keys, words)
        return [(b"%d" % number, event) for number, event in enumerate(parts(sizes, joined), first)]

    async def _remove(self, queue: Queue, handles: Sequence[bytes], letters: Sequence[bytes]) -> int:
        words: Words = [self._max_dead, len(handles), *handles, *letters]
        trimmed: int = await self._redis.run(_REMOVE, [queue.processing, queue.dead_letters], words)
        return trimmed

    async def _beat(self, queue: Queue, *, may_take_over: bool) -> Pulse:
        words: Words = [self._worker, self._takeover_ms, int(may_take_over)]
        keys = [queue.workers, queue.processing, queue.key]
        noted, length, dead = await self._redis.run(_BEAT, keys, words)
        return Pulse(noted, length, [worker.decode() for worker in dead])

    async def _noted(self, queue: Queue) -> Sequence[Taken]:
        both: Sequence[bytes] = await self._redis.run(_NOTED, [queue.processing], [])
        return sorted(zip(both[::2], both[1::2], strict=True), key=lambda pair: int(pair[0]))

    async def _take_over(self, queue: Queue) -> None:
        while queue.dead:
            moved, left = await self._move_back(queue, queue.dead[-1], self._takeover_ms)
            self._took_over(moved)
            if not left:
                queue.dead.pop()

    async def _return(self, queue: Queue, *, but: Sequence[bytes]) -> None:
        left = 1
        while left:
            _, left = await self._move_back(queue, self._worker, 0, but)

    async def _move_back(
        self, queue: Queue, worker: str, silence: int, but: Sequence[bytes] = ()
    ) -> tuple[int, int]:
        """Put events of *worker* back in front of the list; return how many, and how many are left."""
        keys = [queue.key, queue.processing_of(worker), queue.workers]
        moved, left = await self._redis.run(_RETURN, keys, [worker, silence, CHUNK, *but])
        return moved, left
