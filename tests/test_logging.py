"""The library is silent until the application configures logging, unless events are lost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import snowplow_aio

PROGRAM = """
import asyncio, logging, sys
from snowplow_aio import HttpEmitter, PageView, Tracker

if sys.argv[1] == "configured":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")

def broken(outcome):
    raise ZeroDivisionError

class Broken:
    def input(self, payload):
        raise ZeroDivisionError

async def main():
    tracker = Tracker([HttpEmitter("http://127.0.0.1:9", hooks=[broken]), Broken()])
    await tracker.track(PageView(page_url="https://shop.example/secret"))
    await tracker.flush(wait=False)
    while not tracker.stats()["http"].retries:
        await asyncio.sleep(0.01)
    await tracker.aclose(0)
    await tracker.track(PageView(page_url="https://shop.example/secret"))

asyncio.run(main())
"""


def output_of(how: str) -> str:
    run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    assert run.stdout == ""
    return run.stderr


def test_unless_the_application_configures_logging_nothing_is_printed_but_losses() -> None:
    printed = output_of("silent")
    warnings = re.findall(r"RuntimeWarning: (.*)", printed)
    assert [warning.partition(" (")[0] for warning in warnings] == [
        "Broken: events are dropped",
        "http: closed with 1 event undelivered",
        "Broken: events are dropped",
        "http: 1 more event was lost",
    ]
    assert "secret" not in printed
    assert "ZeroDivisionError" not in printed


def test_once_it_is_configured_every_loss_is_said_with_its_level_and_no_payload() -> None:
    lines = output_of("configured")
    assert "WARNING snowplow_aio.delivery http: 1 event not delivered (ClientConnectorError: " in lines
    assert "WARNING snowplow_aio.delivery http: closed with 1 event undelivered" in lines
    assert "WARNING snowplow_aio.delivery http: events are dropped (closed)" in lines
    assert "ERROR snowplow_aio.delivery a hook raised" in lines
    assert "ERROR snowplow_aio.tracking Broken: input failed: ZeroDivisionError" in lines
    assert "secret" not in lines


def test_loggers_have_stable_names_and_the_documentation_has_them_all() -> None:
    package = Path(snowplow_aio.__file__).parent
    sources = "".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    page = Path(__file__).parents[1] / "docs" / "howto" / "when-events-do-not-arrive.md"
    documented = set(re.findall(r"`(snowplow_aio\.[a-z]+)`", page.read_text("utf-8")))
    made = set(re.findall(r'(?:get|quiet_)[lL]ogger\("([a-z_.]+)"\)', sources))

    assert made
    assert made <= documented
    # A name that follows the file would change with the next move.
    assert not re.search(r"[lL]ogger\(__name__\)", sources)
