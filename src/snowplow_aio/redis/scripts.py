"""
Lua scripts, each of which a server runs as one step, and the parts that several of them share.

A script that fails half-way is not rolled back: what its first commands have done stays done. So every
script here follows two rules. It notes an event in its new place first, and only then removes it from the
old one. And before it changes anything it runs, in a form that changes nothing, each command that removes
something: `LTRIM key 0 -1`, `HDEL key ''`, `ZREM key ''`, `XACK key group 0-0`, `XDEL key 0-0`. Where the
account has no right to a command, or a key has another type, the script fails there. Otherwise the event
would be in both places, once more at each attempt.

These first commands also let a script write to a server whose memory is full: such a server refuses
commands that need memory, but not to a script that has written already. So workers can empty it.
"""

from __future__ import annotations

import hashlib
import re

from snowplow_aio.redis.entries import MAX_ENTRY_BYTES, MAX_SHOWN_BYTES

# One argument of a command or a script.
Word = str | bytes | float

# Most events and bytes that one script handles. It takes a few milliseconds for that many, in which the
# server does nothing else.
CHUNK = 500
CHUNK_BYTES = 4 * 2**20

# Sets `now`, in milliseconds. It is the server's time because the clocks of workers can differ.
NOW = """
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# Of an entry that is too long to be an event only the beginning is of interest. It comes after a zero byte,
# with which no JSON begins.
BOUNDED = f"""
local function bounded(event)
  if #event <= {MAX_ENTRY_BYTES} then return event end
  return '\\0' .. string.sub(event, 1, {MAX_SHOWN_BYTES})
end
"""

# Deletes the oldest dead letters and returns how many. `length`: of the list. KEYS[2]: the list. ARGV[1]:
# most dead letters.
TRIM = """
local surplus = length - ARGV[1]
if surplus <= 0 then return 0 end
call('LTRIM', KEYS[2], surplus, -1)
return surplus
"""

# `call` is `redis.call`, and its errors name the command and the key, which those of servers do not. They
# are returned at the end, because all versions of servers pass a returned error on as it is.
_BEGINNING = """
local function attempt(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer, nil end
  local words, keys = {...}, {}
  for _, key in ipairs(KEYS) do keys[key] = true end
  local subject = words[1]
  for i = 2, #words do
    if keys[words[i]] then
      subject = subject .. ' ' .. words[i]
      break
    end
  end
  local message = string.gsub(tostring(answer.err), '^@user_script: *%d+: *%-?', '')
  return nil, {err = message .. ' @ ' .. subject}
end
local function call(...)
  local answer, refusal = attempt(...)
  if refusal then error(refusal) end
  return answer
end
-- The same for a command about a consumer group: nil where there is no such group, or no stream.
local function call_group(...)
  local answer, refusal = attempt(...)
  local said = refusal and refusal.err or ''
  local is_missing = string.find(said, 'NOGROUP') or string.find(said, 'requires the key to exist')
  if refusal and not is_missing then error(refusal) end
  return answer
end
local function run()
"""
_END = """
end
local is_done, answer = pcall(run)
if is_done or type(answer) == 'table' then return answer end
return {err = 'ERR ' .. tostring(answer)}
"""


class Script:
    """
    A Lua script.

    An error of it names the command and the key: ``WRONGTYPE ... @ HSET {snowplow}:processing:host-1``.

    Args:
        body: Its text. It runs commands by ``call``, and by ``call_group`` where a missing consumer group
            is no error but nil.

    Attributes:
        source: The whole text, for the server.

        sha: The name under which the server remembers it.

        commands: The commands that it runs.

    Example:
        >>> Script("return call('LLEN', KEYS[1])").commands
        frozenset({'LLEN'})
    """

    def __init__(self, body: str) -> None:
        self.source: str = f"{_BEGINNING}{body}{_END}"
        self.sha: str = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.commands: frozenset[str] = frozenset(re.findall(r"\bcall(?:_group)?\('([A-Z]+)'", body))
