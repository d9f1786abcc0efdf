"""
The errors of an ASGI application: those that leave it, and those that it answers itself.

Frameworks answer an exception while they handle it. So the exception that a response answers is the one
that is being handled when the response starts, whatever the framework is. Only where another
task, or later code, sends the response must the framework itself say what it handles.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final

from snowplow_aio.integrations.failures import FAILED, within
from snowplow_aio.integrations.request_errors import Found, RequestErrors, rest_of
from snowplow_aio.integrations.request_scope import RequestScope
from snowplow_aio.tracking.scope import current_scope

_Call = Callable[..., Awaitable[Any]]

_STARTS: Final = frozenset({"http.response.start", "websocket.http.response.start"})

# RFC 6455: a server closes a WebSocket with it after an unexpected condition.
_INTERNAL_ERROR: Final = 1011
# Litestar closes one with 4000 and the status.
_WITH_STATUS: Final = 4000


async def watch(
    app: _Call,
    scope: Any,
    receive: Any,
    send: _Call,
    *,
    errors: RequestErrors,
    request_scope: Callable[[], RequestScope],
    found: Found,
) -> None:
    """
    Let *app* answer a request, and track its errors.

    Args:
        app: The ASGI application; *scope*, *receive* and *send* are its arguments.

        errors: Tracks the errors.

        request_scope: Returns the scope of the request.

        found: Returns the tracker and the template of the route.
    """
    gone: list[OSError] = []
    try:
        await app(scope, receive, _answering(errors, request_scope, found, send, gone))
    except (Exception, BaseExceptionGroup) as error:
        if not any(within(error) is left for left in gone):
            await rest_of(errors.track(request_scope(), found, error))
        raise
    # A framework may keep what fails after the answer to itself.
    await rest_of(errors.answered(request_scope(), found, has_failed=True))


def _answering(
    errors: RequestErrors,
    request_scope: Callable[[], RequestScope],
    found: Found,
    send: _Call,
    gone: list[OSError],
) -> _Call:
    """
    Return *send* in a wrapper that tracks the exceptions that a response answers.

    It puts into *gone* how the server says that the client has left.
    """
    outside = sys.exception()

    async def sending(message: Any) -> None:
        has_failed = _says_failed(message)
        about = None if has_failed is None else request_scope()
        answers = sys.exception()
        if about is not None and answers is not None and answers is not outside:
            errors.note(about, answers)
        try:
            await send(message)
        except OSError as error:
            gone.append(error)
            raise
        finally:
            if about is not None:
                await rest_of(errors.answered(about, found, has_failed=bool(has_failed)))

    return sending


def _says_failed(message: Any) -> bool | None:
    """Return whether *message* says that the server has failed; None if it is no answer."""
    kind = message["type"]
    if kind in _STARTS:
        return bool(message["status"] >= FAILED)
    if kind == "websocket.close":
        code = message.get("code", 1000)
        return bool(code == _INTERNAL_ERROR or FAILED <= code - _WITH_STATUS < FAILED + 100)
    return None


def watch_frameworks() -> None:
    """
    Let the frameworks that are imported note the exceptions that they handle out of our sight.

    A response passes a `BaseHTTPMiddleware` from another task, and Quart sends it when the handler
    of the exception has ended. A request that we do not know is not touched.
    """
    starlette = sys.modules.get("starlette.middleware.exceptions")
    if starlette is not None:
        _replace(starlette.ExceptionMiddleware, "__call__", _noting_starlette)
    quart = sys.modules.get("quart.app")
    if quart is not None:
        _replace(quart.Quart, "handle_user_exception", _noting_quart)


def _replace(owner: Any, name: str, noting: Callable[[_Call], _Call]) -> None:
    method = getattr(owner, name)
    if not hasattr(method, "__snowplow_aio__"):
        replacement: Any = wraps(method)(noting(method))
        replacement.__snowplow_aio__ = True
        setattr(owner, name, replacement)


def _note(error: BaseException | None) -> None:
    request_scope = current_scope()
    if error is not None and isinstance(request_scope, RequestScope):
        request_scope.failures().note(error)


def _noting_starlette(method: _Call) -> _Call:
    """Note what the middleware answers, and what it lets pass to a middleware that may answer it."""

    async def call(self: Any, scope: Any, receive: Any, send: _Call) -> None:
        async def sending(message: Any) -> None:
            if message["type"] in _STARTS or message["type"] == "websocket.close":
                _note(sys.exception())
            await send(message)

        try:
            await method(self, scope, receive, sending)
        except Exception as error:
            _note(error)
            raise

    return call


def _noting_quart(method: _Call) -> _Call:
    async def handle_user_exception(self: Any, *context_and_error: Any) -> Any:
        _note(context_and_error[-1])
        return await method(self, *context_and_error)

    return handle_user_exception
