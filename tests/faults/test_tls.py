"""What two sides of TLS cannot agree on is said in plain words, and probed, not repeated in a storm."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from ssl import CERT_REQUIRED, PROTOCOL_TLS_SERVER, SSLContext, TLSVersion, create_default_context
from typing import Any

import aiohttp
import pytest
import trustme

from snowplow_aio import HttpEmitter, PageView, Retry, Tracker
from tests.collector import Answer, running_collector
from tests.waiting import until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Sides:
    """The contexts of both sides, which trust each other at first."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.client, self.server = create_default_context(), SSLContext(PROTOCOL_TLS_SERVER)
        self.ca.configure_trust(self.client)
        self.ca.configure_trust(self.server)
        self.ca.issue_cert("127.0.0.1").configure_cert(self.server)


def no_client_certificate(sides: Sides) -> None:
    sides.server.verify_mode = CERT_REQUIRED


def no_client_certificate_in_tls_1_2(sides: Sides) -> None:
    sides.server.verify_mode = CERT_REQUIRED
    sides.server.maximum_version = TLSVersion.TLSv1_2


def client_certificate_of_another_authority(sides: Sides) -> None:
    sides.server.verify_mode = CERT_REQUIRED
    trustme.CA().issue_cert("client.example").configure_cert(sides.client)


def server_is_too_old(sides: Sides) -> None:
    sides.server.maximum_version, sides.client.minimum_version = TLSVersion.TLSv1_2, TLSVersion.TLSv1_3


def client_is_too_old(sides: Sides) -> None:
    sides.client.maximum_version, sides.server.minimum_version = TLSVersion.TLSv1_2, TLSVersion.TLSv1_3


def no_common_cipher(sides: Sides) -> None:
    sides.server.maximum_version = TLSVersion.TLSv1_2
    sides.server.set_ciphers("AES128-GCM-SHA256")
    sides.client.set_ciphers("ECDHE+AESGCM")


# With the words of a server that says why, and the word that is there in any case.
FAULTS: list[tuple[Callable[[Sides], None], str]] = [
    (no_client_certificate, "client certificate"),
    (no_client_certificate_in_tls_1_2, "client certificate"),
    (client_certificate_of_another_authority, "client certificate"),
    (server_is_too_old, "TLS version"),
    (client_is_too_old, "TLS version"),
    (no_common_cipher, "cipher"),
]
EACH_FAULT = pytest.mark.parametrize(
    ("make", "word"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)


@contextmanager
def plain_openssl(context: SSLContext) -> Generator[str, None, None]:
    """Serve as most servers do: what OpenSSL has to say is sent before the connection is closed."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with (
                    connection,
                    suppress(OSError),
                    context.wrap_socket(connection, server_side=True) as secure,
                ):
                    secure.recv(65_536)
                    secure.sendall(OK)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        serving.join()


async def said_of(url: str, **options: Any) -> str:
    """Return what the health says of a collector that is misconfigured, and probed only now and then."""
    policy = Retry(initial_delay=0.01, max_delay=0.02)
    emitter = HttpEmitter(url, retry=policy, flush_interval=0.01, drain_timeout=0, **options)
    async with Tracker(emitter) as tracker:
        await tracker.track(PAGE)
        await until(lambda: emitter.stats().state == "misconfigured")
        summary = tracker.health().summary
        assert emitter.stats().pending + emitter.stats().leased == 1
    return summary


@EACH_FAULT
async def test_a_server_that_says_why_is_understood(make: Callable[[Sides], None], word: str) -> None:
    sides = Sides()
    make(sides)
    with plain_openssl(sides.server) as url:
        assert word in await said_of(url, ssl=sides.client)


@EACH_FAULT
async def test_a_server_that_just_closes_is_taken_for_one_that_refuses(
    make: Callable[[Sides], None], word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio's own server sends no alert. It has never answered, and closes every connection."""
    sides = Sides()
    make(sides)
    async with running_collector(ssl=sides.server) as collector:
        assert word in await said_of(collector.url, ssl=sides.client)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) <= 1


async def test_a_server_that_has_answered_before_is_only_out_for_a_while() -> None:
    sides = Sides()
    async with running_collector(ssl=sides.server) as collector:
        policy = Retry(initial_delay=0.001, max_delay=0.002)
        emitter = HttpEmitter(collector.url, ssl=sides.client, retry=policy, flush_interval=0.01)
        async with Tracker(emitter) as tracker:
            await tracker.track(PAGE)
            await tracker.flush(20)
            collector.rule = lambda _request: Answer(reset=True, is_processed=False)
            await tracker.track(PAGE)
            await until(lambda: sum(emitter.stats().retries.values()) >= 5)
            assert emitter.stats().state == "backing_off"
            collector.rule = lambda _request: Answer()
            assert (await tracker.flush(20)).delivered == 1


async def answering(reply: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(65_536)
            writer.write(reply)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def test_https_to_a_port_for_http_is_named() -> None:
    sides = Sides()
    async with await answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as server:
        port = server.sockets[0].getsockname()[1]
        said = await said_of(f"https://127.0.0.1:{port}", ssl=sides.client)
    assert f"127.0.0.1:{port}: the port does not speak TLS: https to a port for http" in said


ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
NGINX = b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
APACHE = b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"
GO = b"Client sent an HTTP request to an HTTPS server.\n"
NGINX_CLIENT = (
    b"<center><h1>400 Bad Request</h1></center><center>No required SSL certificate was sent</center>"
)


def page(text: bytes) -> bytes:
    return b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (ALERT, "the port speaks TLS: http to a port for https"),
        (page(NGINX), "the port speaks TLS: http to a port for https"),
        (page(APACHE), "the port speaks TLS: http to a port for https"),
        (page(GO), "the port speaks TLS: http to a port for https"),
        (page(NGINX_CLIENT), "a client certificate is missing"),
    ],
    ids=["alert", "nginx", "apache", "go", "nginx, client certificate"],
)
async def test_what_servers_answer_for_the_connection_is_not_laid_at_the_events(
    reply: bytes, reason: str
) -> None:
    async with await answering(reply) as server:
        said = await said_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert reason in said
    assert "rejected" not in said


async def test_a_certificate_that_is_not_the_one_asked_for_is_named() -> None:
    sides = Sides()
    async with running_collector(ssl=sides.server) as collector:
        # Not its own.
        pinned: Any = aiohttp.Fingerprint(bytes(32))
        assert "the certificate is not the one that ssl= asks for" in await said_of(collector.url, ssl=pinned)
        assert collector.requests == []
