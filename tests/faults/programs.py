"""Programs of the application, each in a process of its own that never outlives its test."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.scale import scale

ROOT = Path(__file__).parents[2]

# Far longer than any program takes: what reaches it hangs.
GENEROUS_SECONDS = scale(50, 170)


@dataclass(frozen=True)
class Ended:
    """How a program ended, what it printed, and what it said on standard error."""

    code: int
    printed: list[str]
    said: str


@asynccontextmanager
async def started(
    program: str, *arguments: str, warnings: str = "default", stdin: int | None = None
) -> AsyncGenerator[Process, None]:
    """Start *program* with *arguments*; *warnings* is Python's own option."""
    command = [sys.executable, "-W", warnings, "-c", program, *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=PIPE, stderr=PIPE, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def line_from(process: Process) -> str:
    """Return the next line that *process* prints."""
    assert process.stdout is not None
    async with asyncio.timeout(GENEROUS_SECONDS):
        return (await process.stdout.readline()).decode().strip()


async def end_of(process: Process) -> Ended:
    """Wait until *process* ends."""
    async with asyncio.timeout(GENEROUS_SECONDS):
        printed, said = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, printed.decode().splitlines(), said.decode())


async def output_of(program: str, *arguments: str) -> list[str]:
    """Run *program* with every warning an error, none of which may come; return what it prints."""
    async with started(program, *arguments, warnings="error") as process:
        ended = await end_of(process)
    assert (ended.code, ended.said) == (0, "")
    return ended.printed


def patient(program: str) -> str:
    """
    Return *program* with all the time for what it sends when its loop ends.

    Where all is to be delivered, once: a busy machine may need longer than a second.
    """
    emitter = r"HttpEmitter\((url|sys\.argv\[1\])"
    assert re.search(emitter, program)
    program = re.sub(emitter, r"\g<0>, drain_timeout=30", program)
    return f"from snowplow_aio import HttpEmitter\nHttpEmitter.last_drain_seconds = 20\n{program}"


def loops() -> list[str]:
    """Return the kinds of loops that there are."""
    # Python 3.14 deprecates how the programs choose theirs.
    is_there = importlib.util.find_spec("uvloop") is not None and sys.version_info < (3, 14)
    return ["asyncio", "uvloop"] if is_there else ["asyncio"]
