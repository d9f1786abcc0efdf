"""A program that PyInstaller has made of a script tracks, compiled modules or not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.celery.worker import environment
from tests.faults.server import CollectorProcess
from tests.neighbours.freezers import FREEZERS
from tests.neighbours.neighbour import answers, each

pytestmark = [
    # The first build reads the bytecode of everything that is imported, which keeps a core for minutes.
    pytest.mark.timeout(3000),
    pytest.mark.parametrize("name", each(FREEZERS)),
]

_PROGRAM = """
import asyncio
import sys

from snowplow_aio import ApplicationError, HttpEmitter, MemoryEmitter, PageView, StructuredEvent, Tracker
from snowplow_aio.micro import Micro


async def main():
    async with Tracker(HttpEmitter(sys.argv[1]), namespace="t", app_id="frozen") as tracker:
        await tracker.track(PageView(page_url="https://example.com/"))
        await tracker.track(StructuredEvent(category="a", action="b", value=1.5))
        delivered = (await tracker.flush(20)).delivered
    # The collector finds the models of the library by walking their folders.
    async with Micro() as micro, Tracker(HttpEmitter(micro.url), app_id="frozen") as tracker:
        await tracker.track_link_click("https://example.com/")
        await tracker.track_add_to_cart("sku", 1)
        await tracker.flush(20)
        print(delivered, micro.counts(), micro.bad)


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "shop.py").write_text(_PROGRAM)
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", "shop.py"]
    built = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert built.returncode == 0, built.stderr
    return folder / "dist" / "shop" / "shop"


@answers("arrives", "closes")
def test_a_frozen_program_tracks(program: Path, tmp_path: Path, name: str) -> None:
    with CollectorProcess(seed=1) as collector:
        run = subprocess.run(
            [str(program), collector.url],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(),
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout == "2 {'total': 2, 'good': 2, 'bad': 0} []\n"
        assert collector.counts().distinct == 2
    assert run.stderr == ""
