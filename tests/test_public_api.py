"""What the package offers, and what it loads for it."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import snowplow_aio

EXPENSIVE = (
    "aiohttp",
    "redis",
    "celery",
    "pydantic",
    "pydantic.json_schema",
    "snowplow_aio.model.json_schema",
)

# Loaded with pydantic's BaseModel, whatever one does.
OF_MODELS = {"pydantic", "pydantic.json_schema"}


def _rank(name: str) -> tuple[int, str]:
    """Constants come first, then classes, then the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _typed_names() -> set[str]:
    """Return the names that a type checker sees."""
    source = Path(inspect.getfile(snowplow_aio)).read_text("utf-8")
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def test_all_is_sorted_and_names_nothing_twice() -> None:
    assert snowplow_aio.__all__ == sorted(set(snowplow_aio.__all__), key=_rank)


def test_all_is_what_type_checkers_see_and_what_can_be_loaded() -> None:
    assert set(snowplow_aio.__all__) == _typed_names()
    assert dir(snowplow_aio) == sorted(snowplow_aio.__all__)
    for name in snowplow_aio.__all__:
        assert getattr(snowplow_aio, name) is getattr(snowplow_aio, name)


def test_a_star_import_brings_exactly_these_names() -> None:
    namespace: dict[str, Any] = {}
    exec("from snowplow_aio import *", namespace)

    assert namespace.keys() - {"__builtins__"} == set(snowplow_aio.__all__)


def test_an_unknown_name_is_the_usual_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'snowplow_aio' has no attribute 'Trakcer'$"):
        _ = snowplow_aio.Trakcer
    with pytest.raises(ImportError, match=r"Trakcer"):
        exec("from snowplow_aio import Trakcer")
    assert not hasattr(snowplow_aio, "Trakcer")


def _documented() -> list[Any]:
    things = [(name, getattr(snowplow_aio, name)) for name in snowplow_aio.__all__]
    named = [pytest.param(thing, id=name) for name, thing in things if callable(thing)]
    methods = [
        pytest.param(method, id=f"{name}.{attribute}")
        for name, thing in things
        if inspect.isclass(thing)
        for attribute in dir(thing)
        if not attribute.startswith("_")
        and inspect.isfunction(method := getattr(thing, attribute))
        and method.__module__.startswith("snowplow_aio.")
        and _says_it_itself(thing, attribute)
    ]
    return named + methods


def _says_it_itself(owner: type, attribute: str) -> bool:
    """Return whether no base class says what *attribute* does."""
    return not any(getattr(getattr(base, attribute, None), "__doc__", None) for base in owner.__mro__[1:])


@pytest.mark.parametrize("thing", _documented())
def test_every_public_name_says_what_it_is(thing: Any) -> None:
    text = thing.__doc__ or ""

    assert text.strip().partition("\n")[0].endswith((".", "?"))
    assert not text.startswith(f"{getattr(thing, '__name__', '')}("), "a signature is no docstring"


def _classes_of(*modules: str) -> list[Any]:
    return [
        pytest.param(thing, id=f"{name}.{thing.__name__}")
        for name in modules
        for thing in vars(importlib.import_module(f"snowplow_aio.{name}")).values()
        if inspect.isclass(thing)
        and thing.__module__ == f"snowplow_aio.{name}"
        and not thing.__name__.startswith("_")
    ]


@pytest.mark.parametrize("kind", _classes_of("abc", "exceptions", "outcomes", "policies", "settings"))
def test_every_class_that_users_implement_or_catch_has_an_example(kind: type) -> None:
    assert "\nExample:\n" in inspect.cleandoc(vars(kind)["__doc__"])


def _loaded_by(code: str) -> set[str]:
    """Return which of the expensive modules *code* loads in a fresh interpreter."""
    names = f"print(*[name for name in {EXPENSIVE!r} if name in sys.modules])"
    command = [sys.executable, "-W", "error", "-c", f"import sys\n{code}\n{names}"]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("code", ["import snowplow_aio", "from snowplow_aio import __version__"])
def test_importing_the_package_loads_nothing_expensive(code: str) -> None:
    assert _loaded_by(code) == set()


@pytest.mark.parametrize(
    "code",
    [
        "from snowplow_aio import PageView; PageView(page_url='https://example.com/')",
        "from snowplow_aio import FormSubmit; FormSubmit(form_id='f', elements=[])",
        "from snowplow_aio import SelfDescribingJson; SelfDescribingJson('iglu:a/b/jsonschema/1-0-0', {})",
        "import snowplow_aio as s; s.Tracker(s.MemoryEmitter()).track_nowait(s.ScreenView(id_='a'))",
    ],
)
def test_what_needs_no_network_loads_none(code: str) -> None:
    assert _loaded_by(code) <= OF_MODELS


def test_an_http_emitter_loads_what_it_needs_and_no_more() -> None:
    assert _loaded_by("from snowplow_aio import HttpEmitter") <= OF_MODELS | {"aiohttp"}


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(inspect.getfile(snowplow_aio)).parent / "py.typed").is_file()


PACKAGE = Path(inspect.getfile(snowplow_aio)).parent

# What users import by module. Whatever else stands at the top level is reached otherwise: `track_once` by the
# package, the version by `__version__`.
PUBLIC_MODULES = {
    "abc",
    "celery_app",
    "exceptions",
    "outcomes",
    "policies",
    "registry",
    "settings",
    "sync",
    "worker",
}
REACHED_OTHERWISE = {"__init__", "__main__", "one_shot", "version"}

# Rooms of which every module is public.
PUBLIC_ROOMS = ("entities", "events", "integrations")

# Rooms that have their public names at the room itself.
SPEAKING_ROOMS = {"iglu", "micro"}


def test_a_file_at_the_top_level_is_public() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == PUBLIC_MODULES | REACHED_OTHERWISE


@pytest.mark.parametrize(
    "module",
    [
        *sorted(PUBLIC_MODULES | SPEAKING_ROOMS),
        *(
            f"{room}.{path.stem}"
            for room in PUBLIC_ROOMS
            for path in sorted((PACKAGE / room).glob("[a-z]*.py"))
        ),
    ],
)
def test_every_public_module_imports(module: str) -> None:
    assert importlib.import_module(f"snowplow_aio.{module}").__doc__


def test_a_room_brings_nothing_by_accident() -> None:
    inits = {path.parent.name: path.read_text("utf-8") for path in PACKAGE.glob("*/__init__.py")}

    assert {room for room, text in inits.items() if text.strip()} <= SPEAKING_ROOMS
    assert {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))} == set(inits)
