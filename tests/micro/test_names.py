"""What `snowplow_aio.micro` offers, and what it loads for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from snowplow_aio import micro
from snowplow_aio.micro.app import Micro


def test_the_collector_is_the_only_name() -> None:
    assert micro.__all__ == dir(micro) == ["Micro"]
    assert micro.Micro is Micro


def test_an_unknown_name_is_the_usual_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'snowplow_aio\.micro' has no attribute 'Nope'"):
        _ = micro.Nope


def test_nothing_is_loaded_before_the_collector_is_used() -> None:
    program = "import sys, snowplow_aio.micro; print({'aiohttp', 'jsonschema'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


@pytest.mark.parametrize("missing", ["jsonschema", "referencing"])
def test_without_its_extra_the_error_names_it(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
try:
    from snowplow_aio.micro import Micro
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == 'the embedded collector needs jsonschema: pip install "snowplow-aio[micro]"\n'
