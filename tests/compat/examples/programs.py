"""The examples, run as their page says: with its commands, on free ports."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "examples" / "README.md"

# A busy machine needs several seconds for a server, or to end one.
_PATIENCE_SECONDS = 40.0

# The programs that the commands name, by the interpreter that runs the tests.
_MODULES = {
    "python": [],
    "snowplow-aio": ["-m", "snowplow_aio.cli.main"],
    "uvicorn": ["-m", "uvicorn"],
    "arq": ["-m", "arq"],
    "celery": ["-m", "celery"],
    "taskiq": ["-m", "taskiq"],
}


def commands(title: str) -> list[str]:
    """Return the commands of the section *title* of the page, without those that install."""
    _, _, after = PAGE.read_text("utf-8").partition(f"# {title}\n")
    section = re.split(r"^##? ", after, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^\$ (?!pip )(.+)$", section, re.MULTILINE)
    assert found, f"the page has no commands for {title!r}"
    return found


@dataclass
class Program:
    """A command that runs, and what it has said so far."""

    process: Process
    lines: list[str] = field(default_factory=list)

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches *pattern*."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while line := await self.process.stdout.readline():
                self.lines.append(line.decode().rstrip())
                if match := re.search(pattern, self.lines[-1]):
                    return match
        raise AssertionError("\n".join([f"it ended, and never said {pattern!r}", *self.lines]))

    def gets(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(signum)

    async def ends(self, signum: signal.Signals | None = None) -> int:
        """Wait for its end, after *signum*; return the exit code."""
        if signum is not None:
            self.gets(signum)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            said, _ = await self.process.communicate()
        self.lines += said.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


@asynccontextmanager
async def running(command: str, *more: str, **variables: str) -> AsyncGenerator[Program]:
    """Run *command* with *more* arguments and these environment *variables*."""
    name, *arguments = shlex.split(command)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *_MODULES[name], *arguments, *more,
        stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT, cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "always::ResourceWarning"} | variables,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            # The session is its own: nothing else is in the group.
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


@dataclass(frozen=True)
class Collector:
    """The embedded collector, as its command runs it."""

    url: str

    async def asks(self, path: str) -> Any:
        """Return what it answers at *path*."""
        async with aiohttp.ClientSession(self.url) as client, client.get(path) as answer:
            return await answer.json(content_type=None)

    async def good(self) -> list[dict[str, Any]]:
        """Return the events that arrived, in their order; none may be bad."""
        bad = await self.asks("/micro/bad")
        assert bad == [], json.dumps(bad, indent=2)
        records = await self.asks("/micro/good")
        return [record["event"] for record in reversed(records)]


@asynccontextmanager
async def collecting() -> AsyncGenerator[Collector]:
    """Run the collector as the page says, on a port of the system's choice."""
    (command,) = [line for line in commands("Examples") if line.startswith("snowplow-aio")]
    async with running(command, "--port", "0") as program:
        yield Collector((await program.says(r"^Listening on (http\S+)$"))[1])


def requested(command: str) -> tuple[str, str, dict[str, Any]]:
    """Return the method, the URL and the rest of what a ``curl`` of the page asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data")
    parser.add_argument("url")
    asked = parser.parse_args(shlex.split(command)[1:])
    method = asked.method or ("GET" if asked.data is None else "POST")
    # What curl says of data by itself.
    headers = {} if asked.data is None else {"Content-Type": "application/x-www-form-urlencoded"}
    headers |= dict(header.split(": ", 1) for header in asked.headers)
    return method, asked.url, {"data": asked.data, "headers": headers}
