"""
A collector in a process of its own that does wrong at random and counts what it got.

    python -m tests.faults.server SEED

It says on which port it listens. Then it reads orders from its standard input,
answers each with its counts, and ends with its input: no test leaves one behind.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import struct
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

ROOT = Path(__file__).parents[2]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EVENT_ID = re.compile(rb'"eid":"([0-9a-f-]{36})"')
# An event whose URL ends so is answered with this status.
_ANSWER = re.compile(rb'/answer/(\d{3})"')

_DRIP_SECONDS = 0.3
_CHUNK = b"x" * 8192
_CHUNK_SECONDS = 0.02


@dataclass(frozen=True)
class Faults:
    """
    What goes wrong from now on.

    Attributes:
        refused: Part of the requests that is answered with 503 and not processed.

        unanswered: Part that is processed and then ended by a reset.

        reset: Part that is ended by a reset before the body is read.

        slow: Part that is answered 200 ms late.

        delay: Longest random time that every answer takes, in seconds.

        idle: Seconds after which an idle connection is closed, or None.

        once: Whether a connection is reset when a second request comes on it.

        manner: How an answer is given: whole, not at all, byte by byte every
            0.3 seconds, or at once with a body that comes byte by byte or never ends.
    """

    refused: float = 0
    unanswered: float = 0
    reset: float = 0
    slow: float = 0
    delay: float = 0
    idle: float | None = None
    once: bool = False
    manner: Literal["whole", "never", "dripping", "dripping body", "endless body"] = "whole"

    def draw(self, chance: float) -> str:
        """Return the fault of a request, by a number in [0, 1)."""
        for name in ("refused", "unanswered", "reset", "slow"):
            chance -= getattr(self, name)
            if chance < 0:
                return name
        return ""


@dataclass
class Counts:
    """
    What has come.

    Attributes:
        requests: Requests, of which `acknowledged` were answered with 2xx.

        processed: Events in processed requests, of which `distinct` have different
            ids and `unanswered` were in requests that got no answer.

        connections: Open connections; `connected` is how many there were.

        early: Requests that came between the last order and the first answer after it.

        under_way: Requests that are being answered; `at_once` is how many there were at most.

        body_bytes: Bytes of bodies that never end.
    """

    requests: int = 0
    acknowledged: int = 0
    processed: int = 0
    distinct: int = 0
    unanswered: int = 0
    connections: int = 0
    connected: int = 0
    early: int = 0
    under_way: int = 0
    at_once: int = 0
    body_bytes: int = 0

    @property
    def duplicates(self) -> int:
        return self.processed - self.distinct


# --- in the collector's process


class _Collector:
    def __init__(self, seed: int) -> None:
        self.counts = Counts()
        self._random = random.Random(seed)
        self._faults = Faults()
        self._seen: set[bytes] = set()
        self._is_answering = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]

    async def obey(self, order: dict[str, Any]) -> Counts:
        if "faults" in order:
            self._faults = Faults(**order["faults"])
            self._is_answering, self.counts.early = False, 0
        if order.get("open") is True:
            self._server = await asyncio.start_server(self._serve, sock=self._socket)
        if order.get("open") is False:
            self._close()
        self.counts.distinct = len(self._seen)
        self.counts.connections = len(self._writers)
        return self.counts

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            # A bound socket that does not listen refuses connections and keeps the port.
            self._socket = _bound(self.port)
        for writer in list(self._writers):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.counts.connected += 1
        try:
            is_kept = False
            while await self._respond(reader, writer, is_kept=is_kept):
                is_kept = True
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        except asyncio.CancelledError:
            # Only at the end of the process; `asyncio.streams` would complain of it.
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _respond(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_kept: bool
    ) -> bool:
        """Read and answer one request; return whether the connection can take another one."""
        # A connection is idle only after its first request.
        async with asyncio.timeout(self._faults.idle if is_kept else None):
            head = await reader.readuntil(b"\r\n\r\n")
        if is_kept and self._faults.once:
            return _reset(writer)
        self.counts.requests += 1
        self.counts.early += not self._is_answering
        self.counts.under_way += 1
        self.counts.at_once = max(self.counts.at_once, self.counts.under_way)
        try:
            return await self._go_through(head, reader, writer)
        finally:
            self.counts.under_way -= 1

    async def _go_through(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        faults = self._faults
        fault = faults.draw(self._random.random())
        if fault == "reset":
            return _reset(writer)
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        if fault == "slow" or faults.delay:
            await asyncio.sleep(0.2 if fault == "slow" else self._random.random() * faults.delay)
        if faults.manner in ("never", "dripping"):
            return await self._stall(reader, writer, is_dripping=faults.manner == "dripping")
        if fault == "refused":
            return await self._answer(writer, 503)
        wanted = _ANSWER.search(body)
        status = int(wanted[1]) if wanted else 200
        if status < 300:
            self._process(body, is_answered=fault != "unanswered")
        if fault == "unanswered":
            return _reset(writer)
        if faults.manner != "whole":
            return await self._go_on(writer, is_dripping=faults.manner == "dripping body")
        return await self._answer(writer, status)

    def _process(self, body: bytes, *, is_answered: bool) -> None:
        ids = _EVENT_ID.findall(body)
        self._seen.update(ids)
        self.counts.processed += len(ids)
        if is_answered:
            self.counts.acknowledged += 1
        else:
            self.counts.unanswered += len(ids)

    async def _answer(self, writer: asyncio.StreamWriter, status: int) -> bool:
        self._is_answering = True
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 2\r\n\r\nok" % status)
        await writer.drain()
        return True

    async def _stall(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_dripping: bool
    ) -> bool:
        """Never come to the end of the answer's headers."""
        if not is_dripping:
            await reader.read()
            return False
        for byte in b"HTTP/1.1 200 OK\r\nX-Padding: ":
            await _drip(writer, bytes([byte]))
        while True:
            await _drip(writer, b"x")

    async def _go_on(self, writer: asyncio.StreamWriter, *, is_dripping: bool) -> bool:
        """Answer, and never come to the end of the body."""
        self._is_answering = True
        writer.write(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n")
        while True:
            if is_dripping:
                await _drip(writer, b"x")
                continue
            writer.write(_CHUNK)
            await writer.drain()
            self.counts.body_bytes += len(_CHUNK)
            await asyncio.sleep(_CHUNK_SECONDS)


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _reset(writer: asyncio.StreamWriter) -> bool:
    connection: socket.socket = writer.get_extra_info("socket")
    # A close that lingers for no time is a reset, also where everything was read.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(_DRIP_SECONDS)


async def _main(seed: int) -> None:
    collector = _Collector(seed)
    orders = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(orders)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    print(collector.port, flush=True)  # noqa: T201 - the answer to whoever started us
    while line := await orders.readline():
        counts = await collector.obey(json.loads(line))
        print(json.dumps(asdict(counts)), flush=True)  # noqa: T201


# --- in the test's process


class CollectorProcess:
    """
    A collector that runs while the context is open, at first without faults.

    Attributes:
        url: Where it is.
    """

    def __init__(self, *, seed: int) -> None:
        command = [sys.executable, "-m", "tests.faults.server", str(seed)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._answers.readline())}"
        self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._orders.close()
        self._answers.close()
        try:
            assert self._process.wait(30) == 0
        finally:
            self._process.kill()

    def _order(self, **order: Any) -> Counts:
        print(json.dumps(order), file=self._orders, flush=True)
        return Counts(**json.loads(self._answers.readline()))

    def counts(self) -> Counts:
        """Return what has come."""
        return self._order()

    def do(self, faults: Faults) -> None:
        """Do *faults* from now on, and nothing else wrong."""
        self._order(faults=asdict(faults))

    def open(self) -> None:
        """Listen."""
        self._order(open=True)

    def close(self) -> None:
        """Refuse connections and reset those that are open."""
        self._order(open=False)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
