"""
The tracker in a Flask application.

`init_app` gives an application its tracker. `tracker_of` finds it in a view, and
anywhere else in the application; `page_url_of` is the address of the page that a
request asks for.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

from snowplow_aio.abc import BlockingTracker
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations.page_views import PageViews
from snowplow_aio.integrations.per_process import BlockingTrackerSource, TrackerPerProcess
from snowplow_aio.integrations.request_errors import RequestErrors
from snowplow_aio.integrations.request_scope import RequestScope, view_for
from snowplow_aio.integrations.setup_options import Setup, SetupOptions
from snowplow_aio.integrations.visitor import VisitorPolicy
from snowplow_aio.integrations.wsgi import (
    REQUEST,
    THREAD,
    RequestMiddleware,
    kept_tracker,
    page_url_of,
    prefetch,
    request_head,
    title_of,
)
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.runtime.optional import Needs

with Needs("flask"):
    from flask import (
        Flask,
        Request,
        current_app,
        got_request_exception,
        has_app_context,
        has_request_context,
    )
    from flask import request as current_request

__all__ = ["PageViews", "init_app", "page_url_of", "tracker_of"]

# The name in `Flask.extensions`.
_EXTENSION = "snowplow_aio"


@dataclass(frozen=True, slots=True)
class _Extension:
    """What an application has of ours."""

    process: TrackerPerProcess
    policy: VisitorPolicy


def init_app(app: Flask, make_tracker: BlockingTrackerSource, **options: Unpack[SetupOptions]) -> None:
    """
    Give *app* a tracker, and add the visitor of a request to the events that are tracked during it.

    The tracker is made in each process that serves, when it is first needed there. What is
    left is sent when the process ends.

    Args:
        app: The application. Middleware that is put around its `wsgi_app` later is outside of ours.

        make_tracker: A function that makes a `snowplow_aio.sync.Tracker`. Or such a tracker.

        **options: See `SetupOptions`. Hooks are functions of the `flask.Request`, and are asked
            while Flask knows the request: `flask.session` and `flask.g` can be used. A coroutine
            function is asked before other functions of `before_request`, in a loop of its own.

    Raises:
        ConfigurationError: If an argument has the wrong type or an unknown value, or if *app* has a
            tracker already.
        InvalidEventError: If `platform` is no platform code.

    Example:
        >>> app = Flask("shop")
        >>> init_app(app, make_tracker)
    """
    check_argument(isinstance(app, Flask), "app", app, "must be a Flask application")
    check_argument(_EXTENSION not in app.extensions, "app", app, "must not have a tracker already")
    for name in ("user_id", "consent"):
        if callable(hook := options.get(name)):
            options[name] = _of_environ(app, hook)
    setup = Setup(**options)
    process, policy = setup.per_process(make_tracker), setup.policy
    app.extensions[_EXTENSION] = _Extension(process, policy)
    app.wsgi_app = RequestMiddleware(  # type: ignore[method-assign] # as Flask documents
        app.wsgi_app, setup, process, prefetches=False
    )
    if policy.has_async_hooks:
        app.before_request_funcs.setdefault(None, []).insert(0, _ask_early)
    if policy.hooks:
        app.teardown_request(_ask_late)
    if setup.errors is not None:
        _watch(app, process, setup.errors)


def _watch(app: Flask, process: TrackerPerProcess, errors: RequestErrors) -> None:
    """Have *errors* know of all exceptions of requests of *app*, also of those that a handler answers."""
    handle: Callable[[Exception], Any] = app.handle_user_exception

    def noting(e: Exception) -> Any:
        if (scope := current_request.environ.get(REQUEST)) is not None:
            errors.note(scope, e)
        return handle(e)

    def failed(_app: Flask, exception: BaseException, **_: Any) -> None:
        environ = current_request.environ
        if (scope := environ.get(REQUEST)) is not None:
            errors.track(scope, lambda: (process.tracker, title_of(environ)), exception)

    app.handle_user_exception = noting  # type: ignore[method-assign] # Flask has no signal for these
    got_request_exception.connect(failed, app, weak=False)


def _of_environ(app: Flask, hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return *hook*, a function of the request, as one of the environ."""

    def request_of(environ: dict[str, Any]) -> Request:
        # Flask's own, which has read the form perhaps. A middleware may track before Flask has made it.
        found: Request = environ.get("werkzeug.request") or app.request_class(environ, populate_request=False)
        return found

    if any(map(inspect.iscoroutinefunction, (hook, type(hook).__call__))):

        async def ask_and_wait(environ: dict[str, Any]) -> Any:
            return await hook(request_of(environ))

        return ask_and_wait
    return lambda environ: hook(request_of(environ))


def _ask_early() -> None:
    """Ask the hooks that are coroutine functions."""
    if (scope := current_request.environ.get(REQUEST)) is not None:
        prefetch(scope)


def _ask_late(_error: BaseException | None) -> None:
    """Ask the hooks that have not been asked, while Flask still knows the request."""
    environ = current_request.environ
    # In another thread it is a copy of the request that ends.
    if (scope := environ.get(REQUEST)) is not None and environ.get(THREAD) == threading.get_ident():
        scope.forget_request()


def tracker_of(app_or_request: Flask | Request | None = None) -> BlockingTracker:
    """
    Return the tracker of an application.

    Within a request it tracks about the visitor of this one, and only what this visitor permits.
    Given a request, it does so wherever it is called: in a thread, in the body of a response, in
    code of another visitor's request. It binds nothing: what is tracked with another tracker is
    not affected. Call it where you track, and keep the result no longer than the request.

    Args:
        app_or_request: The application, or a request; None for `flask.current_app` and, within a
            request, `flask.request`.

    Raises:
        ConfigurationError: If the application has no tracker, or if there is no application.

    Example:
        >>> tracker_of().track(AddToCart(sku="b-7", quantity=1))
    """
    if isinstance(app_or_request, Flask):
        return _checked(app_or_request.extensions.get(_EXTENSION))
    own: _Extension | None = current_app.extensions.get(_EXTENSION) if has_app_context() else None
    if app_or_request is None and not has_request_context():
        return _checked(own)
    environ = (current_request if app_or_request is None else app_or_request).environ
    found = kept_tracker(environ)
    if found is None or (app_or_request is None and own is not None):
        found = _checked(own)
    scope: RequestScope | None = environ.get(REQUEST)
    if scope is None and own is not None:
        # The request of a test or a job, which has not come through the middleware.
        scope = RequestScope(own.policy, request_head(environ), environ)
    return view_for(scope, found)


def _checked(extension: _Extension | None) -> BlockingTracker:
    if extension is None:
        raise ConfigurationError(
            "app_or_request: there is no tracker: call `init_app` for the application, and `tracker_of` "
            "within a request or an `app.app_context()`, or with the application"
        )
    return extension.process.tracker
