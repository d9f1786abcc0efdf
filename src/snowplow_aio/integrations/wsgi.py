"""
The tracker in a WSGI application: Bottle, Pyramid, or any other.

`SnowplowMiddleware` makes the tracker in each process that serves, and adds the
visitor of a request to the events that are tracked during it. `tracker_of` finds the
tracker, and `page_url_of` is the address of the page of a request.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Unpack
from urllib.parse import quote, unquote

from snowplow_aio.abc import BlockingTracker
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.failures import FAILED
from snowplow_aio.integrations.page_views import PageViews, track_page_view_now
from snowplow_aio.integrations.per_process import BlockingTrackerSource, TrackerPerProcess
from snowplow_aio.integrations.request_errors import RequestErrors
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.request_scope import RequestScope, view_for
from snowplow_aio.integrations.setup_options import Setup, SetupOptions
from snowplow_aio.integrations.visitor import VisitorPolicy
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.runtime.losses import announce
from snowplow_aio.runtime.servers import faults_of_server
from snowplow_aio.runtime.throttled_log import QuietLogger, quiet_logger
from snowplow_aio.tracking.scope import bound_scope

log: QuietLogger = quiet_logger("snowplow_aio.integrations")

Environ = dict[str, Any]

# Every framework and server has types of its own for these.
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Any, Any], Iterable[bytes]]

# The names in the environ of a request: of the tracker, and of the `RequestScope`.
_TRACKER = "snowplow_aio.tracker"
REQUEST = "snowplow_aio.request"

# The name of the thread that answers it.
THREAD = "snowplow_aio.thread"

# What a path may have besides letters and digits. The rest is percent-encoded.
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"

# A parameter of Werkzeug's routes: ``<name>``, ``<int:name>`` or ``<any(a, b):name>``.
_PARAMETER = re.compile(r"<(?:[A-Za-z_]\w*(?:\(.*?\))?:)?([A-Za-z_]\w*)>")


def request_head(environ: Environ) -> RequestHead:
    """
    Return the head of the request of *environ*. Its headers are read when they are first needed.

    Args:
        environ: The environ of a WSGI server.
    """
    headers = [(name, value) for name, value in environ.items() if name[:5] == "HTTP_"]
    scheme = environ.get("wsgi.url_scheme", "http")
    return RequestHead(_Headers(headers), environ.get("REMOTE_ADDR"), scheme, _target(environ))


class _Headers(Iterable[tuple[bytes, bytes]]):
    """The headers of an environ, as they were sent. Several threads may read them."""

    __slots__ = ("_found",)

    def __init__(self, found: list[tuple[str, Any]]) -> None:
        self._found = found

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        for name, value in self._found:
            # A middleware may put anything there.
            if isinstance(value, str):
                header = name[5:].replace("_", "-").lower()
                yield header.encode("latin-1", "replace"), value.encode("latin-1", "replace")


def path_of(environ: Environ) -> str:
    """Return the path of a request, each of its bytes a character, as WSGI has it."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    return path or "/"


def _target(environ: Environ) -> str:
    """Return the path of a request, percent-encoded, with its query."""
    path = path_of(environ)
    sent = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    target = sent.partition("?")[0] if isinstance(sent, str) else None
    # A proxy may have taken a prefix away that is known here, and some servers and test clients tell nothing.
    if target is None or unquote(target, "latin-1") != path:
        target = quote(path.encode("latin-1", "replace"), safe=_PATH_CHARACTERS)
    query = environ.get("QUERY_STRING")
    return f"{target}?{query}" if query else target


def tracker_of(request: Any) -> BlockingTracker:
    """
    Return the tracker of the application.

    It tracks about the visitor of this request, and only what this one permits, wherever it is
    called: in a thread, in the body of a response, in code of another visitor's request. It
    binds nothing: what is tracked with another tracker is not affected. Call it where you
    track, and keep the result no longer than the request.

    Args:
        request: The environ of a request, or a request of a framework that has an `environ`.

    Raises:
        ConfigurationError: If there is no `SnowplowMiddleware` around the application.

    Example:
        >>> tracker_of(environ).track(AddToCart(sku="b-7", quantity=1))
    """
    environ = getattr(request, "environ", request)
    found = kept_tracker(environ)
    if found is None:
        raise ConfigurationError(
            "request: there is no tracker: the application must be inside of a SnowplowMiddleware"
        )
    return view_for(environ.get(REQUEST), found)


def kept_tracker(environ: Environ) -> BlockingTracker | None:
    """Return the tracker that a middleware has put into *environ*, or None."""
    return environ.get(_TRACKER)


def page_url_of(request: Any) -> str:
    """
    Return the address of the page that a request asks for, fit for `track_page_view`.

    It is the address as the outermost proxy saw it. A visitor can ask for any address,
    and the pipeline does not take all of them: an ``_sp`` parameter that cannot be read is
    left out, and a path or query that is too long is cut. If the host is unknown, it
    is the path alone.

    Args:
        request: The environ of a request, or a request of a framework that has an `environ`.

    Example:
        >>> tracker.track_page_view(page_url_of(environ))
    """
    environ = getattr(request, "environ", request)
    found: RequestScope | None = environ.get(REQUEST)
    return (found or RequestScope(VisitorPolicy(), request_head(environ), environ)).page_url()


class RequestMiddleware:
    """
    Binds a `RequestScope` while *app*, and the body of its response, answer a request.

    Each request has a context of its own. A thread of a server, whose context would live on,
    goes to the next visitor without anything of this one.

    Args:
        app: The application.

        setup: The options.

        process: Has the tracker.

        prefetches: Whether to ask hooks that are coroutine functions, before the application
            sees the request.
    """

    def __init__(
        self, app: WSGIApp, setup: Setup, process: TrackerPerProcess, *, prefetches: bool = True
    ) -> None:
        self.app: WSGIApp = app
        self.policy: VisitorPolicy = setup.policy
        self.page_views: PageViews | None = setup.page_views
        self.errors: RequestErrors | None = setup.errors
        self.prefetches: bool = prefetches and setup.policy.has_async_hooks
        self._process = process
        self._is_known = False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if not self._is_known:
            self._is_known = True
            for fault in faults_of_server(str(environ.get("SERVER_SOFTWARE", ""))):
                announce(log, "%s", fault)
        return _Answer(self, environ, self._process.tracker).start(start_response)


class SnowplowMiddleware(RequestMiddleware):
    """
    Gives an application its tracker, and adds the visitor of a request to the events tracked during it.

    These are the visitor's address, browser and language, the ids in the cookies of the
    JavaScript tracker and the collector, and the user id of the application. Events without
    a page get the address of the request and its referrer. Values of a subject that is bound
    inside, or given to `track`, go before them. The visitor is known until the body of the
    response is closed.

    Args:
        app: The application.

        make_tracker: A function that makes a `snowplow_aio.sync.Tracker`, called in each process
            that serves, at its first request. Or such a tracker. It is not closed: what is left
            is sent when the process ends.

        **options: See `SetupOptions`. Hooks are functions of the environ. A coroutine function
            is run in an event loop of its own, before the application sees the request.

    Raises:
        ConfigurationError: If an argument has the wrong type or an unknown value.
        InvalidEventError: If `platform` is no platform code.

    Example:
        >>> application = SnowplowMiddleware(application, make_tracker, trusted_proxies=["10.0.0.0/8"])
    """

    def __init__(
        self, app: WSGIApp, make_tracker: BlockingTrackerSource, **options: Unpack[SetupOptions]
    ) -> None:
        check_argument(callable(app), "app", app, "must be a WSGI application")
        setup = Setup(**options)
        super().__init__(app, setup, setup.per_process(make_tracker))


class _Answer:
    """A request from its head to the end of its response, in a context of its own."""

    def __init__(self, middleware: RequestMiddleware, environ: Environ, tracker: BlockingTracker) -> None:
        self._middleware = middleware
        self._environ = environ
        self._before = {name: environ[name] for name in (_TRACKER, REQUEST) if name in environ}
        self._scope = RequestScope(middleware.policy, request_head(environ), environ, environ.get(REQUEST))
        environ[_TRACKER], environ[REQUEST] = tracker, self._scope
        environ[THREAD] = threading.get_ident()
        self._tracker = tracker
        self._title: str | None = None
        # An application may take from the path what it has matched.
        self._path = path_of(environ).encode("latin-1", "replace").decode(errors="replace")
        self._is_page_view = False
        self.context: contextvars.Context = contextvars.copy_context()
        self.context.run(bound_scope.set, self._scope)

    def start(self, start_response: StartResponse) -> Iterable[bytes]:
        """Have the application answer; return the body of the response."""
        if self._middleware.prefetches:
            self.context.run(prefetch, self._scope)
        try:
            body = self.context.run(self._middleware.app, self._environ, self._noting(start_response))
            if not _is_sent_by_server(body, self._environ):
                return _SizedBody(body, self) if hasattr(body, "__len__") else _Body(body, self)
        except BaseException as error:
            self.fail(error)
            raise
        self.view()
        self.end()
        return body

    def _noting(self, start_response: StartResponse) -> StartResponse:
        """Return *start_response* in a wrapper that notes whether the response shows a page, or an error."""
        page_views, errors = self._middleware.page_views, self._middleware.errors
        if page_views is None and errors is None:
            return start_response

        def noting(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            # Flask forgets the route before the body is sent.
            self._title = title_of(self._environ)
            code = int(status[:3]) if status[:3].isdecimal() else 0
            if page_views is not None:
                kind = next((value for name, value in headers if name.lower() == "content-type"), "")
                method = self._environ.get("REQUEST_METHOD", "GET")
                self._is_page_view = page_views.match(self._path, method, code, kind)
            if errors is not None:
                errors.answered(self._scope, self.found, has_failed=code >= FAILED)
            return start_response(status, headers, *exc_info)

        return noting

    def found(self) -> tuple[BlockingTracker, str | None]:
        """Return the tracker, and the template of the route."""
        return self._tracker, self._title or title_of(self._environ)

    def view(self) -> None:
        """Track the page view, if the request is one, once."""
        page_views, is_page_view = self._middleware.page_views, self._is_page_view
        self._is_page_view = False
        if is_page_view and page_views is not None:
            self.context.run(track_page_view_now, page_views, self._scope, self.found)

    def fail(self, error: BaseException) -> None:
        """End the request after *error*: nobody has seen the page."""
        self._is_page_view = False
        errors = self._middleware.errors
        if errors is not None:
            self.context.run(errors.track, self._scope, self.found, error)
        self.end()

    def end(self) -> None:
        """Forget the request. In an application that this one is mounted in, it goes on."""
        self.context.run(self._scope.close)
        self._environ.update(self._before)


class _Body:
    """The body of a response, made within the context of its request."""

    def __init__(self, body: Iterable[bytes], answer: _Answer) -> None:
        self._body = body
        self._answer = answer
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        run = self._answer.context.run
        try:
            if self._parts is None:
                self._parts = run(iter, self._body)
            return run(next, self._parts)
        except StopIteration:
            self._answer.view()
            raise
        except BaseException as error:
            self._answer.fail(error)
            raise

    def close(self) -> None:
        """Close the body; the response has been sent."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                self._answer.context.run(close)
        except BaseException as error:
            self._answer.fail(error)
            raise
        finally:
            self._answer.view()
            self._answer.end()


class _SizedBody(_Body):
    """A body with a number of parts: of one, a server takes the length of the content."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type] # checked by whoever makes it


def _is_sent_by_server(body: object, environ: Environ) -> bool:
    """Return whether *body* is a file, which a server sends itself if it gets this very object."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, io.IOBase) or (isinstance(wrapper, type) and isinstance(body, wrapper))


def prefetch(scope: RequestScope) -> None:
    """Ask the hooks of *scope* that are coroutine functions, in an event loop of their own."""
    context = contextvars.copy_context()

    def run() -> None:
        fetching = scope.prefetch()
        try:
            # The loop that the application has set for this thread, and perhaps closed, stays as it is.
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(fetching, context=context)
        except RuntimeError as error:
            # Greenlets share a thread, and a thread runs one loop. Nobody has given consent.
            for hook in scope.policy.hooks:
                hook.complain("could not be asked", error)
        finally:
            fetching.close()

    if _is_loop_running():
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    else:
        run()


def _is_loop_running() -> bool:
    """Return whether the caller's thread runs an event loop, as in a notebook or an async test."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def title_of(environ: Environ) -> str | None:
    """Return the template of the route if the application is one of Werkzeug's, like Flask."""
    request = environ.get("werkzeug.request")
    rule = getattr(getattr(request, "url_rule", None), "rule", None)
    if not isinstance(rule, str):
        return None
    prefix: str = getattr(request, "root_path", "")
    return prefix.rstrip("/") + template_of_rule(rule)


def template_of_rule(rule: str) -> str:
    """Return *rule*, a route of Werkzeug's or Django's, with its parameters as in all other templates."""
    return _PARAMETER.sub(r"{\1}", rule)
