"""The brokers and workers of the Celery tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import left
from tests.celery.conftest import broker, new_worker, own_broker, persistent_broker, shared_broker

__all__ = ["broker", "new_worker", "own_broker", "persistent_broker", "shared_broker"]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """
    Fail the test that leaves a thread of ours behind; a descriptor is nobody's fault here.

    Celery keeps the connections of each app that was made, and our task the event loop of
    its thread, as long as the worker lives.
    """
    yield
    left.no_thread()
