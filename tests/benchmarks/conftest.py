"""
The programs of the benchmarks, as modules and as commands.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# There are no benchmarks beside an installed package.
collect_ignore_glob = [] if BENCHMARKS.is_dir() else ["test_*.py"]
# A third of a process's start: pydantic's search for plugins, and authorities of a network that is not used.
UNNEEDED = {"PYDANTIC_DISABLE_PLUGINS": "__all__", "SSL_CERT_FILE": os.devnull}


@pytest.fixture(scope="module")
def bench() -> Iterator[Callable[[str], Any]]:
    """
    Import a module of the benchmarks, which are no package, and forget it afterwards.
    """
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, dict[str, Any]]]:
    """
    Run a program with its options; return what it prints, and its JSON.
    """

    def run(script: str, *options: str) -> tuple[str, dict[str, Any]]:
        path = tmp_path_factory.mktemp("run") / "run.json"
        words = [sys.executable, str(BENCHMARKS / script), *options, "--json", str(path)]
        env = os.environ | UNNEEDED
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=170, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, json.loads(path.read_text(encoding="utf-8"))

    return run
