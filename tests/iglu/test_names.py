"""What `snowplow_aio.iglu` offers, and what it loads for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import snowplow_aio
from snowplow_aio import iglu


def test_the_names_of_schemas_are_public() -> None:
    assert iglu.__all__ == dir(iglu) == ["SchemaKey", "SchemaVer"]
    assert iglu.SchemaKey is snowplow_aio.SchemaKey
    assert iglu.SchemaKey.parse("iglu:com.acme/x/jsonschema/1-0-2").version == iglu.SchemaVer(1, 0, 2)


def test_a_star_import_brings_exactly_these_names() -> None:
    namespace: dict[str, Any] = {}
    exec("from snowplow_aio.iglu import *", namespace)

    assert namespace.keys() - {"__builtins__"} == set(iglu.__all__)


def test_an_unknown_name_is_the_usual_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'snowplow_aio\.iglu' has no attribute 'Nope'"):
        _ = iglu.Nope


def test_nothing_optional_is_loaded() -> None:
    program = "import sys, snowplow_aio.iglu; print({'jsonschema', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
