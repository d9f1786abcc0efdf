"""
The tracker in an aiohttp service.

``setup(app, make_tracker)``, and ``tracker_of(request)`` in a handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Unpack

from aiohttp import web

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.life_cycle import LifeCycle, TrackerSource
from snowplow_aio.integrations.page_views import PageViews, template_of, track_page_view
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.visitor import Visitor, VisitorOptions, Visitors
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.tracking.scope import bound_scope
from snowplow_aio.tracking.tracker import Tracker

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TRACKER: web.AppKey[Tracker] = web.AppKey("snowplow_tracker", Tracker)
"""The key of the tracker in a running application."""


def setup(
    app: web.Application,
    tracker: TrackerSource,
    *,
    platform: str | None = "srv",
    timeout: float | None = None,
    page_views: PageViews | None = None,
    **options: Unpack[VisitorOptions],
) -> None:
    """
    Give *app* a tracker, from its start to its end, and say whom the events of a request are about.

    It is there before what else the application starts, and is closed after every
    other `cleanup_ctx`. What `on_cleanup` calls comes later and is too late to track.

    Args:
        app: The application, not started; requests of its sub-applications find the tracker too.

        tracker: A function that makes the tracker, in the process that serves. Or the tracker
            itself, for an application that starts once.

        platform: The platform code of events for which neither the tracker nor a subject says one;
            None to leave that to the tracker.

        timeout: Seconds that closing takes at most; None for the emitters' own `drain_timeout`.

        page_views: Which requests are tracked as page views; None for none.

        **options: How visitors are recognised, and what may be tracked of them: see `VisitorOptions`.

    Raises ConfigurationError or InvalidEventError when one of these is none.
    """
    check_argument(isinstance(app, web.Application), "app", app, "must be an aiohttp.web.Application")
    is_choice = page_views is None or isinstance(page_views, PageViews)
    check_argument(is_choice, "page_views", page_views, "must be a PageViews, or None")
    visitors = Visitors(**options)
    life_cycle = LifeCycle(tracker, platform=platform, timeout=timeout)
    views: set[asyncio.Task[None]] = set()

    async def run(app: web.Application) -> AsyncIterator[None]:
        app[TRACKER] = await life_cycle.open()
        yield
        await asyncio.gather(*views)
        await life_cycle.stop()

    @web.middleware
    async def bind(request: web.Request, handler: Handler) -> web.StreamResponse:
        visitor = Visitor(visitors, _head(request), request)
        if visitors.has_async_hooks:
            await visitor.introduce()
        # Stays bound: the body of a response may be made after this, and each request has a task of its own.
        bound_scope.set(visitor)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            _watch(page_views, views, visitor, request, error)
            raise
        finally:
            visitor.leave()
        _watch(page_views, views, visitor, request, response)
        return response

    app.middlewares.insert(0, bind)
    # The first to be started is the last to be cleaned up.
    app.cleanup_ctx.insert(0, run)


def _head(request: web.Request) -> RequestHead:
    headers = [(name.lower(), value) for name, value in request.raw_headers]
    return RequestHead(headers, request.remote, request.scheme, request.raw_path)


def _watch(
    page_views: PageViews | None,
    views: set[asyncio.Task[None]],
    visitor: Visitor,
    request: web.Request,
    response: web.StreamResponse,
) -> None:
    """Have a page view tracked, if the request was one, when *response* has been sent; it is in *views*."""
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
                view = sent.get_loop().create_task(track_page_view(tracker, visitor, title))
                views.add(view)
                view.add_done_callback(views.discard)

        # The task of the request ends when the response is sent.
        task.add_done_callback(track)


def tracker_of(request: web.Request | web.Application) -> Tracker:
    """
    Return the tracker of the application that *request* came to.

    Raises ConfigurationError when there is none.
    """
    config = request.config_dict if isinstance(request, web.Request) else request
    found = config.get(TRACKER)
    if found is None:
        raise ConfigurationError("request: there is no tracker: call `setup` for the application first")
    return found
