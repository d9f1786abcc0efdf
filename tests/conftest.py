"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def conformance() -> Path:
    """The folder with public schemas, cases and the oracle."""
    folder = os.environ.get("SNOWPLOW_CONFORMANCE")
    if not folder:
        pytest.skip("SNOWPLOW_CONFORMANCE does not name the conformance folder")
    return Path(folder)
