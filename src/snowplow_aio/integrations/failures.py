"""Which exceptions of a request are errors, and which of them it has had."""

from __future__ import annotations

from typing import Final

FAILED: Final = 500
"""The lowest status that says that the server has failed."""

# By name, because a framework that is not there cannot be imported: its answers, and clients that have left.
_NO_ERRORS: Final = frozenset(
    {
        "aiohttp.web_exceptions.HTTPException",
        "django.core.exceptions.PermissionDenied",
        "django.core.exceptions.RequestAborted",
        "django.http.response.Http404",
        "litestar.exceptions.websocket_exceptions.WebSocketException",
        "quart.wrappers.base.ClientDisconnectedError",
        "starlette.exceptions.HTTPException",
        "starlette.exceptions.WebSocketException",
        "starlette.requests.ClientDisconnect",
        "starlette.websockets.WebSocketDisconnect",
        "uvicorn.protocols.utils.ClientDisconnected",
        "werkzeug.exceptions.HTTPException",
    }
)
# Litestar raises its own also where the application is at fault: a dependency is missing.
_LITESTAR_ANSWER: Final = "litestar.exceptions.http_exceptions.HTTPException"
# Frameworks raise one of these from the exception of a response that has started.
_LITESTAR_WRAPPER: Final = "litestar.exceptions.base_exceptions.LitestarException"
_STARLETTE_WRAPPER: Final = "Caught handled exception, but response already started."


def is_error(error: BaseException) -> bool:
    """
    Return whether *error* is a fault of the application.

    The answers of frameworks, the end of a task and a client that has left are none.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_error, error.exceptions))
    if not isinstance(error, Exception):
        return False
    names = {_name(kind) for kind in type(error).__mro__}
    if _LITESTAR_ANSWER in names:
        return bool(getattr(error, "status_code", FAILED) >= FAILED)
    return names.isdisjoint(_NO_ERRORS)


def within(error: BaseException) -> BaseException:
    """Return the exception that *error* stands for: task groups and frameworks wrap what they pass on."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    kind, cause = type(error), error.__cause__
    is_wrapper = _name(kind) == _LITESTAR_WRAPPER or (
        kind is RuntimeError and error.args == (_STARLETTE_WRAPPER,)
    )
    return error if cause is None or not is_wrapper else within(cause)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


class Failures:
    """
    The exceptions of one request.

    They are forgotten when it ends, because each keeps the frames that it passed.
    """

    __slots__ = ("_known", "_noted")

    def __init__(self) -> None:
        self._known: list[BaseException] = []
        self._noted: list[BaseException] = []

    def is_new(self, error: BaseException) -> bool:
        """Return whether *error* was never asked about before."""
        if any(known is error for known in self._known):
            return False
        self._known.append(error)
        return True

    def note(self, error: BaseException) -> None:
        """Remember *error* until `take`."""
        self._noted.append(error)

    def take(self) -> list[BaseException]:
        """Return the exceptions that were noted since the last call."""
        noted, self._noted = self._noted, []
        return noted

    def clear(self) -> None:
        """Forget all of them."""
        self._known.clear()
        self._noted.clear()
