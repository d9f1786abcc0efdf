"""
A collector with one fault, in a process of its own.

Its argument is a JSON object with the name of the ``fault`` and a ``seed``. It
prints its port, then takes one command per line on standard input::

    begin       the first event is being tracked: faults that last a while start here
    report      answered with the counts, once all connections are closed

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
from math import isinf
from typing import Any

from faults import BY_NAME, Fault

# What a client sent last only has to be read; one that was killed has closed its connections.
LAST_BYTES_SECONDS = 1.0
MOVED = "/secure"
GONE = (ConnectionError, asyncio.IncompleteReadError, TimeoutError)


class Collector:
    """
    Answers requests as its fault says, and counts the event ids that it took.
    """

    def __init__(self, fault: Fault, seed: int) -> None:
        self.fault = fault
        # One fault is the same for all clients, whatever ran before.
        self.random = random.Random(f"{seed}/{fault.name}")
        self.taken: Counter[str] = Counter()
        self.requests = 0
        self.unacknowledged = 0
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self.began = 0.0

    async def run(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0)) if not self.fault.refused_for else bound_only()
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
            else:
                print(json.dumps(await self.report()), flush=True)

    async def open_late(self, server: asyncio.Server) -> None:
        if self.fault.refused_for and not isinf(self.fault.refused_for):
            await asyncio.sleep(self.fault.refused_for)
            await server.start_serving()

    async def report(self) -> dict[str, int]:
        deadline = time.monotonic() + LAST_BYTES_SECONDS
        while self.open and time.monotonic() < deadline:  # noqa: ASYNC110 - a condition of one line
            await asyncio.sleep(0.01)
        return {
            "arrived": len(self.taken),
            "duplicated": self.taken.total() - len(self.taken),
            "unacknowledged": self.unacknowledged,
            "requests": self.requests,
            "connections": self.connections,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        with contextlib.suppress(*GONE):
            while await self.exchange(reader, writer):
                pass
        self.open.discard(writer)
        writer.close()

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """
        Take one request and answer it; return whether the connection goes on.
        """
        async with asyncio.timeout(self.fault.idle_seconds):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        chance = self.random.random() - self.fault.reset_before
        if chance < 0:
            reset(writer)
            return False
        body = await reader.readexactly(content_length(head))
        self.requests += 1
        if self.fault.hangs:
            await reader.read()
            return False
        events = json.loads(body)["data"] if body else []
        status, more = self.decide(head.split(" ")[1], events, len(body), chance)
        is_unanswered = 0 <= chance < self.fault.reset_after
        if status == 200:
            self.taken.update(event["eid"] for event in events)
            self.unacknowledged += len(events) if is_unanswered else 0
        if is_unanswered:
            reset(writer)
            return False
        await self.answer(writer, status, more)
        return True

    def decide(
        self, target: str, events: list[dict[str, str]], size_bytes: int, chance: float
    ) -> tuple[int, str]:
        """
        Return the status of the answer, and a header of it.
        """
        if time.monotonic() - self.began < self.fault.redirected_for and not target.startswith(MOVED):
            return 301, f"Location: {MOVED}{target}\r\n"
        if 0 <= chance - self.fault.reset_after < self.fault.unavailable:
            return 503, ""
        if size_bytes > self.fault.max_bytes:
            return 413, ""
        if any(event.get("se_la") == "poison" for event in events):
            return 400, ""
        return 200, ""

    async def answer(self, writer: asyncio.StreamWriter, status: int, more: str) -> None:
        answer = f"HTTP/1.1 {status} x\r\n{more}Content-Length: 2\r\n\r\nok".encode()
        pieces = [answer[i : i + 1] for i in range(len(answer))] if self.fault.byte_seconds else [answer]
        for piece in pieces:
            await asyncio.sleep(self.fault.byte_seconds)
            writer.write(piece)
            await writer.drain()


def bound_only() -> socket.socket:
    """
    Return a socket whose port is taken and refuses connections until somebody listens.
    """
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def content_length(head: str) -> int:
    fields = (line.partition(":") for line in head.split("\r\n"))
    return next((int(value) for name, _, value in fields if name.lower() == "content-length"), 0)


def reset(writer: asyncio.StreamWriter) -> None:
    """
    End the connection with RST, as a crash does.
    """
    connection: Any = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(Collector(BY_NAME[given["fault"]], given["seed"]).run())
