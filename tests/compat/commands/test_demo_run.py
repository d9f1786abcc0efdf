"""`snowplow-aio demo`, run as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

pytestmark = pytest.mark.anyio

MODULE = ("-W", "error", "-m", "snowplow_aio.cli.main", "demo")

ROW = re.compile(r"[0-9a-f]{8}  (\w+) +(\w+) +(\S+) +(\S.*?) {2,}valid +valid *")

KINDS = {
    "page_view", "site_search", "submit_form", "add_to_cart", "struct", "review", "transaction",
    "transaction_item",
}  # fmt: skip

SUMMARY = re.compile(
    r"(\d+) events tracked, (\d+) arrived by POST, (\d+) arrived by GET, (\d+) valid, \d+\.\d seconds"
)

# Writes every address that the process connects to and every name that it looks up into a file.
WATCHED = """
import os, sys
contacts = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
def watch(event, arguments):
    if event == "socket.connect":
        os.write(contacts, f"to {arguments[1][0]}\\n".encode())
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        os.write(contacts, f"to {arguments[0]}\\n".encode())
sys.addaudithook(watch)
from snowplow_aio.cli.main import main
sys.exit(main(["demo"]))
"""

# Visitors that stay until they are interrupted.
SLOW = """
import sys
from snowplow_aio.cli.main import main
from snowplow_aio.demo import visitors
visitors.PAUSE = 60
sys.exit(main(["demo"]))
"""


@asynccontextmanager
async def python(*arguments: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@dataclass(frozen=True)
class Run:
    """
    A whole run without a terminal.

    Attributes:
        contacts: Each address that it connected to and each name that it looked up, a line each.
    """

    status: int
    output: str
    errors: str
    contacts: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run for all tests that only look at it."""
    contacts = tmp_path_factory.mktemp("demo") / "contacts"
    command = [sys.executable, "-W", "error", "-c", WATCHED, str(contacts)]
    # Read as bytes: text would be without its carriage returns.
    ended = subprocess.run(command, capture_output=True, check=False)
    return Run(ended.returncode, ended.stdout.decode(), ended.stderr.decode(), contacts.read_text())


def test_it_shows_every_kind_of_event_valid_by_both_methods(run: Run) -> None:
    assert (run.status, run.errors) == (0, "")
    rows = [match for line in run.output.splitlines() if (match := ROW.fullmatch(line))]
    assert {row[1] for row in rows} == KINDS
    assert {row[2] for row in rows} == {"guest", "ada", "chen", "dora"}
    summary = SUMMARY.fullmatch(run.output.splitlines()[-1])
    assert summary is not None, run.output
    assert {int(number) for number in summary.groups()} == {len(rows)}


def test_without_a_terminal_it_prints_plain_lines_of_at_most_100_columns(run: Run) -> None:
    assert "\x1b" not in run.output
    assert "\r" not in run.output.replace(os.linesep, "\n")
    assert max(map(len, run.output.splitlines())) <= 100


def test_it_talks_to_this_machine_only(run: Run) -> None:
    assert run.status == 0
    assert set(run.contacts.splitlines()) == {"to 127.0.0.1"}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
async def test_an_interrupt_ends_it_with_130_and_without_a_traceback() -> None:
    async with python("-W", "error", "-c", SLOW) as process:
        assert process.stdout is not None
        first, second = await process.stdout.readline(), await process.stdout.readline()
        assert first.startswith(b"collector on")
        assert second.startswith(b"shop on")
        process.send_signal(signal.SIGINT)
        output, errors = await process.communicate()
    assert (process.returncode, output.strip(), errors) == (130, b"", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
def test_a_reader_that_goes_away_harms_nothing() -> None:
    command = [sys.executable, *MODULE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
async def test_on_a_terminal_it_shows_how_far_it_is() -> None:
    ours, theirs = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *MODULE, stdout=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        )
        os.close(theirs)
        output = await asyncio.to_thread(read_all, ours)
        status = await process.wait()
    finally:
        os.close(ours)
    assert status == 0
    assert "requests to shop" in output
    assert "\x1b[32mvalid" in output


def read_all(terminal: int) -> str:
    """Return everything that is written to *terminal*."""
    chunks: list[bytes] = []
    try:
        while chunk := os.read(terminal, 4096):
            chunks.append(chunk)
    except OSError:
        # Linux's way to say that nobody will write to it any more.
        pass
    return b"".join(chunks).decode()
