"""Micro starts and ends cleanly, waits, and fails on demand."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.micro import Micro

from .wire import TP2, envelope, page_view, post, send

pytestmark = pytest.mark.anyio


def can_connect(url: str) -> bool:
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname, address.port or 0), timeout=1):
            return True
    except OSError:
        return False


async def test_a_running_micro_has_a_url_without_a_slash_at_its_end() -> None:
    async with Micro() as micro:
        assert micro.url == f"http://127.0.0.1:{micro.port}"
        assert can_connect(micro.url)


async def test_a_closed_micro_listens_no_more_and_stays_readable() -> None:
    async with Micro() as micro:
        await post(micro, page_view())
    assert not can_connect(micro.url)
    assert len(micro.good) == 1
    assert "closed good=1 bad=0" in repr(micro)


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    micro = Micro()
    await micro.start()
    # A client with a pool keeps its connection open.
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{micro.url}/i?e=pv"):
            pass
        await micro.aclose()
    assert asyncio.all_tasks() == before


async def test_closing_does_not_wait_long_for_a_request_that_never_ends() -> None:
    micro = Micro()
    await micro.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", micro.port)
    writer.write(b"POST /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
    await writer.drain()
    # The request is under way once another one, sent later, is answered.
    await send(micro, "GET", "/health")
    async with asyncio.timeout(5):
        await micro.aclose()
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_closing_twice_or_before_the_start_does_nothing() -> None:
    micro = Micro()
    await micro.aclose()
    await micro.start()
    await micro.aclose()
    await micro.aclose()
    assert not can_connect(micro.url)


async def test_entering_a_running_micro_says_that_it_runs(micro: Micro) -> None:
    with pytest.raises(RuntimeError, match="is running"):
        await micro.start()
    assert can_connect(micro.url)


async def test_a_micro_runs_once() -> None:
    async with Micro() as micro:
        pass
    with pytest.raises(RuntimeError, match="was closed"):
        await micro.start()


async def test_there_is_no_url_before_the_start() -> None:
    with pytest.raises(RuntimeError, match="start it first"):
        _ = Micro().url


async def test_a_port_in_use_raises_and_leaves_nothing_behind(micro: Micro) -> None:
    before = asyncio.all_tasks()
    with pytest.raises(OSError, match=str(micro.port)) as raised:
        await Micro(port=micro.port).start()
    assert raised.value.errno == errno.EADDRINUSE
    assert asyncio.all_tasks() == before
    assert (await post(micro, page_view())).status == 200


async def test_two_micros_do_not_know_each_other(micro: Micro) -> None:
    async with Micro() as other:
        await post(micro, page_view())
        assert (micro.counts()["total"], other.counts()["total"]) == (1, 0)


async def test_waiting_ends_with_the_last_expected_event(micro: Micro) -> None:
    waiting = [asyncio.create_task(micro.wait_for(count)) for count in (1, 3, 3)]
    await post(micro, page_view())
    await waiting[0]
    assert not waiting[1].done()
    await post(micro, page_view(), page_view(vid="bad events count"))
    await asyncio.gather(*waiting)
    assert micro.counts() == {"total": 3, "good": 2, "bad": 1}


async def test_waiting_for_what_is_there_ends_at_once(micro: Micro) -> None:
    await micro.wait_for(0, timeout=0)
    await post(micro, page_view())
    await micro.wait_for(1, timeout=0)


async def test_waiting_in_vain_says_how_many_events_arrived(micro: Micro) -> None:
    await post(micro, page_view(), page_view(vid="x"))
    with pytest.raises(TimeoutError, match=r"for 3 events, 2 arrived \(1 good, 1 bad\)"):
        await micro.wait_for(3, timeout=0.01)


async def test_reset_forgets_events_and_waiting_starts_anew(micro: Micro) -> None:
    await post(micro, page_view())
    micro.reset()
    with pytest.raises(TimeoutError, match="0 arrived"):
        await micro.wait_for(1, timeout=0)


async def test_planned_answers_are_given_in_turn_and_store_nothing() -> None:
    seen: list[dict[str, Any]] = []
    async with Micro(answers=[503, 429], record=seen.append) as micro:
        micro.fail_next(500)
        statuses = [(await post(micro, page_view(aid=str(number)))).status for number in range(4)]
        assert statuses == [503, 429, 500, 200]
        assert [good["event"]["app_id"] for good in micro.good] == ["3"]
    assert [request.get("answered") for request in seen] == [503, 429, 500, None]


async def test_a_planned_answer_waits_for_a_request_that_would_be_accepted(micro: Micro) -> None:
    micro.fail_next(503)
    assert (await send(micro, "GET", "/health")).status == 200
    assert (await send(micro, "GET", "/micro/all")).status == 200
    assert (await send(micro, "POST", "/i")).status == 404
    assert (await send(micro, "GET", "/i?e=pv")).status == 503


@pytest.mark.parametrize("status", [100, 199, 600, True, "503", None])
def test_a_planned_answer_must_be_a_status(status: Any) -> None:
    with pytest.raises(ConfigurationError, match="answers: must be an HTTP status from 200 to 599"):
        Micro(answers=[status])


async def test_requests_are_recorded_raw() -> None:
    seen: list[dict[str, Any]] = []
    async with Micro(record=seen.append) as micro:
        await send(micro, "GET", "/i?e=pv&page=a%20b;c+d", headers={"X-One": "1"})
        await post(micro, page_view(), query="a=%C3%A9")
        await send(micro, "POST", TP2, body=b"\xff\x00")
        await send(micro, "POST", "/nowhere", body="x")
        await send(micro, "GET", "/micro/all")
    pixel, posted, binary, lost = seen
    assert pixel == {
        "method": "GET",
        "path": "/i",
        "query": "e=pv&page=a%20b;c+d",
        "headers": [["Host", "micro.test"], ["Connection", "close"], ["X-One", "1"]],
    }
    assert (posted["query"], posted["body"]) == ("a=%C3%A9", envelope(page_view()))
    assert (binary["body_b64"], "body" in binary) == ("/wA=", False)
    assert lost["path"] == "/nowhere"


async def test_each_event_is_told_when_it_has_arrived() -> None:
    told: list[Any] = []
    async with Micro(on_event=lambda record: told.append((record, micro.counts()["total"]))) as micro:
        await post(micro, page_view(), page_view(vid="x"))
    assert told == [(micro.good[0], 2), (micro.bad[0], 2)]


async def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_what: object) -> None:
        raise ValueError("broken listener")

    async with Micro(record=fail, on_event=fail) as micro:
        assert (await post(micro, page_view())).status == 200
        assert micro.counts()["good"] == 1
    assert caplog.text.count("a listener of the collector failed") == 2


async def test_a_client_that_hangs_up_in_its_body_harms_nobody(
    micro: Micro, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", micro.port)
    writer.write(b"POST /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await post(micro, page_view())).status == 200
    assert micro.counts()["total"] == 1
    assert [record.levelname for record in caplog.records if record.levelno >= 30] == []


async def test_importing_the_library_does_not_import_micro() -> None:
    program = (
        "import snowplow_aio, sys; print('snowplow_aio.micro' in sys.modules, 'jsonschema' in sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.split() == [b"False", b"False"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /i?e=pv&page=hunter\xc3\xa9 HTTP/1.1\r\nAuthorization: Bearer hunter2\r\n\r\n",
        b"GET /hunter\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization: Bearer hunter2\r\nHost\x00: hunter\r\n\r\n",
        b"POST /a/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nhunter\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ],
)
async def test_a_request_that_cannot_be_read_is_one_line_that_shows_nothing_of_it(
    micro: Micro, caplog: pytest.LogCaptureFixture, head: bytes
) -> None:
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", micro.port)
        writer.write(head)
        assert (await reader.readline()).split()[1] == b"400"
        writer.close()
        await writer.wait_closed()
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert len(lines) <= 1
    assert "hunter" not in caplog.text
    assert "Traceback" not in caplog.text
