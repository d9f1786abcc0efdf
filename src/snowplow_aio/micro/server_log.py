"""The lines of the web server, made fit for a log: it shows the head of a request that it cannot read."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

from snowplow_aio.runtime.foreign_text import shown
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog


class ServerLog(QuietLogger):
    """
    A logger for aiohttp.

    Args:
        logger: The logger for the lines.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger)
        self._throttled = ThrottledLog(QuietLogger(logger))

    def exception(self, *_args: object, exc_info: Any = None, **_options: Any) -> None:
        """Log the exception *exc_info*, once a minute for each kind."""
        if isinstance(exc_info, HttpProcessingError):
            # The other lines are a part of the request.
            reason = exc_info.message.partition("\n")[0].rstrip(":")
            self._throttled.log(
                "unreadable", logging.WARNING, "a request could not be read: %s", shown(reason)
            )
        else:
            message = "a request could not be answered"
            self._throttled.log("unanswered", logging.ERROR, message, error=exc_info)
