"""
The sink: a collector that only counts, in a process of its own.

It parses just enough HTTP/1.1 for keep-alive and ``Content-Length``, answers
every request with the same 200 and counts requests and *events*. Its argument
is a JSON object with ``core`` and ``certificate``; with a certificate a second
port does the same over TLS. The first line on standard output tells the ports.
Each line on standard input is then answered with the counts as JSON::

    reset           start counting from nothing
    read            the counts so far
    answer SECONDS  from now on answer each request after so many SECONDS
    hang            from now on answer nothing

A delayed answer holds up no other: the delay stands for the network, not for
work. Times are ``time.perf_counter_ns`` values, which on one machine can be
compared with those of a client.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.util
import json
import os
import ssl
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

# Every event of a POST body has exactly one event id, whichever client wrote the
# JSON. Contexts are base64 in all rows, so the marker cannot stand in them.
EVENT_MARKER = b'"eid"'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
# A body of unknown length would need a real parser; no client sends one.
REFUSAL = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HEAD_END = b"\r\n\r\n"


@dataclass(slots=True)
class Counts:
    connections: int = 0
    requests: int = 0
    events: int = 0
    bytes: int = 0
    last_ns: int = 0


class Sink:
    def __init__(self) -> None:
        self.counts = Counts()
        # Seconds to an answer; None: there is none.
        self.delay: float | None = 0.0

    def obey(self, order: str) -> Counts:
        match order.split():
            case ["reset"]:
                self.counts = Counts()
            case ["answer", seconds]:
                self.delay = float(seconds)
            case ["hang"]:
                self.delay = None
        return self.counts


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.parts: list[bytes] = []
        self.received = 0
        self.needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's: only the annotation can tell.
        self.transport = cast("asyncio.Transport", transport)
        self.sink.counts.connections += 1

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
        """Count and answer the request that *data* starts with; return the rest."""
        head_end = data.find(HEAD_END)
        if head_end < 0:
            return self.keep(data, len(data) + 1)
        head = data[:head_end].lower()
        if b"transfer-encoding:" in head:
            self.transport.write(REFUSAL)
            self.transport.close()
            return b""
        body_start = head_end + len(HEAD_END)
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        end = body_start + int(length or 0)
        if len(data) < end:
            return self.keep(data, end)
        counts, delay = self.sink.counts, self.sink.delay
        counts.last_ns = time.perf_counter_ns()
        counts.requests += 1
        counts.events += 1 if head.startswith(b"get ") else data.count(EVENT_MARKER, body_start, end)
        counts.bytes += end
        answer = functools.partial(self.answer, is_last=b"connection: close" in head)
        if delay:
            asyncio.get_running_loop().call_later(delay, answer)
        elif delay is not None:
            answer()
        return data[end:]

    def answer(self, *, is_last: bool) -> None:
        if not self.transport.is_closing():
            self.transport.write(ANSWER)
            if is_last:
                self.transport.close()

    def keep(self, data: bytes, needed: int) -> bytes:
        """Put an unfinished request aside until *needed* bytes are there."""
        self.parts.append(data)
        self.received = len(data)
        self.needed = needed
        return b""


async def serve(certificate: str | None) -> None:
    """Count until standard input is closed."""
    sink, loop, ports = Sink(), asyncio.get_running_loop(), {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate is not None:
        context.load_cert_chain(certificate)
    for name, tls in (("http", None), ("https", context)) if certificate else (("http", None),):
        server = await loop.create_server(lambda: Connection(sink), "127.0.0.1", 0, backlog=512, ssl=tls)
        ports[name] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports | {"loop": type(loop).__module__.partition(".")[0]}), flush=True)
    # Reading in a thread, because waiting for a pipe on the loop is not portable.
    while order := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(asdict(sink.obey(order))), flush=True)


def main() -> None:
    given = json.loads(sys.argv[1])
    if given["core"] is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given["core"]})
    loop_maker = importlib.import_module("uvloop" if importlib.util.find_spec("uvloop") else "asyncio")
    with asyncio.Runner(loop_factory=loop_maker.new_event_loop) as runner:
        runner.run(serve(given["certificate"]))


if __name__ == "__main__":
    main()
