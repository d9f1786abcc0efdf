"""
The tracker in an aiohttp service.

`setup` gives an application its tracker. `tracker_of` finds it in a request handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Unpack

from aiohttp import web

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.life_cycle import TrackerSource
from snowplow_aio.integrations.page_views import PageViews, template_of, track_page_view
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.request_scope import RequestScope
from snowplow_aio.integrations.setup_options import Setup, SetupOptions
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.tracking.scope import bound_scope
from snowplow_aio.tracking.tracker import Tracker

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

TRACKER: web.AppKey[Tracker] = web.AppKey("snowplow_tracker", Tracker)
"""The key of the tracker in a running application."""


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
    policy, page_views, life_cycle = given.policy, given.page_views, given.life_cycle(tracker)
    views: set[asyncio.Task[None]] = set()

    async def run(app: web.Application) -> AsyncIterator[None]:
        app[TRACKER] = await life_cycle.open()
        yield
        await asyncio.gather(*views)
        await life_cycle.stop()

    @web.middleware
    async def bind(request: web.Request, handler: Answer) -> web.StreamResponse:
        request_scope = RequestScope(policy, _head(request), request)
        if policy.has_async_hooks:
            await request_scope.prefetch()
        # It stays bound, because the body of a response may be made later. Each request has its own task.
        bound_scope.set(request_scope)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            _track_when_sent(page_views, views, request_scope, request, error)
            raise
        finally:
            request_scope.close()
        _track_when_sent(page_views, views, request_scope, request, response)
        return response

    app.middlewares.insert(0, bind)
    # The first that is started is the last that is cleaned up.
    app.cleanup_ctx.insert(0, run)


def _head(request: web.Request) -> RequestHead:
    headers = [(name.lower(), value) for name, value in request.raw_headers]
    return RequestHead(headers, request.remote, request.scheme, request.raw_path)


def _track_when_sent(
    page_views: PageViews | None,
    views: set[asyncio.Task[None]],
    request_scope: RequestScope,
    request: web.Request,
    response: web.StreamResponse,
) -> None:
    """
    Track a page view when *response* has been sent, if the request is one.

    Its task is in *views* until it ends.
    """
    task = asyncio.current_task()
    if page_views is None or task is None:
        return
    kind = response.headers.get("Content-Type", "")
    if page_views.match(request.path, request.method, response.status, kind):
        resource = request.match_info.route.resource
        title = None if resource is None else template_of(resource.canonical)
        tracker = tracker_of(request)

        def track(sent: asyncio.Task[None]) -> None:
            if not sent.cancelled():
                view = sent.get_loop().create_task(track_page_view(tracker, request_scope, title))
                views.add(view)
                view.add_done_callback(views.discard)

        # The task of the request ends when the response is sent.
        task.add_done_callback(track)


def tracker_of(request: web.Request | web.Application) -> Tracker:
    """
    Return the tracker of an application.

    Args:
        request: A request, or the application.

    Raises:
        ConfigurationError: If the application has no tracker.
    """
    config = request.config_dict if isinstance(request, web.Request) else request
    found = config.get(TRACKER)
    if found is None:
        raise ConfigurationError("request: there is no tracker: call `setup` for the application first")
    return found
