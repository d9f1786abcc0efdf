"""The judge of what the model says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.oracle import Oracle


@pytest.fixture(scope="session")
def oracle(conformance: Path) -> Oracle:
    return Oracle(conformance)
