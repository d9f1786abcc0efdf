"""
A list of events as JSON, which the workers of other trackers can read too.

The events that a worker holds are in a hash beside the list, each under a number. Removing an event by its
number is quick, can be repeated, and sends no event over the network again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from snowplow_aio.redis.entries import Mode, Taken, divided
from snowplow_aio.redis.held import Heartbeat, HeldEvents
from snowplow_aio.redis.scripts import BOUNDED, CHUNK, CHUNK_BYTES, NOW, TRIM, Script, Word
from snowplow_aio.redis.store import RedisStore

# In the comments below "ours" is the hash of the events that this worker holds.

# KEYS: the list, ours, the workers. ARGV: our id, most events, most bytes, the number of the first event.
_TAKE = Script(
    NOW
    + BOUNDED
    + """
call('LTRIM', KEYS[1], 0, -1)
call('ZADD', KEYS[3], 'NX', now, ARGV[1])
local noted, sizes, events, size = {}, {}, {}, 0
while #events < tonumber(ARGV[2]) and size < tonumber(ARGV[3]) do
  local event = call('LINDEX', KEYS[1], #events)
  if not event then break end
  event = bounded(event)
  noted[#noted + 1] = string.format('%.0f', ARGV[4] + #events)
  noted[#noted + 1] = event
  events[#events + 1] = event
  sizes[#events] = #event
  size = size + #event
end
if #events > 0 then
  call('HSET', KEYS[2], unpack(noted))
  call('LTRIM', KEYS[1], #events, -1)
end
return {table.concat(sizes, ' '), table.concat(events)}
"""
)

# KEYS: ours, the dead letters. ARGV: most dead letters, then the number and the dead letter of each event.
_BURY = Script(
    """
call('HDEL', KEYS[1], '')
call('LTRIM', KEYS[2], 0, -1)
local numbers, letters = {}, {}
for i = 2, #ARGV, 2 do
  -- An event that others have taken over is theirs to bury.
  if call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    numbers[#numbers + 1] = ARGV[i]
    letters[#letters + 1] = ARGV[i + 1]
  end
end
if #numbers == 0 then return 0 end
local length = call('RPUSH', KEYS[2], unpack(letters))
call('HDEL', KEYS[1], unpack(numbers))
"""
    + TRIM
)

# KEYS: the workers, ours, the list. ARGV: our id, the milliseconds after which a silent worker is dead,
# whether we may take over.
_BEAT = Script(
    NOW
    + """
call('ZREM', KEYS[1], '')
local before = call('ZSCORE', KEYS[1], ARGV[1])
call('ZADD', KEYS[1], now, ARGV[1])
local dead = {}
if ARGV[3] == '1' and before and now - before < tonumber(ARGV[2]) then
  dead = call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
end
return {call('HLEN', KEYS[2]), call('LLEN', KEYS[3]), dead}
"""
)

# KEYS: the list, the hash of a worker, the workers. ARGV: the worker's id, the milliseconds after which it
# is dead or 0, most events, the numbers of events that stay. The latest event is put in front first and the
# earliest last, so that the list has its old order.
_RETURN = Script(
    NOW
    + """
local beat = call('ZSCORE', KEYS[3], ARGV[1])
if beat and now - beat < tonumber(ARGV[2]) then return {0, 0} end
call('HDEL', KEYS[2], '')
call('ZREM', KEYS[3], '')
local stays, numbers = {}, {}
for i = 4, #ARGV do stays[ARGV[i]] = true end
for _, number in ipairs(call('HKEYS', KEYS[2])) do
  if not stays[number] then numbers[#numbers + 1] = number end
end
table.sort(numbers, function(a, b) return tonumber(a) > tonumber(b) end)
local count = math.min(#numbers, tonumber(ARGV[3]))
for i = 1, count do
  call('LPUSH', KEYS[1], call('HGET', KEYS[2], numbers[i]))
  call('HDEL', KEYS[2], numbers[i])
end
if call('EXISTS', KEYS[2]) == 0 then call('ZREM', KEYS[3], ARGV[1]) end
return {count, #numbers - count}
"""
)

# KEYS: ours. A script, because its answer is the same for every client and protocol.
_NOTED = Script("return call('HGETALL', KEYS[1])")


class RedisListStore(RedisStore):
    """
    Events in a list in Redis, the oldest first.

    An event survives what the server persists. The arguments are those of `RedisStore`.

    Example:
        ::

            store = RedisListStore("redis://127.0.0.1:6379/0", "snowplow")
            await store.put(payloads)
    """

    mode: ClassVar[Mode] = "list"
    # Numbers start with the time, so that none comes twice even if a process takes over an old id.
    _number: int = 0

    async def _take(self, held: HeldEvents, count: int) -> Sequence[Taken]:
        first = max(self._number, time.time_ns() // 1000)
        self._number = first + count
        words: Sequence[Word] = [self._worker_id, count, CHUNK_BYTES, first]
        keys = [held.key, held.processing_key, held.workers_key]
        sizes, joined = await self._redis.run(_TAKE, keys, words)
        return [(b"%d" % number, event) for number, event in enumerate(divided(joined, sizes), first)]

    async def _remove(self, held: HeldEvents, handles: Sequence[bytes]) -> None:
        await self._redis.command("HDEL", held.processing_key, *handles)

    async def _bury(self, held: HeldEvents, letters: Sequence[bytes]) -> int:
        keys = [held.processing_key, held.dead_letters_key]
        trimmed: int = await self._redis.run(_BURY, keys, [self._max_dead, *letters])
        return trimmed

    async def _beat(self, held: HeldEvents, *, may_take_over: bool) -> Heartbeat:
        words: Sequence[Word] = [self._worker_id, self._takeover_ms, int(may_take_over)]
        keys = [held.workers_key, held.processing_key, held.key]
        noted, length, dead = await self._redis.run(_BEAT, keys, words)
        return Heartbeat(noted, length, [worker_id.decode() for worker_id in dead])

    async def _noted(self, held: HeldEvents) -> Sequence[Taken]:
        both: Sequence[bytes] = await self._redis.run(_NOTED, [held.processing_key], [])
        return sorted(zip(both[::2], both[1::2], strict=True), key=lambda pair: int(pair[0]))

    async def _take_over(self, held: HeldEvents) -> None:
        while held.dead_workers:
            moved, left = await self._move_back(held, held.dead_workers[-1], self._takeover_ms)
            self._count_taken_over(moved)
            if not left:
                held.dead_workers.pop()

    async def _return(self, held: HeldEvents, *, but: Sequence[bytes]) -> None:
        left = 1
        while left:
            _, left = await self._move_back(held, self._worker_id, 0, but)

    async def _move_back(
        self, held: HeldEvents, worker_id: str, silence: int, but: Sequence[bytes] = ()
    ) -> tuple[int, int]:
        """Put events of *worker_id* back in front of the list; return how many, and how many are left."""
        keys = [held.key, held.processing_key_of(worker_id), held.workers_key]
        moved, left = await self._redis.run(_RETURN, keys, [worker_id, silence, CHUNK, *but])
        return moved, left
