"""A Celery worker in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import wait_until

# On a busy machine a worker needs several seconds to start.
_PATIENCE_SECONDS = 40.0


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of this process with *variables*, without other settings of the library."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SNOWPLOW_", "CELERY_"))
    }
    return kept | variables


class Worker:
    """
    A worker that runs while the context is open.

    Args:
        folder: The working directory of the worker, which also gets its log.

        variables: Variables that are added to the environment.

        options: Arguments after ``celery -A APP worker``.

        app: The module with the Celery app.
    """

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, str],
        *options: str,
        app: str = "snowplow_aio.celery_app",
    ) -> None:
        # Several workers may run in one folder.
        self._log = folder / f"worker-{len(list(folder.glob('worker-*.log')))}.log"
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        # The program itself: with `python -m`, the folder would be on the path for good.
        program = str(Path(sys.executable).with_name("celery"))
        command = [program, "-A", app, "worker", "--loglevel=INFO", *quiet, *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**variables),
                cwd=folder,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self.wait_for(" ready.")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def log(self) -> str:
        return self._log.read_text("utf-8")

    def wait_for(self, text: str, times: int = 1) -> None:
        """Return when *text* has occurred *times* times in the log."""
        wait_until(lambda: self.log().count(text) >= times or self._process.poll() is not None, self.log)
        assert self.log().count(text) >= times, self.log()

    def children(self) -> list[int]:
        """Return the processes of its pool."""
        tasks = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in tasks.read_text().split()]

    def terminate(self) -> int:
        """Ask it to end, as a deployment does; return its exit code."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Return its exit code when it has ended."""
        return self._process.wait(_PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it and its pool at once, as `kill -9` does."""
        # The worker has a session of its own, so nothing else is in the group.
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
