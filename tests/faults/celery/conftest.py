"""The brokers and workers of the Celery tests."""

from __future__ import annotations

from tests.celery.conftest import broker, new_worker, own_broker, persistent_broker, shared_broker

__all__ = ["broker", "new_worker", "own_broker", "persistent_broker", "shared_broker"]
