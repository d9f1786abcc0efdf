"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine pauses within an example; and a run fails for what was changed, not for the examples of the
# day. Before any test module is imported: what they say of their own settings is added to these.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


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
