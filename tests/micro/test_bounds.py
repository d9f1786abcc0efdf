"""Nothing that a request carries makes the collector grow, stop or answer 500."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.micro import Micro
from snowplow_aio.micro.storage import bytes_of

from .wire import TP2, page_view, post, send

pytestmark = pytest.mark.anyio

_ENVELOPE = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
_NUMBERS = {
    "type": "object",
    "properties": {
        "price": {"type": "number", "multipleOf": 0.01, "maximum": 100},
        "prices": {"type": "array", "items": {"multipleOf": 0.01}},
        "set": {"type": "array", "uniqueItems": True},
        "strings": {"type": "array", "items": {"type": "string"}},
        "address": {"type": "string", "format": "uri"},
    },
}


def struct(value: str) -> dict[str, Any]:
    return {"e": "se", "tv": "t", "p": "srv", "se_ca": "a", "se_ac": "b", "se_va": value}


def with_data(data: str) -> dict[str, Any]:
    """Return an event whose data is the JSON *data*, digit by digit."""
    inner = f'{{"schema":"iglu:com.acme/numbers/jsonschema/1-0-0","data":{data}}}'
    return {**page_view(), "e": "ue", "ue_pr": f'{{"schema":"{_ENVELOPE}","data":{inner}}}'}


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    folder = tmp_path / "com.acme" / "numbers" / "jsonschema"
    folder.mkdir(parents=True)
    (folder / "1-0-0").write_text(json.dumps(_NUMBERS), "utf-8")
    return tmp_path


HUGE = [
    pytest.param(struct("1e5000"), True, id="a value beyond the floats"),
    pytest.param(struct("-1e-5000"), True, id="a value below the floats"),
    pytest.param(struct("1" * 800_000), True, id="a value of 800,000 digits"),
    pytest.param(struct(f"0.{'1' * 800_000}"), True, id="a fraction of 800,000 digits"),
    pytest.param(struct(f"{'1' * 800_000}x"), False, id="almost a number"),
    pytest.param(struct("1e5001"), False, id="an exponent beyond the bound"),
    pytest.param(page_view(vid="1" * 800_000), False, id="an integer of 800,000 digits"),
    pytest.param(page_view(res=f"{'1' * 400_000}x1"), False, id="a width of 400,000 digits"),
    pytest.param(page_view(dtm="1" * 400_000), False, id="a time of 400,000 digits"),
    pytest.param(with_data('{"price":1e30000000}'), False, id="a huge exponent"),
    pytest.param(with_data('{"price":1e-30000000}'), False, id="a tiny exponent"),
    pytest.param(with_data('{"price":1E+99999999999999999999}'), False, id="an exponent beyond Decimal"),
    pytest.param(with_data(f'{{"price":{"1" * 800_000}}}'), False, id="a number of 800,000 digits"),
    pytest.param(with_data(f'{{"price":0.{"1" * 800_000}}}'), False, id="a fraction in JSON"),
    pytest.param(with_data(f'{{"price":1e{"0" * 800_000}}}'), True, id="an exponent of 800,000 zeros"),
    pytest.param(with_data(f'{{"prices":[{",".join(["1e5000"] * 30_000)}]}}'), True, id="many numbers"),
    pytest.param(with_data('{"price":1e5000}'), False, id="over the maximum"),
    pytest.param(with_data('{"price":19.999}'), False, id="no multiple"),
    pytest.param(with_data('{"price":19.99}'), True, id="a multiple"),
    pytest.param(with_data('{"price":0e-4000}'), True, id="nothing"),
    pytest.param(with_data(f'{{"set":{list(range(100_000))}}}'), True, id="many different items"),
    pytest.param(
        with_data(json.dumps({"set": [item for i in range(20_000) for item in (i, str(i), [i])]})),
        True,
        id="many different items of several types",
    ),
    pytest.param(with_data('{"set":[1,true,"1",[1],{"a":1}]}'), True, id="items that only look alike"),
    pytest.param(with_data('{"set":[{"a":[1]},{"a":[1.0]}]}'), False, id="items that are alike"),
    pytest.param(with_data(f'{{"strings":[{",".join("1" * 200_000)}]}}'), False, id="many faults"),
    pytest.param(with_data(f'{{"address":"a://{"a" * 800_000} "}}'), False, id="almost an address"),
    pytest.param(with_data(f'{{"x":{"[" * 300_000}{"]" * 300_000}}}'), False, id="deep nesting"),
    pytest.param(with_data('{"x":"\\ud800"}'), True, id="half a character"),
]


# Each takes milliseconds, or a second. Without a bound it was from ten seconds to hours, or a 500.
@pytest.mark.timeout(20)
@pytest.mark.parametrize(("event", "is_good"), HUGE)
async def test_an_event_of_any_size_gets_a_verdict_soon_and_can_be_read(
    schemas: Path, event: dict[str, Any], is_good: bool
) -> None:
    async with Micro(schemas=[schemas]) as micro:
        assert (await post(micro, event)).status == 200
        good, bad = await send(micro, "GET", "/micro/good"), await send(micro, "GET", "/micro/bad")
    assert (good.status, bad.status) == (200, 200)
    assert (len(good.json()), len(bad.json())) == (int(is_good), int(not is_good))


async def test_a_query_string_has_the_same_bounds(micro: Micro) -> None:
    for value in ("1e5000", "1e30000000", "1" * 15_000):
        assert (await send(micro, "GET", f"/i?e=se&se_ca=a&se_ac=b&p=srv&tv=t&se_va={value}")).status == 200
    assert micro.counts() == {"total": 3, "good": 2, "bad": 1}
    assert micro.good[0]["event"]["se_value"] == "1E+5000"
    assert (await send(micro, "GET", "/micro/good")).status == 200


async def test_a_number_that_is_too_long_is_bad_and_the_reason_names_the_bound(micro: Micro) -> None:
    await post(micro, with_data(f'{{"price":{"1" * 5_000}}}'), with_data('{"price":1e6000}'))
    first, second = (bad["errors"][1] for bad in micro.bad)
    assert "a number must have at most 4300 digits" in first
    assert "a number must have an exponent within" in second


async def test_a_body_that_is_one_deep_list_harms_nobody(micro: Micro) -> None:
    body = "[" * 1_000_000
    assert (await send(micro, "POST", TP2, body=body)).status == 200
    body = '{"schema":1,"data":' * 60_000
    assert (await send(micro, "POST", TP2, body=body)).status == 200
    assert micro.counts()["bad"] == 2


async def test_the_oldest_events_go_when_there_are_too_many_and_this_is_counted() -> None:
    async with Micro(capacity=3) as micro:
        assert "removed" not in micro.counts()
        await post(micro, *[page_view(aid=str(number)) for number in range(4)], page_view(vid="x", aid="4"))
        expected = {"total": 5, "good": 4, "bad": 1, "removed": 2}
        assert (await send(micro, "GET", "/micro/all")).json() == expected == micro.counts()
        assert [good["event"]["app_id"] for good in micro.good] == ["2", "3"]
        assert [bad["rawEvent"]["parameters"]["aid"] for bad in micro.bad] == ["4"]
        # What was removed has arrived all the same.
        await micro.wait_for(5, timeout=0)
        micro.reset()
        assert micro.counts() == {"total": 0, "good": 0, "bad": 0}


async def test_a_bad_event_makes_room_as_a_good_one_does() -> None:
    async with Micro(capacity=1) as micro:
        await post(micro, page_view())
        await post(micro, page_view(vid="x"))
        assert (len(micro.good), len(micro.bad)) == (0, 1)
        await post(micro, page_view())
        assert (len(micro.good), len(micro.bad)) == (1, 0)
        assert micro.counts()["removed"] == 2


async def test_the_oldest_events_go_when_they_need_too_much_memory() -> None:
    async with Micro(capacity_bytes=1_000_000) as micro:
        for number in range(30):
            await post(micro, page_view(aid=str(number), page="x" * 50_000))
        # Such a title is bad.
        kept = [bad["rawEvent"]["parameters"]["aid"] for bad in micro.bad]
        assert micro.counts()["removed"] == 30 - len(kept)
        assert 2 <= len(kept) <= 10
        assert kept == [str(number) for number in range(30)][-len(kept) :]
        assert sum(map(bytes_of, micro.bad)) <= 1_000_000


async def test_the_newest_event_is_kept_whatever_its_size() -> None:
    async with Micro(capacity_bytes=1) as micro:
        await post(micro, page_view(aid="1"), page_view(aid="2"))
        assert [good["event"]["app_id"] for good in micro.good] == ["2"]


async def test_small_values_count_for_the_memory_that_they_take(schemas: Path) -> None:
    async with Micro(schemas=[schemas], capacity_bytes=10_000_000) as micro:
        for _ in range(5):
            # Two bytes of text each, and thirty times as many in memory.
            await post(micro, with_data(f'{{"x":[{",".join(["{}"] * 100_000)}]}}'))
        assert len(micro.good) == 1


@pytest.mark.parametrize("arguments", [{"capacity": 0}, {"capacity": True}, {"capacity_bytes": 1.5}])
def test_a_capacity_is_a_whole_number(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(ConfigurationError, match=f"^{name}: must be a whole number from 1"):
        Micro(**arguments)


async def _connections(micro: Micro, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    return [await asyncio.open_connection("127.0.0.1", micro.port) for _ in range(count)]


async def _closed(*opened: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Wait until the collector has closed them."""
    async with asyncio.timeout(30):
        for reader, writer in opened:
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    "begun", [b"", b"POST", b"POST /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"]
)
async def test_a_connection_that_stays_silent_is_closed(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("snowplow_aio.micro.connections.MAX_SILENCE", 0.05)
    async with Micro() as micro:
        (opened,) = await _connections(micro, 1)
        opened[1].write(begun)
        await _closed(opened)


async def test_of_too_many_connections_the_one_that_was_silent_for_longest_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("snowplow_aio.micro.connections.MAX_CONNECTIONS", 3)
    async with Micro() as micro:
        first, second, third = await _connections(micro, 3)
        first[1].write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await first[0].readline()).startswith(b"HTTP/1.1 200")
        assert (await post(micro, page_view())).status == 200
        await _closed(second)
        third[1].write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await third[0].readline()).startswith(b"HTTP/1.1 200")
    for _, writer in (first, third):
        writer.close()


async def test_half_requests_without_end_do_not_keep_events_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snowplow_aio.micro.connections.MAX_CONNECTIONS", 20)
    async with Micro() as micro:
        opened = await _connections(micro, 100)
        for _, writer in opened:
            writer.write(b"POST / HTTP/1.1\r\nX-")
        assert (await post(micro, page_view())).status == 200
        assert micro.counts()["good"] == 1
    await _closed(*opened)
