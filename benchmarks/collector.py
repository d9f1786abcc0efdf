"""
The collector: counts what arrives and answers as its `Fault` says, in a process of its own.

Its argument is a JSON object: ``fault`` has the fields of a `Fault`, ``seed`` fixes its chances,
``has_ids`` asks for the ids of the events to be told apart, and ``certificate``, if there is one,
is the path of that for TLS. It prints its port, then answers each line of standard input with its
counts as JSON::

    reset       count from nothing
    begin       faults that last a while start here
    read        the counts so far

The moment of the last event is a value of ``time.perf_counter_ns``, which on one machine can be
compared with those of a client.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import random
import re
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass
from math import inf
from typing import Any

# Every event of a POST body has one event id, whichever client wrote the JSON. Contexts are base64.
EVENT_NAME = b'"eid"'
EVENT_ID = re.compile(rb'"eid": ?"([^"]+)"')
MOVED = "/secure"
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with a collector; the defaults are one that works."""

    # Shares of the requests: answered 503; processed, then reset; reset without being processed.
    unavailable: float = 0.0
    reset_after: float = 0.0
    reset_before: float = 0.0
    # Seconds from `begin` on during which connections are refused, or requests redirected.
    refused_for: float = 0.0
    redirected_for: float = 0.0
    hangs: bool = False
    # Seconds before an answer, or before each of its bytes. The delay of one answer holds up no other.
    delay: float = 0.0
    is_bytewise: bool = False
    # Seconds after which an idle connection is closed.
    idle_seconds: float = inf
    # The largest body that is taken.
    max_bytes: float = inf


WORKING = Fault()


class Collector:
    def __init__(self, fault: Fault, *, seed: str, has_ids: bool) -> None:
        self.fault = fault
        # One fault is the same for all clients, whatever ran before.
        self.random = random.Random(seed)
        self.has_ids = has_ids
        self.began = 0.0
        self.open_connections = 0
        self.reset()

    def reset(self) -> None:
        self.ids: Counter[bytes] = Counter()
        self.counts = Counter[str](requests=0, events=0, last_ns=0)

    def read(self) -> dict[str, int]:
        arrived = len(self.ids)
        found = {"arrived": arrived, "duplicated": self.ids.total() - arrived, "open": self.open_connections}
        return dict(self.counts) | found

    def take(self, connection: Connection, head: str, body: bytes) -> None:
        """Count and answer a request."""
        chance = self.random.random() - self.fault.reset_before
        if chance < 0:
            return connection.reset()
        self.counts["requests"] += 1
        if self.fault.hangs:
            return None
        status, more = self.decide(head.split(" ", 2)[1], body, chance - self.fault.reset_after)
        if status == 200:
            self.count(body)
        if chance < self.fault.reset_after:
            return connection.reset()
        return connection.answer(f"HTTP/1.1 {status} x\r\n{more}Content-Length: 2\r\n\r\nok".encode())

    def decide(self, target: str, body: bytes, chance: float) -> tuple[int, str]:
        """Return the status of the answer, and a header of it."""
        if time.monotonic() - self.began < self.fault.redirected_for and not target.startswith(MOVED):
            return 301, f"Location: {MOVED}{target}\r\n"
        if 0 <= chance < self.fault.unavailable:
            return 503, ""
        if len(body) > self.fault.max_bytes:
            return 413, ""
        return 400 if b'"poison"' in body else 200, ""

    def count(self, body: bytes) -> None:
        """Count the events of a request; without a body it has one in its address."""
        self.counts["last_ns"] = time.perf_counter_ns()
        if self.has_ids:
            self.ids.update(EVENT_ID.findall(body))
        else:
            self.counts["events"] += body.count(EVENT_NAME) if body else 1


class Connection(asyncio.Protocol):
    """One connection: just enough HTTP/1.1 for keep-alive and ``Content-Length``."""

    def __init__(self, collector: Collector) -> None:
        self.collector, self.fault = collector, collector.fault
        self.loop = asyncio.get_running_loop()
        self.received = bytearray()
        # There is nothing to do until so many bytes have been received.
        self.needed = 1
        self.closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.collector.open_connections += 1
        self.stay_open()

    def connection_lost(self, _error: Exception | None) -> None:
        self.collector.open_connections -= 1

    def stay_open(self) -> None:
        if self.fault.idle_seconds < inf:
            if self.closing is not None:
                self.closing.cancel()
            self.closing = self.loop.call_later(self.fault.idle_seconds, self.transport.close)

    def data_received(self, data: bytes) -> None:
        self.stay_open()
        self.received += data
        while len(self.received) >= self.needed:
            self.needed = self.take_request()

    def take_request(self) -> int:
        """Take the first request if it is complete; return how many bytes are needed to go on."""
        start = self.received.find(HEAD_END) + len(HEAD_END)
        if start < len(HEAD_END):
            return len(self.received) + 1
        head = self.received[:start].decode().lower()
        length = head.partition("content-length:")[2].partition("\r\n")[0]
        end = start + int(length or 0)
        if len(self.received) < end:
            return end
        body = bytes(self.received[start:end])
        del self.received[:end]
        self.collector.take(self, head, body)
        return 1

    def answer(self, answer: bytes) -> None:
        if not self.fault.delay:
            return self.transport.write(answer)
        pieces = [answer[at : at + 1] for at in range(len(answer))] if self.fault.is_bytewise else [answer]
        for number, piece in enumerate(pieces, start=1):
            self.loop.call_later(number * self.fault.delay, self.write, piece)
        return None

    def write(self, piece: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(piece)

    def reset(self) -> None:
        """End the connection with RST, as a crash does."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def serve(collector: Collector, certificate: str | None) -> None:
    """Collect until standard input is closed."""
    loop, refused_for, context = asyncio.get_running_loop(), collector.fault.refused_for, None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    # A socket that is bound and does not listen refuses connections.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = await loop.create_server(
        lambda: Connection(collector), sock=listener, ssl=context, backlog=512, start_serving=not refused_for
    )
    print(json.dumps({"port": listener.getsockname()[1], "loop": type(loop).__module__}), flush=True)
    # Reading in a thread, because waiting for a pipe on the loop is not portable.
    while order := await loop.run_in_executor(None, sys.stdin.readline):
        if json.loads(order) == "reset":
            collector.reset()
        elif json.loads(order) == "begin":
            collector.began = time.monotonic()
            if 0 < refused_for < inf:
                loop.call_later(refused_for, lambda: loop.create_task(server.start_serving()))
        print(json.dumps(collector.read()), flush=True)


def main() -> None:
    given = json.loads(sys.argv[1])
    collector = Collector(Fault(**given["fault"]), seed=given["seed"], has_ids=given["has_ids"])
    # It must be faster than what it measures.
    loops = importlib.import_module("uvloop" if importlib.util.find_spec("uvloop") else "asyncio")
    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
        runner.run(serve(collector, given.get("certificate")))


if __name__ == "__main__":
    main()
