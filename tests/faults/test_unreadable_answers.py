"""The status line decides; an answer that cannot be read is said, and never asked for in a storm."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from snowplow_aio import HttpEmitter, PageView, Retry, Tracker
from tests.waiting import until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


@dataclass
class Server:
    """A server that answers each request with *pieces*, one write for each."""

    url: str
    pieces: tuple[bytes, ...]
    requests: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            await reader.readexactly(length)
            self.requests += 1
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncGenerator[Server, None]:
    server = Server("", pieces)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**20) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


READABLE = {
    "a long header": (HEAD + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\nok",),
    "many headers": (HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(1_000)) + b"\r\nok",),
    "a long reason": (b"HTTP/1.1 200 " + b"x" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",),
    "brotli": (HEAD + b"Content-Encoding: br\r\n\r\nok",),
    "zstandard": (HEAD + b"Content-Encoding: zstd\r\n\r\nok",),
    "no gzip": (HEAD + b"Content-Encoding: gzip\r\n\r\nok",),
    "a bomb": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
        + gzip.compress(bytes(30_000_000), compresslevel=9),
    ),
    "unknown encoding": (HEAD + b"Content-Encoding: nonsense\r\n\r\nok",),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n",),
    "no length": (b"HTTP/1.1 200 OK\r\n\r\nok",),
    "too short": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok",),
    "old version": (b"HTTP/1.0 200 OK\r\n\r\nok",),
    "a hint first": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD + b"\r\nok",),
}

BROKEN = {
    "a bad chunk at once": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",),
    "a bad chunk later": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"ZZZ\r\n"),
    "an endless header": (HEAD + b"X-Long: " + b"x" * 3_000_000 + b"\r\n\r\nok",),
    "a header without a name": (HEAD + b": y\r\n\r\nok",),
    "two lengths": (HEAD + b"Content-Length: 3\r\n\r\nok",),
    "a line only": (b"HTTP/1.1 200 OK\r\n",),
    "half a header": (HEAD + b"X-Half",),
    "in small pieces": (b"HT", b"TP/1.1 2", b"00 O", b"K\r\n", b": y\r\n\r\n"),
}


def quick(server: Server, **options: Any) -> HttpEmitter:
    policy = Retry(initial_delay=0.01, max_delay=0.05)
    return HttpEmitter(server.url, retry=policy, flush_interval=0.01, drain_timeout=0, **options)


@pytest.mark.parametrize("session", ["ours", "theirs"])
@pytest.mark.parametrize("pieces", READABLE.values(), ids=READABLE.keys())
async def test_an_unusual_answer_is_an_answer(pieces: tuple[bytes, ...], session: str) -> None:
    async with answering(*pieces) as server, aiohttp.ClientSession() as theirs:
        async with Tracker(quick(server, session=theirs if session == "theirs" else None)) as tracker:
            await tracker.track(PAGE)
            assert (await tracker.flush(10)).delivered == 1
        assert server.requests == 1


@pytest.mark.parametrize("pieces", BROKEN.values(), ids=BROKEN.keys())
async def test_an_answer_that_breaks_off_after_a_good_status_line_is_a_success(
    pieces: tuple[bytes, ...],
) -> None:
    async with answering(*pieces) as server:
        async with Tracker(quick(server)) as tracker:
            await tracker.track(PAGE)
            assert (await tracker.flush(10)).delivered == 1
        assert server.requests == 1


@pytest.mark.parametrize("method", ["get", "post"])
async def test_the_status_line_decides_about_a_refusal_too(method: Any) -> None:
    async with answering(b"HTTP/1.1 400 x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n") as server:
        async with Tracker(quick(server, method=method)) as tracker:
            await tracker.track(PAGE)
            assert (await tracker.flush(10)).rejected == 1
        assert server.requests == 1


async def test_an_answer_that_breaks_off_over_a_kept_connection_is_not_sent_again() -> None:
    """The first answer keeps the connection; the second one has the status of another kind."""
    answered = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                answered += 1
                writer.write(HEAD + b"\r\nok" if answered == 1 else b"HTTP/1.1 202 Accepted\r\n")
                if answered > 1:
                    break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        server = Server(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", ())
        async with Tracker(quick(server)) as tracker:
            for _ in range(2):
                await tracker.track(PAGE)
                assert (await tracker.flush(10)).delivered == 1
    assert answered == 2


UNREADABLE = {
    "another protocol": b"220 mail.example ESMTP\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "too long a status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "bytes": bytes(range(128, 256)) * 20,
    "a page": b"<html>welcome</html>\r\n\r\n",
    "control characters": b"\x1b[2J\x07\r\n\x00\r\n\r\n",
    "json": b'{"ok": true, "note": "Authorization: Bearer hunter2"}\r\n\r\n',
}


@pytest.mark.parametrize("session", ["ours", "theirs"])
@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_an_answer_that_cannot_be_read_is_said_with_its_reason_and_probed(
    reply: bytes, session: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with answering(reply) as server, aiohttp.ClientSession() as theirs:
            options = {
                "session": theirs if session == "theirs" else None,
                "headers": {"Authorization": "hunter3"},
            }
            async with Tracker(quick(server, **options)) as tracker:
                for i in range(100):
                    await tracker.track(PageView(page_url=f"https://shop.example/{i}"))
                await until(lambda: tracker.stats()["http"].state == "misconfigured")
                said = tracker.health().summary
                await until(lambda: server.requests >= 3)
                stats = tracker.stats()["http"]
                assert (stats.pending + stats.leased, stats.delivered) == (100, 0)
    assert "an answer that cannot be read: " in said
    for text in (said, caplog.text):
        assert "hunter" not in text
    assert said.isprintable()
    assert len(said) < 500
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_it_is_delivered_as_soon_as_the_answer_can_be_read() -> None:
    async with answering(b"220 mail.example ESMTP\r\n") as server, Tracker(quick(server)) as tracker:
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
        server.pieces = (HEAD + b"\r\nok",)
        assert (await tracker.flush(20)).delivered == 1
        assert tracker.stats()["http"].state == "ok"


@pytest.mark.parametrize(
    "location",
    [
        b"https://" + b"h" * 7_000 + b"/x",
        b"https://h\x1b[2J\x07/x",
        b"https://ada:hunter2@h/x",
        b"https://h\xff\xfe/",
    ],
    ids=["long", "control characters", "credentials", "bytes"],
)
async def test_the_host_of_a_redirect_is_shown_short_and_without_secrets(
    location: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with (
            answering(
                b"HTTP/1.1 301 x\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
            ) as server,
            Tracker(quick(server)) as tracker,
        ):
            await tracker.track(PAGE)
            await until(lambda: tracker.stats()["http"].state == "misconfigured")
            said = tracker.health().summary
            assert said.isprintable()
            assert len(said) < 400
            assert str(tracker.stats()["http"].last_error) in said
    assert "hunter2" not in said + caplog.text
    assert all(record.getMessage().isprintable() for record in caplog.records)
