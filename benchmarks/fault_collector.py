"""
The faults, and a collector that has one of them, in a process of its own.

Its argument is a JSON object with the name of the ``fault`` and a ``seed``. It
prints its port, then answers each line of standard input with a line of JSON::

    begin       the first event is being tracked: faults that last a while start here
    report      the counts, once all connections are closed

The process ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault; the defaults are a collector that works and a program that closes."""

    name: str
    title: str
    # Shares of the requests: answered 503; processed, then reset; reset before they are read.
    unavailable: float = 0.0
    reset_after: float = 0.0
    reset_before: float = 0.0
    # Seconds from the first event on during which connections are refused, or requests redirected.
    refused_for: float = 0.0
    redirected_for: float = 0.0
    hangs: bool = False
    # Seconds between two bytes of an answer; seconds after which an idle connection is closed.
    byte_seconds: float = 0.0
    idle_seconds: float | None = None
    # The largest body that is taken.
    max_bytes: float = inf
    # One in so many events is one that the collector will never take; 0: none.
    poison_every: int = 0
    poison: str = "marked"
    # The end of the client's program: the documented shutdown call (``close``), a plain ``return``, or
    # SIGTERM half-way, without a handler (``killed``) or answered with the shutdown call (``stopped``).
    ending: str = "close"
    # Where chance decides, several runs are added up.
    runs: int = 1


FAULTS = (
    Fault(name="healthy", title="none"),
    Fault(name="unavailable", title="30 % answered 503", unavailable=0.3, runs=3),
    Fault(
        name="mixed",
        title="30 % answered 503, 5 % processed and then reset, 5 % reset before they are read",
        unavailable=0.3,
        reset_after=0.05,
        reset_before=0.05,
        runs=5,
    ),
    Fault(name="outage", title="refuses connections for 3 s, then works", refused_for=3.0, runs=3),
    Fault(name="dead", title="refuses connections to the end", refused_for=inf),
    Fault(name="hangs", title="takes requests and never answers", hangs=True),
    Fault(
        name="redirect", title="301 to another address for 1 s, then works in its place", redirected_for=1.0
    ),
    Fault(name="poison", title="400 for a batch with a certain event, one in 200", poison_every=200),
    Fault(
        name="too_large",
        title="413 for more than 64 KiB; one event in 400 is larger alone",
        max_bytes=2**16,
        poison_every=400,
        poison="large",
    ),
    Fault(name="slow", title="works, and answers a byte every 0.1 s", byte_seconds=0.1),
    Fault(name="keep_alive", title="closes connections that are idle for 50 ms", idle_seconds=0.05),
    Fault(name="no_close", title="works; the program ends without the shutdown call", ending="return"),
    Fault(name="sigterm", title="works; SIGTERM half-way, no handler", ending="killed", runs=3),
    Fault(
        name="sigterm_close",
        title="works; SIGTERM half-way, whose handler makes the shutdown call",
        ending="stopped",
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}

# The last bytes of a client only have to be read; one that was killed has closed its connections.
LAST_BYTES_SECONDS = 1.0
MOVED = "/secure"
GONE = (ConnectionError, asyncio.IncompleteReadError, TimeoutError)


class Collector:
    """Answers requests as its fault says, and counts the event ids that it took."""

    def __init__(self, fault: Fault, seed: int) -> None:
        self.fault = fault
        # One fault is the same for all clients, whatever ran before.
        self.random = random.Random(f"{seed}/{fault.name}")
        self.taken: Counter[str] = Counter()
        self.counts = Counter[str](requests=0, unacknowledged=0, connections=0)
        self.open: set[asyncio.StreamWriter] = set()
        self.began = 0.0

    async def run(self) -> None:
        # A socket that is bound and does not listen refuses connections.
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        server = await asyncio.start_server(self.serve, sock=listener, start_serving=False)
        if not self.fault.refused_for:
            await server.start_serving()
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        loop = asyncio.get_running_loop()
        opening: asyncio.Task[None] | None = None
        while command := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            if command == "begin":
                self.began = time.monotonic()
                opening = opening or loop.create_task(self.open_late(server))
            print(json.dumps(await self.report() if command == "report" else {}), flush=True)

    async def open_late(self, server: asyncio.Server) -> None:
        if 0 < self.fault.refused_for < inf:
            await asyncio.sleep(self.fault.refused_for)
            await server.start_serving()

    async def report(self) -> dict[str, int]:
        deadline = time.monotonic() + LAST_BYTES_SECONDS
        while self.open and time.monotonic() < deadline:  # noqa: ASYNC110 - a condition of one line
            await asyncio.sleep(0.01)
        arrived = len(self.taken)
        return dict(self.counts) | {"arrived": arrived, "duplicated": self.taken.total() - arrived}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        self.open.add(writer)
        with contextlib.suppress(*GONE):
            while await self.exchange(reader, writer):
                pass
        self.open.discard(writer)
        writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take one request and answer it; return whether the connection goes on."""
        async with asyncio.timeout(self.fault.idle_seconds):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        chance = self.random.random() - self.fault.reset_before
        if chance < 0:
            reset(writer)
            return False
        length = head.lower().partition("content-length:")[2].partition("\r\n")[0]
        body = await reader.readexactly(int(length or 0))
        self.counts["requests"] += 1
        if self.fault.hangs:
            await reader.read()
            return False
        events = json.loads(body)["data"] if body else []
        status, more = self.decide(head.split(" ")[1], events, len(body), chance)
        is_unanswered = 0 <= chance < self.fault.reset_after
        if status == 200:
            self.taken.update(event["eid"] for event in events)
            self.counts["unacknowledged"] += len(events) if is_unanswered else 0
        if is_unanswered:
            reset(writer)
            return False
        answer = f"HTTP/1.1 {status} x\r\n{more}Content-Length: 2\r\n\r\nok".encode()
        pieces = [answer[i : i + 1] for i in range(len(answer))] if self.fault.byte_seconds else [answer]
        for piece in pieces:
            await asyncio.sleep(self.fault.byte_seconds)
            writer.write(piece)
            await writer.drain()
        return True

    def decide(
        self, target: str, events: list[dict[str, str]], size_bytes: int, chance: float
    ) -> tuple[int, str]:
        """Return the status of the answer, and a header of it."""
        if time.monotonic() - self.began < self.fault.redirected_for and not target.startswith(MOVED):
            return 301, f"Location: {MOVED}{target}\r\n"
        if 0 <= chance - self.fault.reset_after < self.fault.unavailable:
            return 503, ""
        if size_bytes > self.fault.max_bytes:
            return 413, ""
        return 400 if any(event.get("se_la") == "poison" for event in events) else 200, ""


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with RST, as a crash does."""
    connection: Any = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(Collector(BY_NAME[given["fault"]], given["seed"]).run())
