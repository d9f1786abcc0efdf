"""A running Micro, and the conformance data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio.micro import Micro


@pytest.fixture(scope="session")
def oracle(conformance: Path) -> Any:
    """The modules of the conformance folder: check_cases, and validate under it."""
    sys.path.insert(0, str(conformance))
    try:
        return importlib.import_module("check_cases")
    finally:
        sys.path.remove(str(conformance))


@pytest.fixture
async def micro() -> AsyncIterator[Micro]:
    async with Micro() as running:
        yield running
