"""
The sink: a collector that only counts, in a process of its own.

It parses just enough HTTP/1.1 for keep-alive and ``Content-Length``, answers
every request with the same 200 and counts requests and *events*. A second
port, the control channel, takes one command per line and answers each with
one line of JSON::

    reset               start counting from nothing
    read                the counts so far
    wait EVENTS SECONDS the counts, once EVENTS are counted or SECONDS are over
    answer SECONDS      from now on answer each request after so many SECONDS
    hang                from now on answer nothing

An answer that waits holds up no other: the delay is one of the way, not of the
work. With a certificate a third port does the same over TLS.

Times are ``time.perf_counter_ns`` values: on one machine they can be compared
with those of a client. The first line on standard output tells the ports; the
process ends when its standard input is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib
import importlib.util
import json
import os
import ssl
import sys
import threading
import time
from typing import Any, cast

# Every event of a POST body has exactly one event id, whichever client wrote the
# JSON. Contexts are base64 in all scenarios, so the marker cannot stand in them.
EVENT_MARKER = b'"eid"'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
# A body of unknown length would need a real parser; no client of ours sends one.
REFUSAL = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HEAD_END = b"\r\n\r\n"


class Tally:
    """
    What the sink has counted since the last reset.
    """

    def __init__(self) -> None:
        self.waiters: list[tuple[int, asyncio.Event]] = []
        # Seconds to an answer; None: there is none.
        self.delay: float | None = 0.0
        self.reset()

    def reset(self) -> None:
        self.connections = 0
        self.requests = 0
        self.refused = 0
        self.events = 0
        self.bytes = 0
        self.first_ns = 0
        self.last_ns = 0

    def count(self, events: int, size_bytes: int) -> None:
        """
        Count one request that carried *events*.
        """
        now = time.perf_counter_ns()
        self.first_ns = self.first_ns or now
        self.last_ns = now
        self.requests += 1
        self.events += events
        self.bytes += size_bytes
        for target, reached in self.waiters:
            if self.events >= target:
                reached.set()

    async def wait(self, target: int, seconds: float) -> None:
        """
        Return once *target* events are counted, or so many *seconds* are over.
        """
        if self.events >= target:
            return
        waiter = (target, asyncio.Event())
        self.waiters.append(waiter)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waiter[1].wait(), seconds)
        self.waiters.remove(waiter)

    def as_dict(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


class Collector(asyncio.Protocol):
    """
    One connection of a client.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.parts: list[bytes] = []
        self.received = 0
        self.needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's: only the annotation can tell.
        self.transport = cast("asyncio.Transport", transport)
        self.tally.connections += 1

    def data_received(self, data: bytes) -> None:
        if self.parts:
            self.parts.append(data)
            self.received += len(data)
            if self.received < self.needed:
                return
            data = b"".join(self.parts)
            self.parts.clear()
        while data and not self.transport.is_closing():
            data = self.take_request(data)

    def take_request(self, data: bytes) -> bytes:
        """
        Count and answer the request that *data* starts with; return what follows it.
        """
        head_end = data.find(HEAD_END)
        if head_end < 0:
            return self.keep(data, len(data) + 1)
        head = data[:head_end].lower()
        if b"transfer-encoding:" in head:
            self.tally.refused += 1
            self.transport.write(REFUSAL)
            self.transport.close()
            return b""
        body_start = head_end + len(HEAD_END)
        end = body_start + content_length(head)
        if len(data) < end:
            return self.keep(data, end)
        events = 1 if head.startswith(b"get ") else data.count(EVENT_MARKER, body_start, end)
        self.tally.count(events, end)
        is_last = b"connection: close" in head
        if self.tally.delay:
            late = functools.partial(self.answer, is_last=is_last)
            asyncio.get_running_loop().call_later(self.tally.delay, late)
        elif self.tally.delay is not None:
            self.answer(is_last=is_last)
        return data[end:]

    def answer(self, *, is_last: bool) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)
            if is_last:
                self.transport.close()

    def keep(self, data: bytes, needed: int) -> bytes:
        """
        Put an unfinished request aside until *needed* bytes are there.
        """
        self.parts.append(data)
        self.received = len(data)
        self.needed = needed
        return b""


def content_length(head: bytes) -> int:
    """
    Return the length that the lower-case *head* announces, 0 if it announces none.
    """
    _, found, rest = head.partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def obey(line: str, tally: Tally) -> dict[str, int]:
    """
    Carry out one command of the control channel.
    """
    match line.split():
        case ["reset"]:
            tally.reset()
        case ["wait", target, timeout]:
            await tally.wait(int(target), float(timeout))
        case ["answer", seconds]:
            tally.delay = float(seconds)
        case ["hang"]:
            tally.delay = None
        case ["read"]:
            pass
        case _:
            message = f"unknown command {line!r}"
            raise ValueError(message)
    return tally.as_dict()


async def serve(lifetime: float, certificate: str | None) -> None:
    """
    Count until standard input is closed, but for *lifetime* seconds at most.
    """
    tally = Tally()
    loop = asyncio.get_running_loop()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await obey(line.decode(), tally)).encode() + b"\n")
            await writer.drain()
        writer.close()

    collector = await loop.create_server(lambda: Collector(tally), "127.0.0.1", 0, backlog=512)
    servers = {"port": collector, "control_port": await asyncio.start_server(control, "127.0.0.1", 0)}
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        servers["tls_port"] = await loop.create_server(
            lambda: Collector(tally), "127.0.0.1", 0, backlog=512, ssl=context
        )
    announce(servers, loop)
    closed = asyncio.Event()
    # A thread, because waiting for a pipe on the loop is not portable.
    threading.Thread(
        target=lambda: (sys.stdin.buffer.read(), loop.call_soon_threadsafe(closed.set)), daemon=True
    ).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closed.wait(), lifetime)


def announce(servers: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
    """
    Print the ports and the kind of loop as one line of JSON.
    """
    facts: dict[str, object] = {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}
    print(json.dumps(facts | {"loop": type(loop).__module__.partition(".")[0]}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what clients send, and nothing else.")
    parser.add_argument("--core", type=int, default=None, help="the core to stay on")
    parser.add_argument("--certificate", default=None, help="a file with a key and its certificate, for TLS")
    parser.add_argument("--lifetime", type=float, default=3600.0, help="seconds after which to end anyway")
    arguments = parser.parse_args()
    if arguments.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {arguments.core})
    has_uvloop = importlib.util.find_spec("uvloop") is not None
    loop_maker = importlib.import_module("uvloop") if has_uvloop else asyncio
    with asyncio.Runner(loop_factory=loop_maker.new_event_loop) as runner:
        runner.run(serve(arguments.lifetime, arguments.certificate))
    # The thread may still sit in its read of standard input.
    os._exit(0)


if __name__ == "__main__":
    main()
