"""Whoever presses Ctrl+C again and again ends a command at once and without a word."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from tests.compat.commands.test_micro import running

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send"),
]

COMMANDS = {
    "micro": ("micro", "--port", "0"),
    "demo": ("demo",),
    "worker": (
        "worker", "--collector", "http://127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1",
        "--health-port", "0", "--log-level", "CRITICAL",
    ),
}  # fmt: skip

# A command that takes long to end, at one of two places, and says when it is there.
SLOW = """
import asyncio, atexit, sys, time
from snowplow_aio.cli.main import main
def wait(*_):
    print("ending", flush=True)
    time.sleep(60)
{place}
sys.exit(main())
"""
CLOSE, LAST = "asyncio.Runner.close = wait", "atexit.register(wait)"


@pytest.mark.parametrize(
    ("command", "place"),
    [("micro", CLOSE), ("micro", LAST), ("demo", CLOSE), ("worker", LAST)],
    ids=["micro, its loop", "micro, its interpreter", "demo, its loop", "worker, its interpreter"],
)
async def test_an_interrupt_while_it_ends_is_silent(command: str, place: str) -> None:
    async with running(*COMMANDS[command], program=SLOW.format(place=place)) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            while (line := await process.stdout.readline()) != b"ending\n":
                assert line, (await process.communicate())[1].decode()
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
            output, errors = await process.communicate()
    assert (process.returncode, output, errors) == (130, b"", b"")
