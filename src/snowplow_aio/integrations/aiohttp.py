"""
The tracker in an aiohttp service.

`setup` gives an application its tracker. `tracker_of` finds it in a request handler,
and `page_url_of` is the address of the page that the request asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Unpack

from aiohttp import web

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.aiohttp_errors import Answer, watch
from snowplow_aio.integrations.life_cycle import TrackerSource
from snowplow_aio.integrations.page_views import template_of, track_page_view
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.request_scope import RequestScope, tracker_for
from snowplow_aio.integrations.setup_options import Setup, SetupOptions
from snowplow_aio.integrations.visitor import VisitorPolicy
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.tracking.scope import bound_scope
from snowplow_aio.tracking.tracker import Tracker

TRACKER: web.AppKey[Tracker] = web.AppKey("snowplow_tracker", Tracker)
"""The key of the tracker in a running application."""

_POLICY: web.AppKey[VisitorPolicy] = web.AppKey("snowplow_policy", VisitorPolicy)

# Of the `RequestScope` in a request. aiohttp before 3.14 knows strings only.
_REQUEST: Any = (
    web.RequestKey("snowplow_request", RequestScope) if hasattr(web, "RequestKey") else "snowplow_aio.request"
)


def setup(app: web.Application, tracker: TrackerSource, **options: Unpack[SetupOptions]) -> None:
    """
    Give *app* a tracker from its start to its end, and add the visitor of a request to its events.

    The tracker is made before anything else that the application starts, and is closed
    after every other `cleanup_ctx`. Callbacks of `on_cleanup` run later, too late to track.

    Args:
        app: The application, not started yet. Requests of its sub-applications find the
            tracker too.

        tracker: A function that makes the tracker, called in the process that serves. Or a
            tracker, for an application that starts only once.

        **options: See `SetupOptions`.

    Raises:
        ConfigurationError: If an argument has the wrong type or an unknown value.
        InvalidEventError: If `platform` is no platform code.

    Example:
        >>> app = web.Application()
        >>> setup(app, make_tracker)
    """
    check_argument(isinstance(app, web.Application), "app", app, "must be an aiohttp.web.Application")
    given = Setup(**options)
    life_cycle, requests = given.life_cycle(tracker), _Requests(given)

    async def run(app: web.Application) -> AsyncIterator[None]:
        app[TRACKER] = await life_cycle.open()
        yield
        await asyncio.gather(*requests.tasks)
        await life_cycle.stop()

    @web.middleware
    async def bind(request: web.Request, handler: Answer) -> web.StreamResponse:
        return await requests.answer(request, handler)

    app[_POLICY] = given.policy
    app.middlewares.insert(0, bind)
    # The first that is started is the last that is cleaned up.
    app.cleanup_ctx.insert(0, run)


class _Requests:
    """
    Answers the requests of an application.

    Args:
        given: The options.

    Attributes:
        tasks: The tasks that track something of a request that has been answered.
    """

    def __init__(self, given: Setup) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._policy = given.policy
        self._page_views = given.page_views
        self._errors = given.errors

    async def answer(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        """Return the response of *handler*."""
        request_scope = RequestScope(self._policy, _head(request), request, request.get(_REQUEST))
        request[_REQUEST] = request_scope
        if self._policy.has_async_hooks:
            await request_scope.prefetch()
        # It stays bound, because the body of a response may be made later. Each request has its own task.
        bound_scope.set(request_scope)
        try:
            response = await self._response(request_scope, request, handler)
        except web.HTTPException as error:
            self._track_when_sent(request_scope, request, error)
            raise
        finally:
            request_scope.close()
        self._track_when_sent(request_scope, request, response)
        return response

    async def _response(
        self, request_scope: RequestScope, request: web.Request, handler: Answer
    ) -> web.StreamResponse:
        if self._errors is None:
            return await handler(request)

        def found() -> tuple[Tracker, str | None]:
            return _tracker_in(request.config_dict), _route(request)

        return await watch(
            handler, request, errors=self._errors, request_scope=request_scope, found=found, start=self._start
        )

    def _track_when_sent(
        self, request_scope: RequestScope, request: web.Request, response: web.StreamResponse
    ) -> None:
        """Track a page view when *response* has been sent, if the request is one."""
        task, page_views = asyncio.current_task(), self._page_views
        if page_views is None or task is None:
            return
        kind = response.headers.get("Content-Type", "")
        if page_views.match(request.path, request.method, response.status, kind):
            found = (tracker_of(request), _route(request))

            def track(sent: asyncio.Task[None]) -> None:
                if not sent.cancelled():
                    self._start(track_page_view(page_views, request_scope, lambda: found))

            # The task of the request ends when the response is sent.
            task.add_done_callback(track)

    def _start(self, tracking: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(tracking)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _route(request: web.Request) -> str | None:
    """Return the template of the route of *request*, if it has one."""
    resource = request.match_info.route.resource
    return None if resource is None else template_of(resource.canonical)


def _head(request: web.Request) -> RequestHead:
    headers = [(name.lower(), value) for name, value in request.raw_headers]
    return RequestHead(headers, request.remote, request.scheme, request.raw_path)


def tracker_of(request: web.Request | web.Application) -> Tracker:
    """
    Return the tracker of an application.

    Given a request, it tracks about the visitor of this one, and only what this visitor permits,
    wherever it is called: also in a thread, and in code of another visitor's request. It binds
    nothing: what is tracked with another tracker is not affected. Keep the result no longer
    than the request.

    Args:
        request: A request, or the application.

    Raises:
        ConfigurationError: If the application has no tracker.
    """
    config: Any = request.config_dict if isinstance(request, web.Request) else request
    found = _tracker_in(config)
    return tracker_for(_request_scope(request), found) if isinstance(request, web.Request) else found


def _tracker_in(config: Mapping[Any, Any]) -> Tracker:
    found: Tracker | None = config.get(TRACKER)
    if found is None:
        raise ConfigurationError("request: there is no tracker: call `setup` for the application first")
    return found


def page_url_of(request: web.Request) -> str:
    """
    Return the address of the page that a request asks for, fit for `track_page_view`.

    It is the address as the outermost proxy saw it. A visitor can ask for any address,
    and the pipeline does not take all of them: an ``_sp`` parameter that cannot be read is
    left out, and a path or query that is too long is cut. If the host is unknown, it
    is the path alone.

    Args:
        request: The request.

    Example:
        >>> await tracker_of(request).track_page_view(page_url_of(request))
    """
    request_scope = _request_scope(request) or RequestScope(VisitorPolicy(), _head(request), request)
    return request_scope.page_url()


def _request_scope(request: web.Request) -> RequestScope | None:
    """Return the `RequestScope` of *request*; a new one outside of the middleware that keeps one."""
    found: RequestScope | None = request.get(_REQUEST)
    if found is None and (policy := request.config_dict.get(_POLICY)) is not None:
        return RequestScope(policy, _head(request), request)
    return found
