"""Functions of the application that are asked about a request."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from snowplow_aio.model.arguments import check_argument
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

log: QuietLogger = quiet_logger("snowplow_aio.integrations")


class RequestHook:
    """
    A function of the application that is asked about a request and cannot make it fail.

    Args:
        name: The option that the function was given as, for logs.

        function: A function, or a coroutine function, of the request.

    Attributes:
        is_async: Whether it is a coroutine function: then `ask_and_wait` asks it, otherwise `ask`.

    Raises:
        ConfigurationError: If *function* is not callable.
    """

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        check_argument(callable(function), name, function, "must be a function of the request")
        self._name: str = name
        self._function: Callable[[Any], Any] = function
        # A function that fails may fail at each request.
        self._throttled = ThrottledLog(log)
        self.is_async: bool = any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))

    def ask(self, request: Any) -> Any:
        """Return the answer of a plain function, or None if it fails."""
        try:
            answer = self._function(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request goes on
            self.complain("failed", error)
            return None
        if not inspect.isawaitable(answer):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
        self.complain("returned an awaitable: it must be a coroutine function itself")
        return None

    async def ask_and_wait(self, request: Any) -> Any:
        """Return the answer of a coroutine function, or None if it fails."""
        try:
            return await self._function(request)
        except Exception as error:  # noqa: BLE001 - likewise
            self.complain("failed", error)
            return None

    def complain(self, fault: str, error: BaseException | None = None) -> None:
        """Log a fault of the function, at most once a minute."""
        self._throttled.log(fault, logging.ERROR, f"the hook %s {fault}", self._name, error=error)
