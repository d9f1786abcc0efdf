"""Web servers in process groups of their own, and their visitors."""

from __future__ import annotations

import asyncio
import importlib.metadata
import itertools
import os
import re
import signal
import sys
import tempfile
import time
from asyncio.subprocess import STDOUT, Process
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from tests.ports import HOST, held_port
from tests.scale import scale
from tests.waiting import until

ROOT = Path(__file__).parents[3]

# Far longer than any server takes to start or to end: one that takes longer hangs.
GENEROUS_SECONDS = scale(50, 120)

CLOSE_SECONDS = 5

GONE = (ConnectionError, asyncio.IncompleteReadError)

Stop = tuple[signal.Signals, Literal["leader", "group"]]

# Docker and Kubernetes signal the first process, systemd all of them. A terminal interrupts all of them.
STOPS: tuple[Stop, ...] = (
    (signal.SIGTERM, "leader"),
    (signal.SIGTERM, "group"),
    (signal.SIGINT, "group"),
)


@dataclass(frozen=True)
class Server:
    """
    A server and what it serves.

    Attributes:
        command: The arguments of Python; ``{port}`` stands for the port.

        paths: Paths at which the application tracks, each in another way.

        processes: The number of processes with a tracker.

        stops: The ways to stop it in order.
    """

    command: str
    paths: tuple[str, ...] = ("/awaited", "/threaded", "/afterwards")
    processes: int = 1
    stops: tuple[Stop, ...] = STOPS


def _served(application: str) -> str:
    return f"tests.faults.servers.served.{application}"


# The control socket would be in the home directory. Before 25.1 there was none, and no such option.
_HAS_CONTROL_SOCKET = tuple(map(int, importlib.metadata.version("gunicorn").split(".")[:2])) >= (25, 1)
GUNICORN = "-m gunicorn --no-control-socket" if _HAS_CONTROL_SOCKET else "-m gunicorn"

_GUNICORN = f"{GUNICORN} -k uvicorn_worker.UvicornWorker -w 2 -b 127.0.0.1:{{port}}"

# A shell that runs the tests in the background makes them and their children ignore interrupts.
_HEARING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""

PRELOADED = Server(f"{_GUNICORN} --preload {_served('preloaded_app:app')}", processes=2)

RENEWED = Server(f"{_GUNICORN} --max-requests {scale(35, 20)} {_served('starlette_app:app')}")

SERVERS = {
    "uvicorn": Server(f"-m uvicorn --port {{port}} {_served('fastapi_app:app')}"),
    "uvicorn-two-workers": Server(
        f"-m uvicorn --port {{port}} --workers 2 {_served('starlette_app:app')}", processes=2
    ),
    "gunicorn": Server(f"{_GUNICORN} {_served('starlette_app:app')}", processes=2),
    "gunicorn-preload": Server(f"{_GUNICORN} --preload {_served('starlette_app:app')}", processes=2),
    # On SIGTERM it kills the process that it has started.
    "hypercorn": Server(
        f"-m hypercorn -b 127.0.0.1:{{port}} {_served('starlette_app:app')}", stops=(STOPS[0], STOPS[2])
    ),
    # Serves in its only process and starts none.
    "hypercorn-bare": Server(
        f"-m hypercorn -w 0 -b 127.0.0.1:{{port}} {_served('bare_app:app')}", ("/awaited", "/threaded")
    ),
    "aiohttp": Server(f"-m {_served('aiohttp_app')} {{port}}", ("/awaited", "/threaded")),
}


@dataclass(frozen=True)
class Ended:
    """How a server ended: its exit code, its output, and the seconds from the signal to the end."""

    code: int
    said: str
    seconds: float

    @property
    def losses(self) -> list[int]:
        """The numbers of lost events, one for each message about them."""
        return [int(number) for number in re.findall(r"(\d+) events? undelivered", self.said)]


@dataclass
class Running:
    """A server that runs."""

    process: Process
    port: int
    log: IO[bytes]
    _told_at: float = field(default=0.0)

    async def ready(self) -> None:
        """Wait until the application answers."""
        async with asyncio.timeout(GENEROUS_SECONDS):
            while True:
                assert self.process.returncode is None, self.said()
                with suppress(*GONE):
                    reader, writer = await asyncio.open_connection(HOST, self.port)
                    try:
                        await ask(reader, writer, "/nowhere")
                        return
                    finally:
                        writer.close()
                await asyncio.sleep(0.02)

    def tell(self, number: signal.Signals, whom: Literal["leader", "group"] = "leader") -> None:
        """Send a signal to the first process, or to all processes of the server."""
        self._told_at = time.monotonic()
        (os.kill if whom == "leader" else os.killpg)(self.process.pid, number)

    async def ended(self) -> Ended:
        """Wait until the server has ended, and check that no process of it is left."""
        async with asyncio.timeout(GENEROUS_SECONDS):
            code = await self.process.wait()
            seconds = time.monotonic() - self._told_at
        await until(lambda: not _is_there(self.process.pid))
        return Ended(code, self.said(), seconds)

    def said(self) -> str:
        """Return the output of the server."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def serving(
    server: Server, collector: str | None, *, close_seconds: float = CLOSE_SECONDS, batch_size: int = 50
) -> AsyncGenerator[Running, None]:
    """Run *server*. Its application tracks to *collector*; if that is None, it does not track."""
    environment = os.environ | {
        "SHOP_CLOSE_SECONDS": str(close_seconds),
        "SHOP_BATCH_SIZE": str(batch_size),
        **({} if collector is None else {"SHOP_COLLECTOR": collector}),
    }
    with held_port() as port, tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *_command(server, port),
            stdout=log,
            stderr=STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        try:
            yield Running(process, port, log)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _command(server: Server, port: int) -> list[str]:
    command = [sys.executable, "-W", "always::ResourceWarning", *server.command.format(port=port).split()]
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        command = [sys.executable, "-c", _HEARING, *command]
    return command


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> str | None:
    """Request *path*; return the text of the answer, or None if its status is not 200."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"\r\ncontent-length: *(\d+)", head)
    assert length is not None
    text = (await reader.readexactly(int(length[1]))).decode()
    return text if head.startswith(b"http/1.1 200 ") else None


@dataclass
class Visitors:
    """
    Clients that send requests all the time, each over its own connection.

    Attributes:
        answered: The event ids in all answers of 200.
    """

    port: int
    paths: Sequence[str]
    answered: list[str] = field(default_factory=list)
    _is_leaving: bool = field(default=False)

    def leave(self) -> None:
        """Make each client stop and close its connection."""
        self._is_leaving = True

    async def come(self, *, count: int, rate: float, turns: int | None = None) -> None:
        """
        Let *count* clients send *rate* requests a second together.

        Each sends *turns* requests, or goes on for as long as the server runs.
        """
        start = asyncio.get_running_loop().time()
        async with asyncio.timeout(GENEROUS_SECONDS), asyncio.TaskGroup() as group:
            for number in range(count):
                each = itertools.count() if turns is None else range(turns)
                due = (start + (number + turn * count) / rate for turn in each)
                group.create_task(self._visit(self.paths[number % len(self.paths)], due))

    async def _visit(self, path: str, due: Iterator[float]) -> None:
        """Send a request whenever one is *due*, over a new connection if the last one has ended."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                reader, writer = await asyncio.open_connection(HOST, self.port)
            except ConnectionRefusedError:
                return
            except ConnectionError:
                # The server has reset a connection that it had not accepted yet.
                continue
            try:
                for moment in due:
                    await asyncio.sleep(max(0.0, moment - loop.time()))
                    if self._is_leaving:
                        return
                    text = await ask(reader, writer, path)
                    if text is not None:
                        self.answered.append(text)
            except GONE:
                continue
            else:
                return
            finally:
                writer.close()
                with suppress(*GONE):
                    await writer.wait_closed()
