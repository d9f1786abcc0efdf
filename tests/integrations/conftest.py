"""Fixtures for the tests of the integrations."""

from __future__ import annotations

import pytest

from tests.integrations.made import Trackers


@pytest.fixture
def trackers() -> Trackers:
    return Trackers()
