"""The commands and the library where there are no signals for loops, and no forks."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.compat.commands.test_micro import ended, line_of, running, track, url_of
from tests.faults.celery.worker import environment
from tests.micro.wire import envelope, page_view

# What the modules of Windows and its loops do not have.
_LIKE_WINDOWS = """
import asyncio, mmap, os, signal, sys

def refuse(*args, **options):
    raise NotImplementedError

for name in ("add_signal_handler", "remove_signal_handler", "add_reader", "add_writer",
             "create_unix_connection", "create_unix_server"):
    for loop in (asyncio.SelectorEventLoop, asyncio.AbstractEventLoop):
        setattr(loop, name, refuse)
missing = {
    os: ("fork", "register_at_fork", "kill", "killpg", "geteuid", "getuid", "fchmod", "mkfifo"),
    mmap: ("MAP_PRIVATE", "MAP_ANONYMOUS", "MAP_ANON", "MAP_SHARED"),
    signal: ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGQUIT", "pthread_sigmask", "setitimer"),
}
for module, names in missing.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
# The standard library of this system has loaded them long ago; nobody else may.
for name in ("fcntl", "resource", "pwd", "grp", "termios", "pty", "uvloop"):
    sys.modules[name] = None
"""

_TRACKS = f"""
{_LIKE_WINDOWS}
import tempfile
from pathlib import Path
from snowplow_aio import FileEmitter, HttpEmitter, MemoryEmitter, PageView, RedisEmitter, Tracker
from snowplow_aio.micro import Micro

async def main(folder):
    file = Path(folder, "events.jsonl")
    async with Micro() as micro:
        emitters = [HttpEmitter(micro.url), FileEmitter(file), MemoryEmitter(), RedisEmitter(drain_timeout=0)]
        async with Tracker(emitters[:3], app_id="a") as tracker:
            for _ in range(100):
                await tracker.track(PageView(page_url="https://example.com/"))
            await asyncio.to_thread(tracker.track_nowait, PageView(page_url="https://example.com/"))
            await tracker.flush(20)
        await emitters[3].aclose()
        print(micro.counts()["good"], len(file.read_bytes().splitlines()))

with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))
"""

_COMMAND = f"""
{_LIKE_WINDOWS}
from snowplow_aio.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_library_asks_for_nothing_that_windows_lacks() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", _TRACKS],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "101 101\n", "")


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_collector_ends_as_it_is_asked_to(number: int) -> None:
    async with running("micro", "--port", "0", "--quiet", program=_COMMAND) as process:
        await track(await url_of(process), envelope(page_view()))
        process.send_signal(number)
        assert await ended(process) == (0, "Stopped: 1 good, 0 bad events\n", "")


@pytest.mark.anyio
async def test_the_worker_ends_as_it_is_asked_to() -> None:
    destination = ("--collector", "http://127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1/0")
    options = ("--health-port", "0", "--drain-timeout", "0")
    async with running("worker", *destination, *options, program=_COMMAND) as process:
        assert (await line_of(process)).startswith("Health: http://")
        process.send_signal(signal.SIGTERM)
        code, _, errors = await ended(process)
    assert code == 0, errors
    assert "Traceback" not in errors
