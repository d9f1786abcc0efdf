"""The simulations need simloop, and so Python 3.12."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

collect_ignore_glob = ["test_*.py"] if sys.version_info < (3, 12) else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the full numbers of seeds their time."""
    for item in items:
        if os.environ.get("SNOWPLOW_CHAOS") == "full" and item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> Iterator[None]:
    """Spare simloop, which collects garbage after every run, what was there before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
