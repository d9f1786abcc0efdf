"""The application of threads, for a server that SIGTERM would kill."""

from __future__ import annotations

import signal
import sys

from tests.integrations.served.blocking_app import app

__all__ = ["app"]

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
