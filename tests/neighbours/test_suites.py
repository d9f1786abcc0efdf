"""Suites of users: whatever runs their coroutines, what they track arrives, and no test is disturbed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.collector import Collector
from tests.neighbours.neighbour import answers, each
from tests.neighbours.suites import EVENTS, SUITES

pytestmark = pytest.mark.anyio

in_each = pytest.mark.parametrize("name", each(SUITES))


async def run(name: str, folder: Path, collector: str) -> subprocess.CompletedProcess[str]:
    """Run the suite of the neighbour *name*, with every warning an error."""
    for file, text in SUITES[name].files.items():
        (folder / file).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", SUITES[name].plugin]
    # What else is installed stays out.
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLLECTOR": collector}
    return await asyncio.to_thread(
        subprocess.run, command, cwd=folder, capture_output=True, text=True, check=False, env=env
    )


@answers("arrives", "closes", "own")
@in_each
async def test_a_suite_passes_and_what_it_tracks_arrives(
    collector: Collector, tmp_path: Path, name: str
) -> None:
    ended = await run(name, tmp_path, collector.url)
    assert "5 passed" in ended.stdout.splitlines()[-1], ended.stdout + ended.stderr
    assert (len(collector.accepted), collector.accepted.total()) == (EVENTS, EVENTS)
