"""A collector that does wrong on demand: a real server on a socket, scripted request by request."""

from __future__ import annotations

import asyncio
import json
import ssl as ssl_module
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Answer:
    """What happens to one request; *body* None ends the connection after the headers were sent."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = b"ok"
    # Nothing is answered; the connection is reset, before or after the events were counted.
    reset: bool = False
    is_processed: bool = True
    # Nothing is answered until the server is closed.
    hangs: bool = False
    # The connection is closed after the answer, without saying so.
    closes: bool = False


OK = Answer()


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    # Which request of its connection it is, from 1.
    number: int

    @property
    def events(self) -> list[dict[str, str]]:
        if self.method == "GET":
            return [dict(parse_qsl(urlsplit(self.target).query))]
        events: list[dict[str, str]] = json.loads(self.body)["data"]
        return events


Rule = Callable[[Request], Answer]


class Collector:
    """Answers from a script first, then by a rule; remembers what it processed."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.accepted: Counter[str] = Counter()
        self.connections = 0
        self.script: deque[Answer] = deque()
        self.rule: Rule = lambda _request: OK
        self._arrived = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()

    def answer_next(self, *answers: Answer | int) -> None:
        self.script.extend(Answer(answer) if isinstance(answer, int) else answer for answer in answers)

    async def requested(self, count: int) -> None:
        """Wait until *count* requests have come."""
        # A process that is to send them may have to start first.
        async with asyncio.timeout(40), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        number = 0
        try:
            while (request := await _read(reader, number := number + 1)) is not None:
                if not await self._respond(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        answer = self.script.popleft() if self.script else self.rule(request)
        if 200 <= answer.status < 300 and answer.is_processed and not answer.hangs:
            self.accepted.update(event["eid"] for event in request.events)
        async with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        if answer.hangs:
            await asyncio.Event().wait()
        if answer.reset:
            writer.transport.abort()
            return False
        length = {} if answer.body is None else {"Content-Length": str(len(answer.body))}
        lines = [
            f"HTTP/1.1 {answer.status} x",
            *(f"{k}: {v}" for k, v in (length | dict(answer.headers)).items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (answer.body or b""))
        await writer.drain()
        return answer.body is not None and not answer.closes

    def disconnect(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader, number: int) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode().strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body, number)


@asynccontextmanager
async def running_collector(
    *, port: int = 0, ssl: ssl_module.SSLContext | None = None
) -> AsyncGenerator[Collector, None]:
    """Run a scripted collector on a free port of 127.0.0.1, or on *port*; with TLS if *ssl* is given."""
    collector = Collector()
    tasks: set[asyncio.Task[Any]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(collector.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", port, ssl=ssl)
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
