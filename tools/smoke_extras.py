"""
Try one extra in an environment that has nothing else: ``python -I tools/smoke_extras.py celery``.

What an extra needs is easily there by chance where the tests run.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from snowplow_aio import CeleryEmitter, HttpEmitter, PageView, Tracker
from snowplow_aio.outcomes import Outcome

# Nobody listens there. Who gets as far as to be refused has loaded all that it needs.
_NOBODY = "redis://127.0.0.1:1/0"
_PAGE = PageView(page_url="https://example.com/")


def _require(condition: object, message: str) -> None:
    if not condition:
        sys.exit(message)


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def celery() -> None:
    """Publish to a broker, and run a worker of it with the documented command."""
    error = asyncio.run(_publish())
    _require("refused" in error, f"the emitter: {error}")
    command = [_program("celery"), "-A", "snowplow_aio.celery_app", "worker", "--pool=solo"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None  # noqa: S101 - for the type checker
        said = ""
        # It tries again and again; if it cannot run, the lines end.
        while "Cannot connect to redis" not in said and (line := worker.stderr.readline()):
            said += line
        worker.kill()
    _require("Cannot connect to redis" in said, f"the worker: {said}")


async def _publish() -> str:
    """Return why an event could not be published."""
    refused: asyncio.Queue[Outcome] = asyncio.Queue()
    emitter = CeleryEmitter(drain_timeout=0, hooks=[refused.put_nowait])
    async with Tracker(emitter, app_id="smoke") as tracker:
        await tracker.track(_PAGE)
        await tracker.flush(wait=False)
        await asyncio.wait_for(refused.get(), 20)
        return str(tracker.stats()["celery"].last_error)


def micro() -> None:
    """Have the embedded collector judge an event."""
    asyncio.run(_collect())
    subprocess.run([_program("snowplow-aio"), "micro", "--help"], check=True, stdout=subprocess.DEVNULL)


async def _collect() -> None:
    from snowplow_aio.micro import Micro  # noqa: PLC0415 - is there with this extra

    async with Micro() as collector, Tracker(HttpEmitter(collector.url), app_id="smoke") as tracker:
        await tracker.track(_PAGE)
        await tracker.flush(timeout=10)
        _require(collector.counts() == {"total": 1, "good": 1, "bad": 0}, str(collector.bad))


def demo() -> None:
    """Run the demo."""
    subprocess.run([_program("snowplow-aio"), "demo"], check=True, stdout=subprocess.DEVNULL)


def speed() -> None:
    """Find what is faster."""
    for name in ("pybase64", *(() if sys.platform == "win32" else ("uvloop",))):
        _require(find_spec(name), f"{name} is not installed")


_EXTRAS = {extra.__name__: extra for extra in (celery, micro, demo, speed)}

if __name__ == "__main__":
    os.environ.update(SNOWPLOW_COLLECTOR="http://127.0.0.1:1", SNOWPLOW_CELERY_BROKER_URL=_NOBODY)
    _EXTRAS[sys.argv[1]]()
    print(f"the extra {sys.argv[1]} works alone")
