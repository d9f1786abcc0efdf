"""
The tracker in an ASGI application: Starlette, Quart, or any other.

`lifespan` makes it when the application starts and closes it when it ends;
`tracker_of` finds it; `SnowplowMiddleware` says whom the events of a request
are about.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Unpack
from urllib.parse import quote

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.life_cycle import LifeCycle, TrackerSource
from snowplow_aio.integrations.page_views import (
    PageViews,
    template_behind_prefix,
    template_of,
    track_page_view,
)
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.visitor import Visitor, VisitorOptions, Visitors
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.tracking.scope import bound_scope
from snowplow_aio.tracking.tracker import Tracker

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Every framework has types of its own for the three: what takes theirs and ours asks for any.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

log: logging.Logger = logging.getLogger("snowplow_aio.integrations")

# Where the tracker is: in the state of an application, and in the scope of a request.
_STATE = "snowplow_tracker"
_SCOPE = "snowplow_aio.tracking.tracker"


def lifespan(
    tracker: TrackerSource,
    within: Lifespan | None = None,
    *,
    platform: str | None = "srv",
    timeout: float | None = None,
) -> Lifespan:
    """
    Return what Starlette and FastAPI take as `lifespan`.

    When the application starts there is a tracker, which `tracker_of` finds.
    When it ends, the last events are sent and the tracker is closed.

    Args:
        tracker: A function that makes the tracker, in the process that serves. Or the tracker
            itself, for an application that starts once.

        within: The application's own lifespan, which runs inside: it finds the tracker, and what it
            tracks at its end is sent too. What it yields is passed on.

        platform: The platform code of events for which neither the tracker nor a subject says one;
            None to leave that to the tracker.

        timeout: Seconds that closing takes at most; None for the emitters' own `drain_timeout`.

    Raises ConfigurationError or InvalidEventError when one of these is none.
    """
    life_cycle = LifeCycle(tracker, platform=platform, timeout=timeout)
    check_argument(within is None or callable(within), "within", within, "must be a lifespan function")

    @asynccontextmanager
    async def run(app: Any) -> AsyncGenerator[Any]:
        keep(app, await life_cycle.open())
        try:
            async with nullcontext() if within is None else within(app) as state:
                yield state
        finally:
            await life_cycle.stop()

    return run


def keep(app: Any, tracker: Tracker) -> None:
    """Put *tracker* where `tracker_of` finds it: into the state of *app*."""
    setattr(app.state, _STATE, tracker)


def tracker_of(connection: Any) -> Tracker:
    """
    Return the tracker of the application.

    Args:
        connection: A request or WebSocket of the framework, its ASGI scope, or the application.

    Raises ConfigurationError when there is none.
    """
    # A request of Starlette's is a mapping too, which takes its time.
    scope = getattr(connection, "scope", connection)
    app, found = connection, None
    if isinstance(scope, dict | Mapping):
        app, found = scope.get("app"), scope.get(_SCOPE)
    if found is None:
        found = getattr(getattr(app, "state", None), _STATE, None)
    if not isinstance(found, Tracker):
        raise ConfigurationError(
            "connection: there is no tracker: the application must have been started, with `lifespan`, "
            "or with a SnowplowMiddleware that has a tracker"
        )
    return found


class SnowplowMiddleware:
    """
    Says whom the events are about that are tracked during a request or a WebSocket.

    That is: the visitor's address, browser and language, the ids in the cookies of the JavaScript tracker
    and the collector, the user id of the application. Events that have no page get the address of the
    request and what it was linked from. A subject bound inside, or given to `track`, goes before.

    Args:
        app: The application.

        tracker: A function that makes the tracker, in the process that serves; or the tracker itself.
            The middleware then starts and closes it with the application: for one that has no
            `lifespan`. None for the tracker of the `lifespan`.

        platform: With a tracker: the platform code of events for which neither it nor a subject says
            one; None to leave that to the tracker.

        timeout: With a tracker: seconds that closing takes at most; None for the emitters' own
            `drain_timeout`.

        page_views: Which requests are tracked as page views; None for none.

        **options: How visitors are recognised, and what may be tracked of them: see `VisitorOptions`.

    Raises ConfigurationError or InvalidEventError when one of these is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        tracker: TrackerSource | None = None,
        *,
        platform: str | None = "srv",
        timeout: float | None = None,
        page_views: PageViews | None = None,
        **options: Unpack[VisitorOptions],
    ) -> None:
        check_argument(callable(app), "app", app, "must be an ASGI application")
        is_choice = page_views is None or isinstance(page_views, PageViews)
        check_argument(is_choice, "page_views", page_views, "must be a PageViews, or None")
        self.app: ASGIApp = app
        self._visitors = Visitors(**options)
        self._page_views = page_views
        self._life_cycle: LifeCycle | None = None
        if tracker is not None:
            self._life_cycle = LifeCycle(tracker, platform=platform, timeout=timeout)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or live as long as the application does."""
        life_cycle = self._life_cycle
        if scope["type"] == "lifespan":
            if life_cycle is None:
                await self.app(scope, receive, send)
            else:
                await _live(self.app, life_cycle, scope, receive, send)
            return
        if life_cycle is not None:
            scope[_SCOPE] = life_cycle.tracker
        visitor = Visitor(self._visitors, _head(scope), scope)
        if self._visitors.has_async_hooks:
            await visitor.introduce()
        if self._page_views is not None and scope["type"] == "http":
            send = _watch(self._page_views, visitor, scope, send)
        token = bound_scope.set(visitor)
        try:
            await self.app(scope, receive, send)
        finally:
            bound_scope.reset(token)
            visitor.leave()


def _head(scope: Scope) -> RequestHead:
    client, path, query = scope.get("client"), scope.get("raw_path"), scope.get("query_string")
    # Some servers have the query in `raw_path` too.
    target = path.decode("latin-1").partition("?")[0] if path else quote(scope["path"])
    if query:
        target = f"{target}?{query.decode('latin-1')}"
    return RequestHead(scope["headers"], client[0] if client else None, scope.get("scheme", "http"), target)


def _watch(page_views: PageViews, visitor: Visitor, scope: Scope, send: Send) -> Send:
    """Return *send*, after whose last message a page view is tracked if the request was one."""
    is_page_view = False

    async def sending(message: Message) -> None:
        nonlocal is_page_view
        await send(message)
        if message["type"] == "http.response.start":
            headers = {name.lower(): value for name, value in message.get("headers", ())}
            kind = headers.get(b"content-type", b"").decode("latin-1")
            is_page_view = page_views.match(scope["path"], scope["method"], message["status"], kind)
        elif is_page_view and not message.get("more_body", False):
            is_page_view = False
            await _track_page_view(visitor, scope)

    return sending


async def _track_page_view(visitor: Visitor, scope: Scope) -> None:
    try:
        tracker, title = tracker_of(scope), _title(scope)
    except Exception:
        log.exception("a page view could not be tracked")
    else:
        await track_page_view(tracker, visitor, title)


def _title(scope: Scope) -> str | None:
    """Return the template of the route, as the framework tells it."""
    template = scope.get("path_template")
    if isinstance(template, str):
        return template_of(template)
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if path is None and scope.get("endpoint") is not None:
        # Starlette before 1.0 says what the parameters are, and not of which route.
        path = ""
    if not isinstance(path, str):
        return None
    return template_behind_prefix(path, scope["path"], scope.get("path_params") or {}) or None


async def _live(app: ASGIApp, life_cycle: LifeCycle, scope: Scope, receive: Receive, send: Send) -> None:
    """Start and stop with *app*, which need not speak the lifespan protocol."""
    has_received = has_sent = False

    async def receiving() -> Message:
        nonlocal has_received
        has_received = True
        return await receive()

    async def sending(message: Message) -> None:
        nonlocal has_sent
        has_sent = True
        if message["type"].startswith("lifespan.shutdown."):
            # Before the server hears of it: that is when it ends the process.
            await life_cycle.stop()
        await send(message)

    tracker = await life_cycle.open()
    if hasattr(scope.get("app"), "state"):
        keep(scope["app"], tracker)
    try:
        try:
            await app(scope, receiving, sending)
        except Exception:
            # An application that does not know the protocol raises at once.
            if has_received or has_sent:
                raise
        if not has_sent:
            await _answer(receive, send, is_started=has_received, stop=life_cycle.stop)
    finally:
        await life_cycle.stop()


async def _answer(
    receive: Receive, send: Send, *, is_started: bool, stop: Callable[[], Awaitable[None]]
) -> None:
    """Speak the lifespan protocol for an application that does not."""
    if not is_started:
        await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await stop()
    await send({"type": "lifespan.shutdown.complete"})
