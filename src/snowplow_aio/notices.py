"""Log lines that would repeat: at most one a minute of each kind, with how many it stands for."""

from __future__ import annotations

import logging
import time

_INTERVAL = 60.0


class Notices:
    """
    Logs of each kind at most one line a minute.

    Args:
        log: Where the lines go.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def say(self, kind: str, level: int, message: str, *args: object, count: int = 1) -> None:
        """
        Log *message* with *args*, unless this *kind* was logged within the last minute.

        A line ends with how many such events there were since the last one.
        """
        total = self._unsaid.get(kind, 0) + count
        now = time.monotonic()
        if now - self._last.get(kind, -_INTERVAL) < _INTERVAL:
            self._unsaid[kind] = total
            return
        self._last[kind], self._unsaid[kind] = now, 0
        self._log.log(level, f"{message} (%d since the last such line)", *args, total)
