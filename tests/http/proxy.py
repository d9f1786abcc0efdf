"""A proxy of HTTP: it forwards requests and opens tunnels, or answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LONGEST_HEAD = 2**20


@dataclass
class Proxy:
    """
    A running proxy.

    Attributes:
        url: Where it is.

        answer: What it answers to each request; None has it do its work.

        heads: The heads of the requests that have come.
    """

    url: str
    answer: bytes | None = None
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the one request or tunnel of a connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.answer is not None:
            writer.write(self.answer)
            await writer.drain()
            return
        method, target, _ = head.split(" ", 2)
        url = urlsplit(target if method != "CONNECT" else f"//{target}")
        # Names are the test's own: everything is here.
        there, back = await asyncio.open_connection("127.0.0.1", url.port)
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                back.write(head.replace(f"{url.scheme}://{url.netloc}", "", 1).encode())
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def running_proxy(answer: bytes | None = None) -> AsyncGenerator[Proxy, None]:
    """Run a proxy on a free port of 127.0.0.1."""
    proxy = Proxy("", answer)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, EOFError):
                await proxy.serve(reader, writer)
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=LONGEST_HEAD)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
