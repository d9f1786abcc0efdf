"""
The trackers that existing installations use, each in processes of its own.

snowplow-tracker 0.15.0 is the last one with Redis. 0.8.4, the last of the
documented 0.8 line, needs two libraries that no supported Python can import
(PyContracts, an old Celery); neither has a part in what it does with Redis, so
empty ones stand in for them. Everything else is as it was published.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

# Installed by pip: packages, and those that are put aside without what they ask for.
REQUIREMENTS = ("snowplow-tracker[redis]==0.15.0",)
ASIDE = ("snowplow-tracker==0.8.4", "six>=1.16,<2")

# Far longer than any of them takes.
_GENEROUS_SECONDS = 50

_STAND_INS = """
import sys, types

def unchecked(*arguments, **rules):
    is_bare = len(arguments) == 1 and callable(arguments[0])
    return arguments[0] if is_bare else unchecked

def stand_in(name, *names):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(dict.fromkeys(names, unchecked))

stand_in("contracts", "contract", "new_contract", "disable_all", "enable_all")
stand_in("celery", "Celery")
"""

_WRITE = """
import json, sys
import redis
from snowplow_tracker import RedisEmitter, SelfDescribingJson, Subject, Tracker

port, key, calls = json.loads(sys.argv[1])
subject = Subject().set_user_id("u-1").set_screen_resolution(1920, 1080).set_color_depth(24)
emitter = RedisEmitter(redis.Redis(port=port), key)
tracker = Tracker(emitters=emitter, namespace="old", app_id="shop", subject=subject)
for method, arguments in calls:
    if "event_json" in arguments:
        arguments["event_json"] = SelfDescribingJson(*arguments["event_json"])
    if "context" in arguments:
        arguments["context"] = [SelfDescribingJson(*entity) for entity in arguments["context"]]
    getattr(tracker, method)(**arguments)
"""

# Its buffer is never flushed by the worker: with one event each, none stays in it.
_WORK = """
import json, sys
import redis
from snowplow_tracker import Emitter
try:
    from snowplow_tracker.redis_worker import RedisWorker
except ImportError:
    from snowplow_tracker import RedisWorker

port, key, collector, size = json.loads(sys.argv[1])
emitter = Emitter("127.0.0.1", protocol="http", port=collector, method="post", **{size: 1})
RedisWorker(emitter, redis.Redis(port=port), key).run()
"""

# A method of the tracker with its arguments; JSON that describes itself is a pair of schema and data.
Call = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class OldTracker:
    """
    A tracker of an existing installation.

    Attributes:
        python: The interpreter that has it.

        path: Where else it looks for packages.

        size: What its emitter calls the number of events in a request.
    """

    version: str
    python: Path
    prelude: str = ""
    path: Sequence[Path] = field(default=())
    size: str = "batch_size"

    async def write(self, port: int, calls: Sequence[Call], *, key: str = "snowplow") -> None:
        """Track *calls* with its `RedisEmitter`."""
        async with self._running(_WRITE, port, key, calls) as process, asyncio.timeout(_GENEROUS_SECONDS):
            assert await process.wait() == 0

    @asynccontextmanager
    async def worker(self, port: int, collector: int, *, key: str = "snowplow") -> AsyncGenerator[None, None]:
        """Run its `RedisWorker` while the context is open, then kill it."""
        async with self._running(_WORK, port, key, collector, self.size) as process:
            yield
            assert process.returncode is None

    @asynccontextmanager
    async def _running(self, program: str, *arguments: object) -> AsyncGenerator[Process, None]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
        variables = kept | {"PYTHONPATH": os.pathsep.join(map(str, self.path))}
        command = [str(self.python), "-c", self.prelude + program, json.dumps(arguments)]
        # It says several lines for each event, for which a pipe has no room.
        with TemporaryFile() as said:
            process = await asyncio.create_subprocess_exec(*command, stderr=said, env=variables)
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
                said.seek(0)
                text = said.read().decode()
                assert "Traceback" not in text, text


def old_trackers(cache: Path) -> dict[str, OldTracker]:
    """
    Return the old trackers by version.

    They are installed on the first call for a version of Python, into a folder of *cache*.
    """
    digest = hashlib.sha256("\n".join([*REQUIREMENTS, *ASIDE]).encode()).hexdigest()[:8]
    name = "{}.{}-".format(*sys.version_info) + digest
    home = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    # Two runs of the tests at once: the second waits for what the first one makes.
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Written last: an installation that was interrupted is made anew.
        if not (home / "ready").exists():
            _install(home)
            (home / "ready").touch()
    python, aside = home / "bin" / "python", home / "aside"
    return {
        "0.15.0": OldTracker("0.15.0", python),
        "0.8.4": OldTracker("0.8.4", python, _STAND_INS, (aside,), "buffer_size"),
    }


def _install(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    # Compiled is what is imported, by who imports it. The network may fail for a moment.
    pip += ["--no-compile", "--retries", "10"]
    subprocess.run([*pip, *REQUIREMENTS], check=True)
    subprocess.run([*pip, "--no-deps", "--target", str(home / "aside"), *ASIDE], check=True)
