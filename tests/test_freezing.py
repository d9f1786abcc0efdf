"""The hook that tells PyInstaller what it cannot see."""

from __future__ import annotations

import importlib
import importlib.machinery
import pkgutil
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import snowplow_aio
from snowplow_aio import entities, events
from snowplow_aio.__pyinstaller.entry_point import hook_dirs

HOOK = "hook-snowplow_aio.py"


def test_the_hook_is_where_pyinstaller_is_sent() -> None:
    (folder,) = hook_dirs()
    assert Path(folder, HOOK).is_file()


def test_all_that_it_names_exists_and_the_whole_catalogue_is_named() -> None:
    named = runpy.run_path(str(Path(hook_dirs()[0], HOOK)))["hiddenimports"]
    catalogue = {
        f"{package.__name__}.{module.name}"
        for package in (entities, events)
        for module in pkgutil.iter_modules(package.__path__)
    }
    assert catalogue <= set(named)
    for name in named:
        if name.startswith("snowplow_aio"):
            importlib.import_module(name)


def test_the_imports_of_a_compiled_module_are_named(tmp_path: Path) -> None:
    package = tmp_path / "snowplow_aio"
    # Without the bytecode, and without what is compiled here.
    shutil.copytree(
        Path(snowplow_aio.__path__[0]), package, ignore=shutil.ignore_patterns("*.so", "*.pyd", "*.pyc")
    )
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (package / "tracking" / f"payload_builder{suffix}").touch()
    program = (
        f"import runpy; print(*runpy.run_path({str(package / '__pyinstaller' / HOOK)!r})['hiddenimports'])"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    named = set(run.stdout.split())
    assert {"orjson", "snowplow_aio.model.payload_bytes", "snowplow_aio.tracking.json_encoder"} <= named


@pytest.mark.parametrize("name", ["snowplow_aio.celery", "celery", "fastapi", "jsonschema", "rich"])
def test_nothing_is_named_that_a_program_may_do_without(name: str) -> None:
    named = runpy.run_path(str(Path(hook_dirs()[0], HOOK)))["hiddenimports"]
    assert not [module for module in named if module == name or module.startswith(f"{name}.")]
