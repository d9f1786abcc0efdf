"""The errors of an aiohttp service: those that leave its handlers, and those that a middleware answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, update_wrapper, wraps
from typing import Any

from aiohttp import web

from snowplow_aio.integrations.failures import FAILED
from snowplow_aio.integrations.request_errors import Found, RequestErrors, rest_of
from snowplow_aio.integrations.request_scope import RequestScope

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def watch(
    handler: Answer,
    request: web.Request,
    *,
    errors: RequestErrors,
    request_scope: RequestScope,
    found: Found,
    start: Callable[[Coroutine[Any, Any, None]], None],
) -> web.StreamResponse:
    """
    Return the response of *handler* to *request*, and track its errors.

    Args:
        handler: The handler, in the middleware that stands inside of ours.

        request: The request.

        errors: Tracks the errors.

        request_scope: The scope of the request.

        found: Returns the tracker and the template of the route.

        start: Starts a task, for an error after the handlers have ended: of the body of the response.
    """

    def end(sent: asyncio.Task[Any]) -> None:
        error = None if sent.cancelled() else sent.exception()
        if error is None or _has_left(request, error):
            return
        rest = errors.track(request_scope, found, error)
        if rest is not None:
            start(rest_of(rest))
        request_scope.close()

    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(end)
    try:
        response = await _noting(handler, partial(errors.note, request_scope))(request)
    except web.HTTPException as answer:
        await rest_of(errors.answered(request_scope, found, has_failed=answer.status >= FAILED))
        raise
    except Exception as error:
        if not _has_left(request, error):
            await rest_of(errors.track(request_scope, found, error))
        raise
    # A handler that returns something else is answered with 500.
    has_failed = getattr(response, "status", FAILED) >= FAILED
    await rest_of(errors.answered(request_scope, found, has_failed=has_failed))
    return response


def _has_left(request: web.Request, error: BaseException) -> bool:
    """Return whether *error* says that the client has closed the connection."""
    transport = request.transport
    return isinstance(error, ConnectionError) and (transport is None or transport.is_closing())


def _noting(handler: Answer, note: Callable[[BaseException], None]) -> Answer:
    """
    Return *handler* in a wrapper that notes its exceptions, which a middleware around it may answer.

    aiohttp gives a middleware the next one bound to its own handler, with `functools.partial`.
    """
    keywords: dict[str, Any] = handler.keywords if isinstance(handler, partial) else {}
    inner = keywords.get("handler")
    # So a partial of the application's own is not taken for one of aiohttp's.
    if inner is not None and getattr(handler, "__wrapped__", None) is inner:
        middleware: Any = handler
        bound = keywords | {"handler": _noting(keywords["handler"], note)}
        handler = update_wrapper(partial(middleware.func, *middleware.args, **bound), middleware)

    @wraps(handler)
    async def noting(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            note(error)
            raise

    return noting
