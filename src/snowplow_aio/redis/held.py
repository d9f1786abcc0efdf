"""What a process has of a key in Redis, how an entry is read, and what is written of one that is given up."""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from snowplow_aio.delivery.fifo import Lane
from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.payload import Payload
from snowplow_aio.model.stored_event import StoredEvent
from snowplow_aio.redis.connections import beside

# A script runs a few milliseconds with so many events, and nothing else does meanwhile.
CHUNK = 500
CHUNK_BYTES = 4 * 2**20

WORKER_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")

# Between two attempts with a Redis that fails, in seconds.
_SHORTEST_REST = 0.1
_LONGEST_REST = 5.0

# Parts of scripts. The time is that of the server, in milliseconds: clocks of workers may differ.
NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# KEYS[2]: the dead letters. ARGV[1]: most of them.
TRIM = """
local surplus = redis.call('LLEN', KEYS[2]) - ARGV[1]
if surplus <= 0 then return 0 end
redis.call('LTRIM', KEYS[2], surplus, -1)
return surplus
"""

# How an entry, which may be anything, is shown in a dead letter.
_MAX_SHOWN = 100_000

# What was taken: its handle, and the bytes as they were, or None where Redis has lost them.
Taken = tuple[bytes, bytes | None]

# What a script is given besides keys.
Words = Sequence[str | bytes | float]


class Queue:
    """
    One key in Redis, and what this process has of it.

    Args:
        key: The key.

        worker: The id of this process.

        anonymous: Whether its events travel with ``SP-Anonymous``.

    Attributes:
        held: Events that are noted in Redis as ours and not settled.

        owed: Settled events that Redis still notes as ours: their dead letters, or None.

        lane: The held events that are not leased.

        dead: Workers whose events are to be taken over.

        length: How many events waited in Redis when it was last asked.

        is_unsure: Whether Redis may note other events as ours than we know of.
    """

    def __init__(self, key: str, worker: str, *, anonymous: bool) -> None:
        self.key: str = key
        self.anonymous: bool = anonymous
        self.workers: str = beside(key, "workers")
        self.dead_letters: str = beside(key, "dead")
        self.processing: str = self.processing_of(worker)
        self.held: dict[bytes, StoredEvent] = {}
        self.owed: dict[bytes, bytes | None] = {}
        self.lane: Lane = Lane()
        self.dead: list[str] = []
        self.length: int = 0
        self.is_unsure: bool = False

    def processing_of(self, worker: str) -> str:
        """Return the key of what *worker* holds."""
        return beside(self.key, f"processing:{worker}")

    def waiting(self) -> Sequence[StoredEvent]:
        """Return the held events that are not leased, in their order."""
        entries, _ = self.lane.take(len(self.held), sys.maxsize, 0)
        self.lane.put_back(reversed(entries))
        return entries

    def forget(self, is_gone: Callable[[StoredEvent], bool]) -> Sequence[StoredEvent]:
        """Let go of waiting events; return those that went."""
        waiting = self.waiting()
        gone = [entry for entry in waiting if is_gone(entry)]
        if gone:
            self.lane = Lane()
            for entry in gone:
                del self.held[entry.handle]
            for entry in waiting:
                if entry.handle in self.held:
                    self.lane.put(entry)
        return gone

    def known(self) -> int:
        """Return how many events Redis should note as ours."""
        return len(self.held) + len(self.owed)


class Rest:
    """
    For how long a Redis that fails is left alone.

    Attributes:
        failures: Failed attempts in a row.
    """

    def __init__(self) -> None:
        self.failures: int = 0
        self._ends_at = 0.0

    def begin(self) -> float:
        """Note a failure; return the seconds until the next attempt."""
        longest = min(_LONGEST_REST, _SHORTEST_REST * 2.0 ** min(self.failures, 16))
        self.failures += 1
        pause = longest * (1 + random.random()) / 2  # noqa: S311 - jitter, not a secret
        self._ends_at = time.monotonic() + pause
        return pause

    def left(self) -> float:
        """Return the seconds until the next attempt, 0 where it may be made."""
        return max(0.0, self._ends_at - time.monotonic())


async def ring_within(bell: asyncio.Event, seconds: float) -> None:
    """Return when *bell* rings, not later than after *seconds*."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if seconds == math.inf else seconds):
            await bell.wait()


@dataclass(frozen=True, slots=True)
class Pulse:
    """
    What Redis says to a sign of life.

    Attributes:
        noted: How many events it notes as ours.

        length: How many wait.

        dead: Workers that it has not heard of for too long.
    """

    noted: int
    length: int
    dead: Sequence[str]


def new_worker_id() -> str:
    """Return an id that nobody else has, and that says to an operator which process it is."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:60]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


def parts(sizes: bytes, joined: bytes) -> Iterator[bytes]:
    """Return what was *joined*, given the *sizes*: one text is read much faster than many."""
    start = 0
    for size in map(int, sizes.split()):
        yield joined[start : start + size]
        start += size


def read(raw: bytes, *, anonymous: bool) -> Payload:
    """
    Return the event of an entry, whoever wrote it; older trackers write spaces, ``stm`` and numbers.

    Raises InvalidEventError when it is none.
    """
    try:
        fields: Any = orjson.loads(raw)
    except ValueError:
        raise InvalidEventError("entry: must be JSON in UTF-8") from None
    if not isinstance(fields, dict):
        raise InvalidEventError("entry: must be a JSON object")
    ours = Payload.stored(raw, fields, anonymous=anonymous)
    if ours is not None:
        return ours
    return Payload({key: _text(value) for key, value in fields.items()}, anonymous=anonymous)


def _text(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def letter(event: Payload | bytes, reason: str, status: int | None) -> bytes:
    """Return the dead letter of *event*, or of an entry that is none."""
    said: Mapping[str, object] = {
        "event": orjson.Fragment(event.json) if isinstance(event, Payload) else _shown(event),
        "reason": reason,
        "status": status,
        "at": time.time_ns() // 1_000_000,
    }
    return orjson.dumps(said)


def _shown(raw: bytes) -> object:
    """Return the object that *raw* is, or its text."""
    try:
        value = orjson.loads(raw)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else raw[:_MAX_SHOWN].decode(errors="backslashreplace")
