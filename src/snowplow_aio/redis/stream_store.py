"""
A stream, read through a consumer group, in which the events that a worker holds are pending.

An event that is settled is acknowledged *and* deleted; an entry that is only acknowledged stays in the
stream for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from snowplow_aio.redis.entries import STREAM_FIELD, Mode, Taken, divided
from snowplow_aio.redis.held import Heartbeat, HeldEvents
from snowplow_aio.redis.scripts import BOUNDED, CHUNK, CHUNK_BYTES, NOW, TRIM, Script, Word
from snowplow_aio.redis.store import RedisStore

GROUP = "snowplow"

# Returns the event of an entry. An entry of somebody else can have other fields: these are returned as JSON.
# A deleted entry has no fields.
_EVENT_OF = (
    BOUNDED
    + f"""
local function event_of(fields)
  if not fields or #fields == 0 then return false end
  for i = 1, #fields, 2 do
    if fields[i] == '{STREAM_FIELD}' then return bounded(fields[i + 1]) end
  end
  return bounded(cjson.encode(fields))
end
"""
)

# KEYS: the stream, the workers. ARGV: the group, our id, most events, most bytes.
# The group is made as soon as there is a stream, and again if it was lost; it begins with the first entry.
# Entries are read one by one: only so is the answer bounded by bytes.
_TAKE = Script(
    NOW
    + _EVENT_OF
    + """
call('XDEL', KEYS[1], '0-0')
call('ZADD', KEYS[2], 'NX', now, ARGV[2])
if call('EXISTS', KEYS[1]) == 0 then return {'', '', ''} end
local ids, sizes, events, size = {}, {}, {}, 0
local function read()
  return call_group('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], '>')
end
while #ids < tonumber(ARGV[3]) and size < tonumber(ARGV[4]) do
  local found = read()
  if found == nil then
    call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0')
    found = read()
  end
  if not found then break end
  local entry = found[1][2][1]
  local event = event_of(entry[2])
  ids[#ids + 1] = entry[1]
  sizes[#ids] = #event
  events[#ids] = event
  size = size + #event
end
return {table.concat(ids, ' '), table.concat(sizes, ' '), table.concat(events)}
"""
)

# KEYS: the stream. ARGV: the group, the ids of delivered events.
_REMOVE = Script(
    """
call('XDEL', KEYS[1], '0-0')
call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 2))
call('XDEL', KEYS[1], unpack(ARGV, 2))
"""
)

# KEYS: the stream, the dead letters. ARGV: most dead letters, the group, then the id and the dead letter of
# each event.
_BURY = Script(
    """
call('XACK', KEYS[1], ARGV[2], '0-0')
call('XDEL', KEYS[1], '0-0')
call('LTRIM', KEYS[2], 0, -1)
local ids, letters = {}, {}
for i = 3, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
  -- An event that is gone was taken over by others and settled.
  if #call('XRANGE', KEYS[1], ARGV[i], ARGV[i]) > 0 then letters[#letters + 1] = ARGV[i + 1] end
end
local length = 0
if #letters > 0 then length = call('RPUSH', KEYS[2], unpack(letters)) end
call('XACK', KEYS[1], ARGV[2], unpack(ids))
call('XDEL', KEYS[1], unpack(ids))
"""
    + TRIM
)

# KEYS: the workers, the stream. ARGV: our id, the milliseconds after which a silent worker is dead, whether
# we may take over, the group.
# A consumer of our group that has never shown a sign of life counts as dead after it was idle for that time.
_BEAT = Script(
    NOW
    + """
call('ZREM', KEYS[1], '')
local before = call('ZSCORE', KEYS[1], ARGV[1])
call('ZADD', KEYS[1], now, ARGV[1])
local dead, after, noted, pending = {}, tonumber(ARGV[2]), 0, 0
local may = ARGV[3] == '1' and before and now - before < after
if may then dead = call('ZRANGEBYSCORE', KEYS[1], '-inf', now - after) end
if call('EXISTS', KEYS[2]) == 0 then return {0, 0, dead} end
for _, fields in ipairs(call_group('XINFO', 'CONSUMERS', KEYS[2], ARGV[4]) or {}) do
  local consumer = {}
  for i = 1, #fields, 2 do consumer[fields[i]] = fields[i + 1] end
  pending = pending + consumer.pending
  if consumer.name == ARGV[1] then
    noted = consumer.pending
  elseif may and consumer.idle > after and not call('ZSCORE', KEYS[1], consumer.name) then
    dead[#dead + 1] = consumer.name
  end
end
return {noted, call('XLEN', KEYS[2]) - pending, dead}
"""
)

# KEYS: the stream, the workers. ARGV: the group, our id, the dead worker, the milliseconds after which a
# silent worker is dead, most events, most bytes.
# Nobody would ever get the pending events of a deleted consumer, so it is deleted only when none is left.
_CLAIM = Script(
    NOW
    + _EVENT_OF
    + """
local beat = call('ZSCORE', KEYS[2], ARGV[3])
if beat and now - beat < tonumber(ARGV[4]) then return {0, {}} end
call('XACK', KEYS[1], ARGV[1], '0-0')
local pending = call_group('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[5], ARGV[3])
if not pending or #pending == 0 then
  if pending then call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[3]) end
  call('ZREM', KEYS[2], ARGV[3])
  return {0, {}}
end
local claimed, size = {}, 0
for _, entry in ipairs(pending) do
  if size >= tonumber(ARGV[6]) then break end
  local claim = call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry[1])[1]
  if claim then
    local event = event_of(claim[2])
    claimed[#claimed + 1] = {entry[1], event}
    size = size + (event and #event or 0)
  else
    call('XACK', KEYS[1], ARGV[1], entry[1])
  end
end
return {1, claimed}
"""
)

# KEYS: the stream. ARGV: the group, our id.
_NOTED = Script(
    _EVENT_OF
    + """
local read = call_group('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'STREAMS', KEYS[1], '0')
if not read then return {} end
local noted = {}
for i, entry in ipairs(read[1][2]) do noted[i] = {entry[1], event_of(entry[2])} end
return noted
"""
)

# KEYS: the stream, the workers. ARGV: the group, our id, most events, the ids of events that stay.
# Events are given back by adding them anew: so others get them at once, not only when we count as dead.
# One with thousands of fields, more than Lua passes on, stays noted and is taken over.
_RETURN = Script(
    """
call('XACK', KEYS[1], ARGV[1], '0-0')
call('XDEL', KEYS[1], '0-0')
call('ZREM', KEYS[2], '')
local stays = {}
for i = 4, #ARGV do stays[ARGV[i]] = true end
local most = tonumber(ARGV[3])
local pending = call_group('XPENDING', KEYS[1], ARGV[1], '-', '+', most + #ARGV - 3, ARGV[2])
local count = 0
for _, entry in ipairs(pending or {}) do
  if not stays[entry[1]] and count < most then
    local found = call('XRANGE', KEYS[1], entry[1], entry[1])[1]
    if not found or #found[2] < 7000 then
      if found then call('XADD', KEYS[1], '*', unpack(found[2])) end
      call('XACK', KEYS[1], ARGV[1], entry[1])
      call('XDEL', KEYS[1], entry[1])
      count = count + 1
    end
  end
end
-- Nobody would ever get the pending events of a deleted consumer, so it is deleted only when none is left.
if count == #(pending or {}) and count < most then
  if pending then call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
  call('ZREM', KEYS[2], ARGV[2])
end
return count
"""
)


class RedisStreamStore(RedisStore):
    """
    Events in a stream in Redis: entries with the field ``e``, which holds the JSON.

    An event survives what the server persists. The arguments are those of `RedisStore`.

    Example:
        ::

            store = RedisStreamStore("redis://127.0.0.1:6379/0", "snowplow")
            await store.put(payloads)
    """

    mode: ClassVar[Mode] = "stream"

    async def _take(self, held: HeldEvents, count: int) -> Sequence[Taken]:
        if claimed := await self._claim(held, count):
            return claimed
        words: Sequence[Word] = [GROUP, self._worker_id, count, CHUNK_BYTES]
        ids, sizes, joined = await self._redis.run(_TAKE, [held.key, held.workers_key], words)
        return list(zip(ids.split(), divided(joined, sizes), strict=True))

    async def _claim(self, held: HeldEvents, count: int) -> Sequence[Taken]:
        """Have up to *count* events of dead workers noted as ours."""
        keys = [held.key, held.workers_key]
        while held.dead_workers:
            dead = held.dead_workers[-1]
            limits: Sequence[Word] = [self._takeover_ms, min(count, CHUNK), CHUNK_BYTES]
            words: Sequence[Word] = [GROUP, self._worker_id, dead, *limits]
            has_more, claimed = await self._redis.run(_CLAIM, keys, words)
            if has_more:
                self._count_taken_over(len(claimed))
                return _pairs(claimed)
            held.dead_workers.pop()
        return []

    async def _remove(self, held: HeldEvents, handles: Sequence[bytes]) -> None:
        await self._redis.run(_REMOVE, [held.key], [GROUP, *handles])

    async def _bury(self, held: HeldEvents, letters: Sequence[bytes]) -> int:
        words: Sequence[Word] = [self._max_dead, GROUP, *letters]
        trimmed: int = await self._redis.run(_BURY, [held.key, held.dead_letters_key], words)
        return trimmed

    async def _beat(self, held: HeldEvents, *, may_take_over: bool) -> Heartbeat:
        words: Sequence[Word] = [self._worker_id, self._takeover_ms, int(may_take_over), GROUP]
        noted, length, dead = await self._redis.run(_BEAT, [held.workers_key, held.key], words)
        return Heartbeat(noted, length, [worker_id.decode() for worker_id in dead])

    async def _noted(self, held: HeldEvents) -> Sequence[Taken]:
        return _pairs(await self._redis.run(_NOTED, [held.key], [GROUP, self._worker_id]))

    async def _take_over(self, held: HeldEvents) -> None:  # noqa: ARG002
        # `_take` claims their events, as far as there is room.
        return

    async def _return(self, held: HeldEvents, *, but: Sequence[bytes]) -> None:
        words: Sequence[Word] = [GROUP, self._worker_id, CHUNK, *but]
        while await self._redis.run(_RETURN, [held.key, held.workers_key], words) == CHUNK:
            pass


def _pairs(entries: Sequence[Sequence[bytes | None]]) -> Sequence[Taken]:
    return [(handle, event) for handle, event in entries if handle is not None]
