"""Events of a request that an integration could not track: counted, and logged once a minute."""

from __future__ import annotations

import logging

from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.integrations")


class Untracked:
    """
    Counts events of one kind that could not be tracked, and logs one line a minute of each reason.

    Args:
        kind: The kind of event, for logs: ``a page view``.

    Attributes:
        count: The number of these events, in this process.
    """

    def __init__(self, kind: str) -> None:
        self.count: int = 0
        self._kind = kind
        self._throttled = ThrottledLog(log)

    def add(self, reason: str, error: BaseException | None = None) -> None:
        """Count an event that could not be tracked, and log its reason once a minute."""
        self.count += 1
        message = "%s could not be tracked: %s"
        self._throttled.log(reason, logging.WARNING, message, self._kind, reason, error=error)
