"""Entries that are no events: whatever they are, they keep no good event from being delivered."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import pytest

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.redis.dead_letters import dead_letter
from snowplow_aio.redis.entries import MAX_ENTRY_BYTES, MAX_SHOWN_BYTES, read_entry
from snowplow_aio.redis.worker import RedisWorker, store_class
from tests.collector import Collector
from tests.redis.servers import RedisServer
from tests.redis.working import dead_letters, left, put, sending, until_in_redis, working
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio


def nested(opening: str, closing: str, depth: int) -> bytes:
    return (opening * depth + "1" + closing * depth).encode()


GOOD = b'{"e":"pv","p":"web","tv":"t","eid":"%s"}'

POISON = {
    "objects, 253 deep": nested('{"a":', "}", 253),
    "objects, 300 deep": nested('{"a":', "}", 300),
    "objects, 1,000 deep": nested('{"a":', "}", 1_000),
    "objects, 100,000 deep": nested('{"a":', "}", 100_000),
    "lists, 600,000 deep": nested("[", "]", 600_000),
    "lists in an event, 500 deep": b'{"e":"pv","p":"web","tv":"t","url":' + nested("[", "]", 500) + b"}",
    "a huge whole number": b'{"e":"pv","p":"web","tv":"t","url":' + b"9" * 5_000 + b"}",
    "a huge exponent": b'{"e":1e999999999,"p":"web","tv":"t"}',
    "a whole number beyond 64 bits as a text": b'{"e":18446744073709551616,"p":1,"tv":2,"walrus":3}',
    "NaN": b'{"e":NaN,"p":"web","tv":"t"}',
    "Infinity": b'{"e":"pv","p":-Infinity,"tv":"t"}',
    "a lone surrogate": b'{"e":"\\ud800","p":"web","tv":"t"}',
    "a lone surrogate in UTF-8": b'{"e":"\xed\xa0\x80","p":"web","tv":"t"}',
    "bytes that are no text": b"\xff\xfe\x00\x01",
    "a field twice": b'{"e":"pv","e":{},"p":"web","tv":"t"}',
    "a field that is no text": b'{"e":true,"p":"web","tv":"t"}',
    "a field that is null": b'{"e":null,"p":"web","tv":"t"}',
    "a list": b'["pv"]',
    "a text": b'"pv"',
    "null": b"null",
    "nothing": b"",
    "a zero byte": b"\x00",
    "two objects": b'{"e":"pv"}{"e":"pv"}',
    "a field of somebody else": b'{"e":"pv","p":"web","tv":"t","walrus":"w"}',
    "line breaks and control characters": b"\r\n\x1b[31m\x7f",
    "too long": b"x" * (MAX_ENTRY_BYTES + 1),
    "an object that is too long": b'{"e":"' + b"x" * MAX_ENTRY_BYTES + b'"}',
    "long": b"\x80" * 1_000_000,
}


@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_no_entry_keeps_its_neighbours_from_being_delivered(
    server: RedisServer, rdb: Any, collector: Collector, caplog: pytest.LogCaptureFixture, mode: Any
) -> None:
    caplog.set_level(logging.INFO, "snowplow_aio")
    event_ids: list[str] = []
    for number, entry in enumerate(POISON.values()):
        if number % 4 == 0:
            event_ids += await put(server.url, 2, mode=mode)
        await (rdb.rpush("snowplow", entry) if mode == "list" else rdb.xadd("snowplow", {"e": entry}))
    event_ids += await put(server.url, 2, mode=mode)
    worker = RedisWorker(sending(collector), client=server.url, mode=mode)
    async with working(worker):
        await until(lambda: worker.stats().delivered == len(event_ids))
        await until_in_redis(lambda: is_empty(rdb))
    assert collector.accepted == dict.fromkeys(event_ids, 1)
    # Each of them once, whatever happens meanwhile.
    assert worker.stats().rejected == {"poison": len(POISON)}
    assert worker.stats().restarts == 0
    letters = await dead_letters(rdb)
    assert len(letters) == len(POISON)
    for (name, entry), letter in zip(POISON.items(), letters, strict=True):
        assert is_shown(entry, letter["event"]), name
        assert letter["reason"], name
    assert sum("an entry is no event" in line for line in caplog.text.splitlines()) == 1
    assert len(caplog.text) < 5_000


async def is_empty(rdb: Any) -> bool:
    return await left(rdb) == 0


def is_shown(entry: bytes, shown: Any) -> bool:
    """Return whether *shown* is the object that *entry* is, or its beginning as text."""
    if isinstance(shown, dict):
        return bool(shown == json.loads(entry))
    assert isinstance(shown, str)
    return shown == entry[:MAX_SHOWN_BYTES].decode(errors="backslashreplace")


@pytest.mark.parametrize("mode", ["list", "stream"])
async def test_entries_of_a_worker_that_died_of_them_are_dead_letters_of_the_next(
    server: RedisServer, rdb: Any, collector: Collector, mode: Any
) -> None:
    """Another version of this library may have held them."""
    entries = list(POISON.values())
    for entry in entries:
        await (rdb.rpush("snowplow", entry) if mode == "list" else rdb.xadd("snowplow", {"e": entry}))
    event_ids = await put(server.url, 3, mode=mode)
    dead = store_class(mode)(server.url, worker_id="dead")
    # It takes them, and dies before it has looked at them.
    held = dead._held[False]
    await dead._take(held, 500)
    while await (rdb.llen("snowplow") if mode == "list" else unread(rdb)):
        await dead._take(held, 500)
    await dead.aclose()
    worker = RedisWorker(sending(collector), client=server.url, mode=mode, takeover_after=0.2)
    async with working(worker):
        await until(lambda: worker.stats().delivered == 3)
        await until_in_redis(lambda: is_empty(rdb))
    assert collector.accepted == dict.fromkeys(event_ids, 1)
    assert len(await dead_letters(rdb)) == worker.stats().rejected["poison"] == len(entries)


async def unread(rdb: Any) -> int:
    pending = await rdb.xpending("snowplow", "snowplow")
    return int(await rdb.xlen("snowplow")) - int(pending["pending"])


async def test_a_stream_of_entries_with_thousands_of_fields_is_worked_off(
    server: RedisServer, rdb: Any, collector: Collector
) -> None:
    await rdb.xadd("snowplow", {f"field {i}": b"\xff" for i in range(5_000)})
    await rdb.xadd("snowplow", {b"\xff\xfe": b"\x00"})
    event_ids = await put(server.url, 3, mode="stream")
    worker = RedisWorker(sending(collector), client=server.url, mode="stream")
    async with working(worker):
        await until(lambda: worker.stats().delivered == 3)
        await until_in_redis(lambda: is_empty(rdb))
    assert collector.accepted == dict.fromkeys(event_ids, 1)
    assert len(await dead_letters(rdb)) == 2


def test_no_bytes_make_the_reading_or_the_dead_letter_fail() -> None:
    chance = random.Random(14)
    for _ in range(scale(1_000, 200_000)):
        entry = mutated(chance.choice([*POISON.values(), GOOD % b"1"])[:2_000], chance)
        try:
            read_entry(entry, anonymous=False)
        except InvalidEventError as error:
            letter = json.loads(dead_letter(entry, str(error), None))
            assert is_shown(entry, letter["event"])


PIECES = [
    b"",
    b'"',
    b"{",
    b"}",
    b"[",
    b":",
    b",",
    b"\\",
    b"\\ud800",
    b"\xff",
    b"\x00",
    b"NaN",
    b"1e400",
    b"0" * 400,
]


def mutated(entry: bytes, chance: random.Random) -> bytes:
    """Return *entry* with some of its bytes changed."""
    changed = bytearray(entry)
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(changed) + 1)
        changed[place : place + chance.randrange(3)] = chance.choice(PIECES)
    return bytes(changed)


def test_a_dead_letter_keeps_an_object_byte_for_byte() -> None:
    entry = b'{"walrus": 12345678901234567890123, "a": 1.10, "a": 2}'
    assert entry in dead_letter(entry, "a reason", None)
