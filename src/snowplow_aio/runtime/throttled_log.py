"""Logging that does not flood: at most one line a minute of each kind, with the number of its causes."""

from __future__ import annotations

import logging
import threading
import time

_INTERVAL = 60.0

# Kinds may be named by others, like the statuses of a transport. Beyond these they count as one.
_MOST_KINDS = 100
_OTHERS = "others"


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """
    A logger that is silent unless the application configures logging.

    Without any handler Python prints warnings to standard error, which a user
    who has not asked for them does not want.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name is logging's
        """Return whether a message of *level* reaches a handler."""
        return self.logger.hasHandlers() and super().isEnabledFor(level)


def quiet_logger(name: str) -> QuietLogger:
    """Return the logger *name*, silent unless the application configures logging."""
    return QuietLogger(logging.getLogger(name))


class ThrottledLog:
    """
    Logs at most one line a minute of each kind.

    Args:
        logger: The logger for the lines.
    """

    def __init__(self, logger: QuietLogger) -> None:
        self._logger = logger
        self._last: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        # Nobody ever waits for it: a signal handler may interrupt the one who has it.
        self._deciding = threading.Lock()

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

        The line ends with the sum of all *count* since the last such line, and has the traceback of *error*.
        """
        if len(self._unsaid) >= _MOST_KINDS and kind not in self._unsaid:
            kind = _OTHERS
        # Nothing is called between the reading and the writing, so no count is lost.
        self._unsaid.setdefault(kind, 0)
        self._unsaid[kind] += count
        total = self._due(kind)
        if total:
            line = f"{message} (%d since the last such line)"
            self._logger.log(level, line, *args, total, exc_info=error)

    def _due(self, kind: str) -> int:
        """Return the count that a line of *kind* says now; 0 if none is due."""
        if not self._deciding.acquire(blocking=False):
            # The next line has this count.
            return 0
        try:
            now = time.monotonic()
            if now - self._last.get(kind, -_INTERVAL) < _INTERVAL:
                return 0
            self._last[kind] = now
            total = self._unsaid[kind]
            self._unsaid[kind] -= total
            return total
        finally:
            self._deciding.release()
