"""Log lines that would repeat: at most one a minute of each kind, with how many it stands for."""

from __future__ import annotations

import logging
import time

_INTERVAL = 60.0


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """
    A logger that is silent unless the application configures logging.

    Without any handler Python prints warnings to standard error; a library
    whose user has not asked for them must not.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        """Return whether somebody listens to *level*."""
        return self.logger.hasHandlers() and super().isEnabledFor(level)


def quiet_logger(name: str) -> QuietLogger:
    """Return the logger *name*, silent unless the application configures logging."""
    return QuietLogger(logging.getLogger(name))


class ThrottledLog:
    """
    Logs of each kind at most one line a minute.

    Args:
        logger: Where the lines go.
    """

    def __init__(self, logger: QuietLogger) -> None:
        self._logger = logger
        self._last: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def log(
        self,
        kind: str,
        level: int,
        message: str,
        *args: object,
        count: int = 1,
        error: BaseException | None = None,
    ) -> None:
        """
        Log *message* with *args*, unless this *kind* was logged within the last minute.

        A line ends with how many such events there were since the last one, and has the traceback of *error*.
        """
        total = self._unsaid.get(kind, 0) + count
        now = time.monotonic()
        if now - self._last.get(kind, -_INTERVAL) < _INTERVAL:
            self._unsaid[kind] = total
            return
        self._last[kind], self._unsaid[kind] = now, 0
        self._logger.log(level, f"{message} (%d since the last such line)", *args, total, exc_info=error)
