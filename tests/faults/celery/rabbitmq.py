"""A RabbitMQ on free ports of this machine, where there is one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ports import free_port
from tests.waiting import wait_until

# Debian's program on the PATH changes the user and uses fixed folders. It starts this one.
_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", shutil.which("rabbitmq-server"))

PROGRAM: str | None = next((path for path in _PROGRAMS if path and Path(path).exists()), None)

# Another process may take a port between its choice and its use.
_ATTEMPTS = 3


class RabbitMQ:
    """
    A server that runs while the context is open; it forgets everything when it ends.

    Args:
        folder: An empty folder of its own.

    Attributes:
        port: Where it listens on 127.0.0.1.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 0

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def __enter__(self) -> Self:
        for _ in range(_ATTEMPTS):
            self._choose()
            if self._starts():
                return self
            self._end()
        raise AssertionError(self._log())

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _choose(self) -> None:
        self.port, distribution, mapper = free_port(), free_port(), free_port()
        folder = self._folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            # For the cookie.
            "HOME": str(folder),
            # Erlang's port mapper outlives the server, so it must be ours alone.
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"snowplow-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }

    def _starts(self) -> bool:
        """Start it; return whether it answers."""
        assert PROGRAM is not None
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
        wait_until(lambda: self._answers() or self._process.poll() is not None, self._log)
        return self._process.poll() is None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"AMQP\0\0\x09\x01")
                return connection.recv(1) != b""
        except OSError:
            return False

    def _log(self) -> str:
        return (self._folder / "server.log").read_text("utf-8")[-5000:]

    def _end(self) -> None:
        if self._process.poll() is None:
            self.kill()
        # The port mapper ends only when it has noticed that the server is gone.
        wait_until(self._has_no_mapper, lambda: "epmd does not end")

    def _has_no_mapper(self) -> bool:
        asked = subprocess.run(
            ["epmd", "-kill"], env=self._environment, check=False, capture_output=True, text=True
        )
        return "Killed" in asked.stdout or "Cannot connect" in asked.stdout + asked.stderr

    def _signal(self, number: int) -> None:
        # The server has a session of its own, so nothing else is in the group.
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def start(self) -> None:
        """Start it again with the data on its disk."""
        assert self._starts(), self._log()

    def freeze(self) -> None:
        """Suspend it. The system still takes connections and bytes for it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)
