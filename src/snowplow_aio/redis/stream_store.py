"""
A stream in Redis, read through a consumer group: what a worker holds is pending there under its name.

An event that is settled is acknowledged *and* deleted; an acknowledged entry
would stay in the stream for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from snowplow_aio.redis.connections import Script
from snowplow_aio.redis.held import CHUNK, CHUNK_BYTES, NOW, TRIM, Pulse, Queue, Taken, Words, parts
from snowplow_aio.redis.store import RedisStore
from snowplow_aio.redis.writer import FIELD, Mode

GROUP = "snowplow"

# An entry that others wrote may have other fields: it is shown as it is. Deleted ones have none.
_EVENT_OF = f"""
local function event_of(fields)
  if not fields or #fields == 0 then return false end
  for i = 1, #fields, 2 do
    if fields[i] == '{FIELD}' then return fields[i + 1] end
  end
  return cjson.encode(fields)
end
"""

# KEYS: the stream, the workers. ARGV: the group, our id, most events, most bytes.
# A group begins with the first entry; it is made where there is a stream, and again where it was lost.
_TAKE = Script(
    NOW
    + _EVENT_OF
    + """
redis.call('ZADD', KEYS[2], 'NX', now, ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then return {'', '', ''} end
local ids, sizes, events, size, left = {}, {}, {}, 0, tonumber(ARGV[3])
while left > 0 and size < tonumber(ARGV[4]) do
  local part = math.min(left, 50)
  local read = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', part, 'STREAMS', KEYS[1], '>')
  if not read then break end
  if read.err then
    if not string.find(read.err, 'NOGROUP') then return read end
    redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
  else
    for _, entry in ipairs(read[1][2]) do
      local event = event_of(entry[2])
      ids[#ids + 1] = entry[1]
      sizes[#ids] = #event
      events[#ids] = event
      size = size + #event
    end
    left = left - part
  end
end
return {table.concat(ids, ' '), table.concat(sizes, ' '), table.concat(events)}
"""
)

# KEYS: the stream, the dead letters. ARGV: most dead letters, the group, how many ids, these,
# then ids with letters.
_REMOVE = Script(
    """
local count = tonumber(ARGV[3])
if count > 0 then
  redis.call('XACK', KEYS[1], ARGV[2], unpack(ARGV, 4, count + 3))
  redis.call('XDEL', KEYS[1], unpack(ARGV, 4, count + 3))
end
for i = count + 4, #ARGV, 2 do
  if redis.call('XACK', KEYS[1], ARGV[2], ARGV[i]) == 1 then redis.call('RPUSH', KEYS[2], ARGV[i + 1]) end
  redis.call('XDEL', KEYS[1], ARGV[i])
end
"""
    + TRIM
)

# KEYS: the workers, the stream. ARGV: our id, when a silent worker is dead, whether we may take over,
# the group.
# Who reads in our group and shows no sign of life at all counts as dead when it has been idle for as long.
_BEAT = Script(
    NOW
    + """
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
local dead, after, noted, pending = {}, tonumber(ARGV[2]), 0, 0
local may = ARGV[3] == '1' and before and now - before < after
if may then dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - after) end
if redis.call('EXISTS', KEYS[2]) == 0 then return {0, 0, dead} end
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[2], ARGV[4])
if consumers.err then consumers = {} end
for _, fields in ipairs(consumers) do
  local consumer = {}
  for i = 1, #fields, 2 do consumer[fields[i]] = fields[i + 1] end
  pending = pending + consumer.pending
  if consumer.name == ARGV[1] then
    noted = consumer.pending
  elseif may and consumer.idle > after and not redis.call('ZSCORE', KEYS[1], consumer.name) then
    dead[#dead + 1] = consumer.name
  end
end
return {noted, redis.call('XLEN', KEYS[2]) - pending, dead}
"""
)

# KEYS: the stream, the workers. ARGV: the group, our id, the dead worker, when a silent worker is dead,
# most events.
_CLAIM = Script(
    NOW
    + _EVENT_OF
    + """
local beat = redis.call('ZSCORE', KEYS[2], ARGV[3])
if beat and now - beat < tonumber(ARGV[4]) then return {0, {}} end
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[5], ARGV[3])
if pending.err or #pending == 0 then
  redis.pcall('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[3])
  redis.call('ZREM', KEYS[2], ARGV[3])
  return {0, {}}
end
local claimed = {}
for i, entry in ipairs(pending) do
  local claim = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry[1])[1]
  if claim then
    claimed[#claimed + 1] = {entry[1], event_of(claim[2])}
  else
    redis.call('XACK', KEYS[1], ARGV[1], entry[1])
  end
end
return {1, claimed}
"""
)

# KEYS: the stream. ARGV: the group, our id.
_NOTED = Script(
    _EVENT_OF
    + """
local read = redis.pcall('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'STREAMS', KEYS[1], '0')
if not read or read.err then return {} end
local noted = {}
for i, entry in ipairs(read[1][2]) do noted[i] = {entry[1], event_of(entry[2])} end
return noted
"""
)

# KEYS: the stream, the workers. ARGV: the group, our id, most events, ids that stay.
# What is given back is added anew, so that others get it at once, and not only when we count as dead.
_RETURN = Script(
    """
local stays = {}
for i = 4, #ARGV do stays[ARGV[i]] = true end
local most = tonumber(ARGV[3])
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', most + #ARGV - 3, ARGV[2])
if pending.err then pending = {} end
local count = 0
for _, entry in ipairs(pending) do
  if not stays[entry[1]] and count < most then
    local found = redis.call('XRANGE', KEYS[1], entry[1], entry[1])[1]
    if found then redis.call('XADD', KEYS[1], '*', unpack(found[2])) end
    redis.call('XACK', KEYS[1], ARGV[1], entry[1])
    redis.call('XDEL', KEYS[1], entry[1])
    count = count + 1
  end
end
-- What a deleted consumer has pending nobody gets any more: all of it has been seen, and is given back.
if count == #pending and count < most then
  redis.pcall('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZREM', KEYS[2], ARGV[2])
end
return count
"""
)


class RedisStreamStore(RedisStore):
    """
    Events in a stream: entries with the field ``e``, which holds the JSON.

    What it survives: what the server persists. Its arguments are those of `RedisStore`.
    """

    mode: ClassVar[Mode] = "stream"

    async def _take(self, queue: Queue, count: int) -> Sequence[Taken]:
        if claimed := await self._claim(queue, count):
            return claimed
        words: Words = [GROUP, self._worker, count, CHUNK_BYTES]
        ids, sizes, joined = await self._redis.run(_TAKE, [queue.key, queue.workers], words)
        return list(zip(ids.split(), parts(sizes, joined), strict=True))

    async def _claim(self, queue: Queue, count: int) -> Sequence[Taken]:
        """Have up to *count* events of dead workers noted as ours."""
        while queue.dead:
            words: Words = [GROUP, self._worker, queue.dead[-1], self._takeover_ms, min(count, CHUNK)]
            has_more, claimed = await self._redis.run(_CLAIM, [queue.key, queue.workers], words)
            if has_more:
                self._took_over(len(claimed))
                return _pairs(claimed)
            queue.dead.pop()
        return []

    async def _remove(self, queue: Queue, handles: Sequence[bytes], letters: Sequence[bytes]) -> int:
        words: Words = [self._max_dead, GROUP, len(handles), *handles, *letters]
        trimmed: int = await self._redis.run(_REMOVE, [queue.key, queue.dead_letters], words)
        return trimmed

    async def _beat(self, queue: Queue, *, may_take_over: bool) -> Pulse:
        words: Words = [self._worker, self._takeover_ms, int(may_take_over), GROUP]
        noted, length, dead = await self._redis.run(_BEAT, [queue.workers, queue.key], words)
        return Pulse(noted, length, [worker.decode() for worker in dead])

    async def _noted(self, queue: Queue) -> Sequence[Taken]:
        return _pairs(await self._redis.run(_NOTED, [queue.key], [GROUP, self._worker]))

    async def _take_over(self, queue: Queue) -> None:  # noqa: ARG002
        # `_take` claims them, as far as there is room.
        return

    async def _return(self, queue: Queue, *, but: Sequence[bytes]) -> None:
        words: Words = [GROUP, self._worker, CHUNK, *but]
        while await self._redis.run(_RETURN, [queue.key, queue.workers], words) == CHUNK:
            pass


def _pairs(entries: Sequence[Sequence[bytes | None]]) -> Sequence[Taken]:
    return [(handle, event) for handle, event in entries if handle is not None]
