"""
The tracker in an ASGI application: Starlette, Quart, or any other.

`lifespan` makes the tracker when the application starts and closes it when it
ends. `tracker_of` finds it. `SnowplowMiddleware` adds the visitor of a request to
the events that are tracked during it. `page_url_of` is the address of its page.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Protocol, Unpack
from urllib.parse import quote

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.asgi_errors import watch, watch_frameworks
from snowplow_aio.integrations.life_cycle import LifeCycle, TrackerSource
from snowplow_aio.integrations.page_views import (
    PageViews,
    template_behind_prefix,
    template_of,
    track_page_view,
)
from snowplow_aio.integrations.request_errors import RequestErrors
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.request_scope import RequestScope, tracker_for
from snowplow_aio.integrations.setup_options import Setup, SetupOptions
from snowplow_aio.integrations.visitor import VisitorPolicy
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.tracking.scope import Outside, ScopeOfTask, bound_scope, current_scope
from snowplow_aio.tracking.tracker import Tracker

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Every framework has types of its own for scope, receive and send.
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

# The names in the state of an application: of its tracker, and of how its visitors are recognised.
_TRACKER = "snowplow_tracker"
_POLICY = "snowplow_policy"

# The names in the scope of a request: of the tracker that a middleware was given, of the
# `RequestScope`, and of the outermost application with a middleware.
_OWN_TRACKER = "snowplow_aio.tracker"
_REQUEST = "snowplow_aio.request"
_APP = "snowplow_aio.app"

# ... and that something outside of the middleware tracks the errors of the request.
_IS_WATCHED = "snowplow_aio.is_watched"

_REQUESTS = frozenset({"http", "websocket"})


def lifespan(
    tracker: TrackerSource,
    within: Lifespan | None = None,
    *,
    platform: str | None = "srv",
    timeout: float | None = None,
) -> Lifespan:
    """
    Return a lifespan for Starlette and FastAPI that makes and closes the tracker.

    The tracker is made when the application starts, and `tracker_of` finds it. When
    the application ends, the last events are sent and the tracker is closed.

    Args:
        tracker: A function that makes the tracker, called in the process that serves. Or a
            tracker, for an application that starts only once.

        within: The application's own lifespan, which runs inside. It finds the tracker, and
            the events that it tracks at its end are sent. Its state is passed on.

        platform: The platform code of events for which neither the tracker nor a subject
            has one; None to leave it to the tracker.

        timeout: Seconds that closing takes at most, at least 0; None for the `drain_timeout`
            of the emitters.

    Raises:
        ConfigurationError: If *tracker*, *within* or *timeout* is not allowed.
        InvalidEventError: If *platform* is no platform code.

    Example:
        >>> app = FastAPI(lifespan=lifespan(make_tracker))
    """
    life_cycle = LifeCycle(tracker, platform=platform, timeout=timeout)
    check_argument(within is None or callable(within), "within", within, "must be a lifespan function")
    return _Lifespan(life_cycle, within)


class _Lifespan:
    """The lifespan that `lifespan` returns. A router that has no application is found by its lifespan."""

    def __init__(self, life_cycle: LifeCycle, within: Lifespan | None) -> None:
        self._life_cycle = life_cycle
        self._within = within

    @asynccontextmanager
    async def __call__(self, app: Any) -> AsyncGenerator[Any]:
        tracker = await self._life_cycle.open()
        keep(self if app is None else app, tracker)
        try:
            async with nullcontext() if self._within is None else self._within(app) as state:
                yield state
        finally:
            await self._life_cycle.stop()


def keep(app: Any, tracker: Tracker) -> None:
    """Put *tracker* where `tracker_of` finds it: into the state of *app*, and to its router."""
    setattr(getattr(app, "state", app), _TRACKER, tracker)
    router = getattr(app, "router", None)
    if router is not None:
        # A mounted application takes the place of `app` in the scope, but the router stays.
        setattr(router, _TRACKER, tracker)


def keep_policy(app: Any, policy: VisitorPolicy) -> None:
    """Put *policy* into the state of *app*, for code that runs outside of its middleware."""
    state = getattr(app, "state", None)
    if state is not None and getattr(state, _POLICY, None) is None:
        setattr(state, _POLICY, policy)


def tracker_of(connection: Any) -> Tracker:
    """
    Return the tracker of the application.

    Given a request or WebSocket, it tracks about the visitor of this one, and only what this
    visitor permits, wherever it is called: in the handler of any exception, in a thread, in the
    ``finally`` of a response body, in code of another visitor's request. It binds nothing: what
    is tracked with another tracker is not affected. Call it where you track, and keep the
    result no longer than the request.

    Args:
        connection: A request or WebSocket of the framework, its ASGI scope, or the application.

    Raises:
        ConfigurationError: If the application has no tracker.
    """
    # A request of Starlette's is a mapping too, but a slow one.
    scope = getattr(connection, "scope", connection)
    if not isinstance(scope, dict | Mapping):
        return _checked(_kept(connection))
    return tracker_for(_request_scope(scope), _tracker_in(scope))


def page_url_of(connection: Any) -> str:
    """
    Return the address of the page that a request asks for, fit for `track_page_view`.

    It is the address as the outermost proxy saw it. A visitor can ask for any address,
    and the pipeline does not take all of them: an ``_sp`` parameter that cannot be read is
    left out, and a path or query that is too long is cut. If the host is unknown, it
    is the path alone.

    Args:
        connection: A request or WebSocket of the framework, or its ASGI scope.

    Example:
        >>> await tracker.track_page_view(page_url_of(request))
    """
    scope = getattr(connection, "scope", connection)
    return _known_request(scope).page_url()


def _request_scope(scope: Any) -> RequestScope | None:
    """Return the `RequestScope` of *scope*; a new one outside of the middleware that keeps one."""
    found: RequestScope | None = scope.get(_REQUEST)
    if found is None and scope.get("type") in _REQUESTS:
        app = scope.get("app")
        policy = getattr(getattr(app, "state", None), _POLICY, None) or _policy_within(app)
        if policy is not None:
            return RequestScope(policy, _head(scope), scope)
    return found


def _policy_within(app: Any) -> VisitorPolicy | None:
    """Return the policy of the middleware of *app* that no request has reached yet."""
    layer = getattr(app, "middleware_stack", None)
    while layer is not None and not isinstance(layer, RequestMiddleware):
        layer = getattr(layer, "app", None)
    if layer is None:
        return None
    keep_policy(app, layer.policy)
    return layer.policy


def _tracker_in(scope: Any) -> Tracker:
    """Return the tracker of the nearest application of *scope* that has one, whoever the visitor is."""
    found: Tracker | None = scope.get(_OWN_TRACKER)
    if found is not None:
        return found
    kept = (_kept(scope.get(name)) for name in ("app", _APP, "router"))
    return _checked(next((tracker for tracker in kept if tracker is not None), None))


def _kept(owner: Any) -> Any:
    """Return the tracker that `keep` has put to *owner*, an application or a router."""
    found = getattr(getattr(owner, "state", None), _TRACKER, None)
    if found is None:
        found = getattr(owner, _TRACKER, None)
    return found if found is not None else getattr(getattr(owner, "lifespan_context", None), _TRACKER, None)


def _checked(found: Any) -> Tracker:
    if not isinstance(found, Tracker):
        raise ConfigurationError(
            "connection: there is no tracker: the application must have been started, with `lifespan` "
            "by a server that runs lifespans, or with a SnowplowMiddleware that has a tracker"
        )
    return found


class RequestMiddleware:
    """
    Binds a `RequestScope` while *app* answers a request.

    Args:
        app: The application.

        setup: The options.

        life_cycle: Starts and closes the tracker with the application; None if something else does.
    """

    def __init__(self, app: ASGIApp, setup: Setup, life_cycle: LifeCycle | None = None) -> None:
        self.app: ASGIApp = app
        self.policy: VisitorPolicy = setup.policy
        self._page_views = setup.page_views
        self._errors = setup.errors
        if self._errors is not None:
            watch_frameworks()
        self._life_cycle = life_cycle
        self._is_known = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or run for as long as the application does."""
        life_cycle, kind = self._life_cycle, scope["type"]
        app = scope.get("app")
        if not self._is_known and app is not None:
            keep_policy(app, self.policy)
            self._is_known = True
        if kind not in _REQUESTS:
            if kind == "lifespan" and life_cycle is not None:
                await run_lifespan(self.app, life_cycle, scope, receive, send)
            else:
                await self.app(scope, receive, send)
            return
        if life_cycle is not None:
            scope[_OWN_TRACKER] = life_cycle.tracker
        if _APP not in scope:
            scope[_APP] = app
        outer = scope.get(_REQUEST)
        request_scope = scope[_REQUEST] = RequestScope(self.policy, _head(scope), scope, outer)
        if self.policy.has_async_hooks:
            await request_scope.prefetch()
        if kind == "http":
            receive, send = self._of_http(request_scope, scope, receive, send)
        before = current_scope()
        bound_scope.set(request_scope)
        # After an error whoever handles it outside, in this task, tracks about the same visitor.
        is_left = before is not None
        try:
            if self._errors is None or _IS_WATCHED in scope:
                await self.app(scope, receive, send)
            else:
                await _watch_here(self.app, self._errors, scope, receive, send)
            is_left = True
        finally:
            bound_scope.set(before if is_left else ScopeOfTask(request_scope))
            if is_left and outer is not None:
                scope[_REQUEST] = outer
            request_scope.close()

    def _of_http(
        self, request_scope: RequestScope, scope: Scope, receive: Receive, send: Send
    ) -> tuple[Receive, Send]:
        """Return *receive* and *send* as the application gets them."""
        outside = Outside()
        receive, send = partial(outside.call, receive), _ending_outside(outside, send)
        if self._page_views is not None:
            send = _tracking_page_view(self._page_views, request_scope, scope, send)
        return receive, send


class SnowplowMiddleware(RequestMiddleware):
    """
    Adds the visitor of a request or WebSocket to the events that are tracked during it.

    These are the visitor's address, browser and language, the ids in the cookies of the
    JavaScript tracker and the collector, and the user id of the application. Events without
    a page get the address of the request and its referrer. Values of a subject that is bound
    inside, or given to `track`, go before them.

    Args:
        app: The application.

        tracker: None for the tracker of the `lifespan`, which is the usual way. For an
            application without one, a function that makes the tracker, called in the process
            that serves, or a tracker: the middleware then starts and closes it with the
            application.

        **options: See `SetupOptions`. `platform` and `timeout` apply only together with *tracker*.

    Raises:
        ConfigurationError: If an argument has the wrong type or an unknown value.
        InvalidEventError: If `platform` is no platform code.

    Example:
        >>> app = FastAPI(lifespan=lifespan(make_tracker))
        >>> app.add_middleware(SnowplowMiddleware, trusted_proxies=["10.0.0.0/8"])
    """

    def __init__(
        self, app: ASGIApp, tracker: TrackerSource | None = None, **options: Unpack[SetupOptions]
    ) -> None:
        check_argument(callable(app), "app", app, "must be an ASGI application")
        setup = Setup(**options)
        super().__init__(app, setup, None if tracker is None else setup.life_cycle(tracker))


def _head(scope: Scope) -> RequestHead:
    client, path, query = scope.get("client"), scope.get("raw_path"), scope.get("query_string")
    # In some servers `raw_path` has the query too.
    target = path.decode("latin-1").partition("?")[0] if path else quote(scope["path"])
    if query:
        target = f"{target}?{query.decode('latin-1')}"
    return RequestHead(scope["headers"], client[0] if client else None, scope.get("scheme", "http"), target)


def _ending_outside(outside: Outside, send: Send) -> Send:
    """Return *send* in a wrapper that gives the server the end of a response *outside* of the request."""

    # A plain function, because most messages are only passed on.
    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start" or message.get("more_body"):
            return send(message)
        return outside.call(send, message)

    return sending


def _tracking_page_view(page_views: PageViews, request_scope: RequestScope, scope: Scope, send: Send) -> Send:
    """Return *send* in a wrapper that tracks a page view, if the request is one, after the last message."""
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
            await track_page_view(page_views, request_scope, lambda: (tracker_of(scope), _title(scope)))

    return sending


async def _watch_here(
    app: ASGIApp, errors: RequestErrors, scope: Scope, receive: Receive, send: Send
) -> None:
    def found() -> tuple[Tracker, str | None]:
        return _tracker_in(scope), _title(scope)

    about = partial(_known_request, scope)
    await watch(app, scope, receive, send, errors=errors, request_scope=about, found=found)


def watched(app: ASGIApp, errors: RequestErrors) -> ASGIApp:
    """
    Return *app* in a layer that tracks the errors of its requests, in place of the middleware inside.

    A framework that answers the exceptions of its middleware stands between the two.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in _REQUESTS:
            await app(scope, receive, send)
            return
        scope[_IS_WATCHED] = True
        try:
            await _watch_here(app, errors, scope, receive, send)
        finally:
            # The middleware has closed it; this forgets what was found since then.
            _known_request(scope).close()

    return call


def _known_request(scope: Scope) -> RequestScope:
    """Return the `RequestScope` of *scope*; outside of the middleware, one that may be new."""
    return _request_scope(scope) or RequestScope(VisitorPolicy(), _head(scope), scope)


def _title(scope: Scope) -> str | None:
    """Return the template of the route if the framework has put it into the scope."""
    template = scope.get("path_template")
    if isinstance(template, str):
        return template_of(template)
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if path is None and scope.get("endpoint") is not None:
        # Starlette before 1.0 has the parameters in the scope, but not the route.
        path = ""
    if not isinstance(path, str):
        return None
    return template_behind_prefix(path, scope["path"], scope.get("path_params") or {}) or None


class TrackerLife(Protocol):
    """Starts and stops a tracker."""

    async def open(self) -> object:
        """Return the tracker."""
        ...

    async def stop(self) -> None:
        """Close the tracker."""
        ...


async def run_lifespan(
    app: ASGIApp, life_cycle: TrackerLife, scope: Scope, receive: Receive, send: Send
) -> None:
    """Start and stop the tracker with *app*, whether or not it speaks the lifespan protocol."""
    has_received = has_sent = False

    async def receiving() -> Message:
        nonlocal has_received
        has_received = True
        return await receive()

    async def sending(message: Message) -> None:
        nonlocal has_sent
        has_sent = True
        if message["type"].startswith("lifespan.shutdown."):
            # Before the message is sent: the server ends the process when it has it.
            await life_cycle.stop()
        await send(message)

    tracker = await life_cycle.open()
    if isinstance(tracker, Tracker) and hasattr(scope.get("app"), "state"):
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
