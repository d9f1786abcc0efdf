"""What is forgotten or broken is said once, however often it happens, and leaves nothing open."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from snowplow_aio import PageView, Retry, Tracker
from snowplow_aio.abc import Response, Transport
from snowplow_aio.delivery.emitter import BufferedEmitter
from snowplow_aio.model.payload import Payload
from snowplow_aio.policies import Batching
from tests.waiting import until

PROGRAM = """
import asyncio, gc, json, os, sys
from snowplow_aio import HttpEmitter, PageView, Tracker
from tests.collector import running_collector

async def main():
    async with running_collector() as collector:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            tracker = Tracker(HttpEmitter(collector.url))
            await tracker.track(PageView(page_url="https://shop.example/"))
            await tracker.flush()
        tracker = None
        gc.collect()
        # The other side notices.
        while len(os.listdir("/proc/self/fd")) > before + 1:
            await asyncio.sleep(0.01)

if sys.argv[1] == "run":
    asyncio.run(main())
else:
    asyncio.new_event_loop().run_until_complete(main())
    gc.collect()
print("ended")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
@pytest.mark.parametrize("how", ["run", "never closed"])
def test_forgotten_trackers_leave_no_connection_open_and_nothing_to_read(how: str) -> None:
    command = [sys.executable, "-W", "default", "-c", PROGRAM, how]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "ended\n"
    assert "aiohttp" not in run.stderr
    assert "Unclosed" not in run.stderr
    assert len(run.stderr.splitlines()) < 10


class Broken(Transport):
    """Raises what no transport should."""

    async def send(self, payloads: Sequence[Payload]) -> Response:
        raise ZeroDivisionError("Authorization: Bearer secret")


@pytest.mark.anyio
async def test_a_transport_that_fails_is_said_once_a_minute_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    retry = Retry(initial_delay=0.001, max_delay=0.002)
    emitter = BufferedEmitter(Broken(), batching=Batching(), retry=retry, name="broken", drain_timeout=0)
    async with Tracker(emitter) as tracker:
        await tracker.track(PageView(page_url="https://shop.example/"))
        await tracker.flush(wait=False)
        await until(lambda: emitter.stats().requests > 20)
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage().partition(" in send ")[0] for record in lines] == [
        "broken: the transport failed with ZeroDivisionError"
    ]
    assert __file__ in lines[0].getMessage()
    assert "secret" not in caplog.text
