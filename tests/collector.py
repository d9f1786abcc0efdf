"""
The one collector of the tests that does wrong on demand: a real server, told what to do request by request.

It runs in the test's own loop (`running_collector`), in a thread (`collector_in_a_thread`), in a process
of its own (tests/faults/server.py) and over the simulated network (tests/faults/simulation/world.py).
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl as ssl_module
import struct
import threading
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

_EVENT_ID = re.compile(rb'"eid": ?"([^"]+)"')

# A GET is longer than what a stream reads at once by default.
_LONGEST_HEAD = 2**20

# The pieces of a body that never ends, and the seconds between two of them.
_CHUNK = b"x" * 8192
_CHUNK_SECONDS = 0.02


@dataclass(frozen=True)
class Answer:
    """
    What happens to one request.

    Attributes:
        status: The status; events of a request that gets a 2xx are accepted.

        headers: Headers besides ``Content-Length``.

        body: The body. None closes the connection after the headers.

        delay: Seconds before the answer.

        drip: Seconds between the bytes of the answer; 0 sends it whole.

        endless: The part of the answer that never ends, if one does not.

        reset: Whether the connection is reset instead of an answer.

        is_processed: Whether the events count as accepted all the same.

        hangs: Whether nothing is answered until the client goes.

        closes: Whether the connection is closed after the answer, without saying so.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = b"ok"
    delay: float = 0.0
    drip: float = 0.0
    endless: Literal["headers", "body"] | None = None
    reset: bool = False
    is_processed: bool = True
    hangs: bool = False
    closes: bool = False

    @property
    def is_acceptance(self) -> bool:
        """Whether the events of the request are taken."""
        return 200 <= self.status < 300 and self.is_processed and not self.hangs


OK = Answer()


@dataclass(frozen=True)
class Request:
    """
    One request as it came.

    Attributes:
        number: Which request of its connection it is, from 1.

        at: When its head had come, in seconds of the loop's clock.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    number: int
    at: float

    @property
    def events(self) -> list[dict[str, str]]:
        if self.method == "GET":
            return [dict(parse_qsl(urlsplit(self.target).query))]
        events: list[dict[str, str]] = json.loads(self.body)["data"]
        return events

    @property
    def event_ids(self) -> list[str]:
        """The ids of the events; of a POST without reading all of its JSON."""
        if self.method == "GET":
            return [event["eid"] for event in self.events if "eid" in event]
        return [event_id.decode() for event_id in _EVENT_ID.findall(self.body)]


Rule = Callable[[Request], Answer]

# By the number of the request on its connection, before its body is read; None leaves it to script and rule.
Fate = Callable[[int], Answer | None]


class Collector:
    """
    Answers by *fate* as soon as a request begins, else from a script, else by a rule.

    Attributes:
        url: Where it is.

        requests: The requests that were read, in their order.

        accepted: How often each event was taken, by its id.

        unanswered: Events that were taken without telling the sender.

        acknowledged: Requests that were answered with a 2xx.

        connections: How many connections there were; `open_connections` is how many there are.

        under_way: Requests that are being answered; `at_once` is how many there were at most.

        endless_bytes: Bytes of bodies that never end.

        idle: Seconds after which an idle connection is closed, or None.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.accepted: Counter[str] = Counter()
        self.unanswered = 0
        self.acknowledged = 0
        self.connections = 0
        self.under_way = 0
        self.at_once = 0
        self.endless_bytes = 0
        self.idle: float | None = None
        self.script: deque[Answer] = deque()
        self.rule: Rule = lambda _request: OK
        self.fate: Fate = lambda _number: None
        self._arrived = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    @property
    def duplicates(self) -> int:
        """How many events were taken more than once, each further time counted."""
        return self.accepted.total() - len(self.accepted)

    def answer_next(self, *answers: Answer | int) -> None:
        self.script.extend(Answer(answer) if isinstance(answer, int) else answer for answer in answers)

    async def requested(self, count: int) -> None:
        """Wait until *count* requests have come."""
        # A process that is to send them may have to start first.
        async with asyncio.timeout(40), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    def disconnect(self) -> None:
        """Reset all connections."""
        for writer in list(self._writers):
            reset(writer)

    # --- one connection

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        self.connections += 1
        self._writers.add(writer)
        number = 0
        try:
            while await self._respond(reader, writer, number := number + 1):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        """Read and answer one request; return whether the connection can take another one."""
        # A connection is idle only after its first request.
        async with asyncio.timeout(self.idle if number > 1 else None):
            head = await reader.readuntil(b"\r\n\r\n")
        self.begin()
        try:
            fate = self.fate(number)
            if fate is not None and fate.reset and not fate.is_processed:
                return reset(writer)
            request = await _read(head, reader, number)
            answer = fate or (self.script.popleft() if self.script else self.rule(request))
            self.take(request, answer)
            async with self._arrived:
                self._arrived.notify_all()
            return await self._answer(answer, reader, writer, len(request.event_ids))
        finally:
            self.under_way -= 1

    def begin(self) -> None:
        """Count a request whose head has come."""
        self.under_way += 1
        self.at_once = max(self.at_once, self.under_way)

    def take(self, request: Request, answer: Answer) -> None:
        """Remember *request*, and its events where *answer* accepts them."""
        self.requests.append(request)
        if answer.is_acceptance:
            self.accepted.update(request.event_ids)

    async def _answer(
        self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int
    ) -> bool:
        """Answer a request of *count* events; return whether the connection can take another one."""
        self.unanswered += count if answer.is_acceptance else 0
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.hangs:
            # Until the client goes, or the collector ends.
            await reader.read()
            return False
        if answer.reset:
            return reset(writer)
        await self.write(answer, writer)
        self.unanswered -= count if answer.is_acceptance else 0
        self.acknowledged += answer.is_acceptance
        if answer.endless == "body":
            await self._go_on(answer, writer)
        return answer.body is not None and not answer.closes

    async def write(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        """Send *answer*, as far as its body ends."""
        headers = dict(answer.headers)
        if answer.endless == "body":
            headers["Connection"] = "close"
        elif answer.body is not None:
            headers = {"Content-Length": str(len(answer.body)), **headers}
        lines = [f"HTTP/1.1 {answer.status} x", *(f"{name}: {value}" for name, value in headers.items())]
        message = "\r\n".join([*lines, "", ""]).encode()
        if answer.endless == "headers":
            message = message.removesuffix(b"\r\n") + b"X-Padding: "
        elif answer.endless is None:
            message += answer.body or b""
        if not answer.drip or answer.endless == "body":
            writer.write(message)
            await writer.drain()
        else:
            await _drip(writer, message, answer.drip)
        while answer.endless == "headers":
            await _drip(writer, b"x", answer.drip)

    async def _go_on(self, answer: Answer, writer: asyncio.StreamWriter) -> None:
        """Never come to the end of the body."""
        while True:
            if answer.drip:
                await _drip(writer, b"x", answer.drip)
                continue
            writer.write(_CHUNK)
            await writer.drain()
            self.endless_bytes += len(_CHUNK)
            await asyncio.sleep(_CHUNK_SECONDS)


async def _read(head: bytes, reader: asyncio.StreamReader, number: int) -> Request:
    at = asyncio.get_running_loop().time()
    first, *lines = head.decode().strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body, number, at)


async def _drip(writer: asyncio.StreamWriter, data: bytes, seconds: float) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(seconds)


def reset(writer: asyncio.StreamWriter) -> bool:
    """Reset the connection of *writer*; it can take no further request."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        # A close that lingers for no time is a reset, also where everything was read.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


@asynccontextmanager
async def running_collector(
    *, port: int = 0, ssl: ssl_module.SSLContext | None = None
) -> AsyncGenerator[Collector, None]:
    """Run a collector on a free port of 127.0.0.1, or on *port*; with TLS if *ssl* is given."""
    collector = Collector()
    tasks: set[asyncio.Task[Any]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(collector.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=ssl, limit=_LONGEST_HEAD)
    scheme = "http" if ssl is None else "https"
    collector.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield collector
    finally:
        server.close()
        collector.disconnect()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def collector_in_a_thread(*, ssl: ssl_module.SSLContext | None = None) -> Generator[Collector]:
    """Run a collector in a thread of its own, for a program without a loop."""
    ready: deque[Collector] = deque()
    is_ready, ends = threading.Event(), asyncio.Event()
    loops: deque[asyncio.AbstractEventLoop] = deque()

    async def collect() -> None:
        async with running_collector(ssl=ssl) as collector:
            ready.append(collector)
            loops.append(asyncio.get_running_loop())
            is_ready.set()
            await ends.wait()

    thread = threading.Thread(target=asyncio.run, args=(collect(),))
    thread.start()
    is_ready.wait(40)
    try:
        yield ready[0]
    finally:
        loops[0].call_soon_threadsafe(ends.set)
        thread.join()
