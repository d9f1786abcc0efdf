"""
Compiles the modules that run for each event, where that is possible.

They are plain Python, and work as they are: mypyc turns them into C, which
saves a third of an event's time. Without a C compiler, or with
``SNOWPLOW_AIO_COMPILE=0``, the wheel has the Python files alone; with
``SNOWPLOW_AIO_COMPILE=1`` a failure to compile is an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What an event goes through between `track` and the store; nothing here suspends.
MODULES = (
    "delivery/event_buffer",
    "model/payload_bytes",
    "tracking/payload_builder",
    "tracking/json_encoder",
    "model/stored_event",
    "tracking/event_id",
    "delivery/counters",
    "model/atomic",
)

SETUP = """
from mypyc.build import mypycify
from setuptools import setup

setup(
    name="snowplow-aio",
    packages=[],
    ext_modules=mypycify({arguments!r}, opt_level="3", debug_level="0", group_name="snowplow_aio"),
)
"""


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to the wheel."""

    PLUGIN_NAME = "custom"
    _directory: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless the wheel is an editable one, and have the wheel name its platform."""
        wanted = os.environ.get("SNOWPLOW_AIO_COMPILE", "")
        if self.target_name != "wheel" or version == "editable" or wanted == "0":
            return
        if wanted != "1" and not _has_compiler():
            self.app.display_warning("no C compiler: the wheel is pure Python, and slower")
            return
        self._directory = tempfile.mkdtemp(prefix="snowplow-aio-")
        try:
            build_data["force_include"] |= _compile(Path(self.root), Path(self._directory))
        except subprocess.CalledProcessError as error:
            said = f"{error.stdout}{error.stderr}"
            if wanted == "1":
                self.app.display_error(f"not compiled:\n{said}")
                raise
            self.app.display_warning(f"not compiled, the wheel is pure Python, and slower:\n{said}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove what was compiled: it is in the wheel."""
        if self._directory is not None:
            shutil.rmtree(self._directory)


def _has_compiler() -> bool:
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return sys.platform == "win32" or shutil.which(compiler.split()[0]) is not None


def _compile(root: Path, directory: Path) -> dict[str, str]:
    """Compile in *directory*. Returns where the extension modules are, with their places in the wheel."""
    shutil.copytree(root / "src" / "snowplow_aio", directory / "snowplow_aio")
    modules = [f"snowplow_aio/{name}.py" for name in MODULES]
    # What the package itself imports is not there while it is built.
    arguments = ["--ignore-missing-imports", "--follow-imports=silent", *modules]
    (directory / "setup.py").write_text(SETUP.format(arguments=arguments))
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    # The group of them all beside the package, and a shim in it for each.
    built = [*directory.glob(f"*{suffix}"), *directory.glob(f"snowplow_aio/**/*{suffix}")]
    return {str(path): str(path.relative_to(directory)) for path in built}
