"""
The processes of a run: one sink, and one client after the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# The working tree, as Python; or where the package was installed, compiled, with `pip install --target`.
SOURCE = Path(os.environ.get("SNOWPLOW_AIO_PACKAGE") or HERE.parent / "src")
# Several times what the slowest client needs for its default number of events, a million of them included.
CLIENT_TIMEOUT = 180.0
# When a client says that it has flushed, all is sent; the last bytes only have to be read.
ARRIVAL_TIMEOUT = 10.0


class ClientError(Exception):
    """
    A client ended with an error; the message carries the end of its standard error.
    """


class SinkError(Exception):
    """
    The sink does not do its work, so nothing can be measured.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Sink:
    """
    The running sink, seen through its control channel.
    """

    port: int
    tls_port: int | None
    refusing_port: int
    loop: str
    channel: Any

    def address(self, scheme: str, state: str) -> int:
        """
        Return the port for *scheme*, or in *state* ``refusing`` one where nobody answers.
        """
        if state == "refusing":
            return self.refusing_port
        return self.port if scheme == "http" or self.tls_port is None else self.tls_port

    def behave(self, state: str, delay: float) -> None:
        """
        Answer from now on after *delay* seconds, or in *state* ``hanging`` never.
        """
        self.ask("hang" if state == "hanging" else f"answer {delay}")

    def reset(self) -> None:
        self.ask("reset")

    def wait(self, events: int) -> dict[str, int]:
        """
        Return the counts once *events* have arrived, or nothing more is to be expected.
        """
        return self.ask(f"wait {events} {ARRIVAL_TIMEOUT}")

    def prove(self) -> None:
        """
        Send one request and see it counted.

        Raises SinkError otherwise: clients would retry without end against a sink that fails.
        """
        self.behave("answering", 0.0)
        self.reset()
        with socket.create_connection(("127.0.0.1", self.port), timeout=ARRIVAL_TIMEOUT) as connection:
            connection.sendall(b"GET /i?e=pv HTTP/1.1\r\nHost: sink\r\n\r\n")
            answer = connection.recv(1024)
        if not answer.startswith(b"HTTP/1.1 200 ") or self.ask("read")["events"] != 1:
            message = f"the sink does not count: it answered {answer!r}"
            raise SinkError(message)

    def ask(self, command: str) -> dict[str, int]:
        self.channel.write(command.encode() + b"\n")
        self.channel.flush()
        answer: dict[str, int] = json.loads(self.channel.readline())
        return answer


@contextlib.contextmanager
def running_sink(core: int | None, certificate: Path | None) -> Iterator[Sink]:
    """
    Start a sink on *core*; it ends with the block.
    """
    command = [sys.executable, str(HERE / "sink.py")]
    if core is not None:
        command += ["--core", str(core)]
    if certificate is not None:
        command += ["--certificate", str(certificate)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        # Bound but not listening: taken, and every connection to it is refused.
        socket.socket() as refusing,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        refusing.bind(("127.0.0.1", 0))
        ports = json.loads(process.stdout.readline())
        address = ("127.0.0.1", ports["control_port"])
        with (
            # Closed on the way out, which ends the sink.
            process.stdin,
            socket.create_connection(address, timeout=ARRIVAL_TIMEOUT + 10) as connection,
            connection.makefile("rwb") as channel,
        ):
            sink = Sink(
                port=ports["port"],
                tls_port=ports.get("tls_port"),
                refusing_port=refusing.getsockname()[1],
                loop=ports["loop"],
                channel=channel,
            )
            sink.prove()
            yield sink


def run_client(
    interpreter: Path, script: str, parameters: dict[str, Any], variables: dict[str, str]
) -> dict[str, Any]:
    """
    Run one client in a fresh process, with *variables* in its environment, and return its result.

    Raises ClientError when it fails or does not end in time.
    """
    command = [str(interpreter), str(HERE / "clients" / script), json.dumps(parameters)]
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                # A file, as a service's log would be: clients as shipped write to it.
                stderr=errors,
                env=environment(script) | variables,
                timeout=CLIENT_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = f"{script} did not end within {CLIENT_TIMEOUT:.0f} s"
            raise ClientError(message) from error
        if done.returncode:
            errors.seek(0)
            tail = errors.read()[-2000:].decode(errors="replace")
            message = f"{script} ended with {done.returncode}:\n{tail}"
            raise ClientError(message)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def environment(script: str) -> dict[str, str]:
    """
    Return the environment of a client.

    No proxy may stand between it and the sink, and only this library's client
    sees the working tree.
    """
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("PYTHONPATH", None)
    # `imports.py` looks at this library's import among others.
    if script.startswith("ours") or script == "imports.py":
        kept["PYTHONPATH"] = str(SOURCE)
    # Order of sets and dictionaries of strings: the same in every repeat.
    kept["PYTHONHASHSEED"] = "0"
    return kept
