"""
Names the modules that PyInstaller cannot find by itself. PyInstaller runs it.

PyInstaller reads the imports of a module in its bytecode. A compiled module
(hatch_build.py) has none, so its imports are read in the Python file beside it.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")

# All compiled modules are parts of it. Nothing but them imports it.
_COMPILED_GROUP = "snowplow_aio__mypyc"


def _compiled_sources() -> Iterator[Path]:
    for compiled in _ROOT.rglob(f"*{_SUFFIX}"):
        yield compiled.with_name(compiled.name.removesuffix(_SUFFIX) + ".py")


def _imported_by(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                # An imported name may be a module.
                yield from (name for alias in names if _is_own_module(name := f"{module}.{alias.name}"))
            case _:
                pass


def _is_own_module(name: str) -> bool:
    path = _ROOT.parent.joinpath(*name.split("."))
    return name.startswith("snowplow_aio.") and (path.is_dir() or path.with_suffix(".py").is_file())


def _catalogue() -> Iterator[str]:
    # The embedded collector looks for the shipped models by walking these two folders.
    for folder in ("entities", "events"):
        yield from (f"snowplow_aio.{folder}.{file.stem}" for file in (_ROOT / folder).glob("[!_]*.py"))


hiddenimports = sorted({name for source in _compiled_sources() for name in _imported_by(source)})
hiddenimports += _catalogue()
if find_spec(_COMPILED_GROUP) is not None:
    hiddenimports.append(_COMPILED_GROUP)
