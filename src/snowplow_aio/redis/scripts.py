"""Lua scripts, each of which a server runs as one step, and the parts that several of them share."""

from __future__ import annotations

import hashlib

# One argument of a command or a script.
Word = str | bytes | float

# Most events and bytes that one script handles. It takes a few milliseconds for that many, in which the
# server does nothing else.
CHUNK = 500
CHUNK_BYTES = 4 * 2**20

# Sets `now`, in milliseconds. It is the server's time because the clocks of workers can differ.
NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# Deletes the oldest dead letters and returns how many. KEYS[2]: the dead letters. ARGV[1]: most of them.
TRIM = """
local surplus = redis.call('LLEN', KEYS[2]) - ARGV[1]
if surplus <= 0 then return 0 end
redis.call('LTRIM', KEYS[2], surplus, -1)
return surplus
"""


class Script:
    """
    A Lua script.

    Args:
        source: Its text.

    Attributes:
        sha: The name under which the server remembers it.
    """

    def __init__(self, source: str) -> None:
        self.source: str = source
        self.sha: str = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
