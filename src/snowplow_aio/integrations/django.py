"""
The tracker in a Django project.

`SnowplowMiddleware` stands in ``MIDDLEWARE``, and the setting ``SNOWPLOW_AIO`` says how events are
tracked. `tracker_of` finds the tracker, in a request and everywhere else; `page_url_of` is the
address of the page that a request asks for.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from functools import partial, wraps
from typing import Any

from snowplow_aio.abc import BlockingTracker
from snowplow_aio.integrations.asgi import run_lifespan
from snowplow_aio.integrations.django_settings import Installed, installed
from snowplow_aio.integrations.failures import FAILED
from snowplow_aio.integrations.page_views import PageViews, track_page_view_now
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.request_scope import RequestScope, view_for
from snowplow_aio.integrations.visitor import VisitorPolicy
from snowplow_aio.integrations.wsgi import REQUEST, prefetch, request_head, template_of_rule
from snowplow_aio.model.subject import Subject
from snowplow_aio.runtime.losses import announce
from snowplow_aio.runtime.optional import Needs
from snowplow_aio.runtime.servers import faults_of_server
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.tracking.scope import bound_scope, current_scope, held

with Needs("django"):
    from asgiref.sync import markcoroutinefunction
    from django.contrib.admindocs.utils import replace_named_groups
    from django.contrib.auth import get_user
    from django.core.handlers.base import BaseHandler
    from django.core.signals import got_request_exception
    from django.utils.functional import SimpleLazyObject, empty

__all__ = [
    "PageViews",
    "SnowplowMiddleware",
    "get_domain_user_id",
    "page_url_of",
    "tracker_of",
    "with_lifespan",
]

log: QuietLogger = quiet_logger("snowplow_aio.integrations")

_throttled = ThrottledLog(log)

# Django's own middleware for users. To import it would import models, before Django is ready for them.
_AUTHENTICATION = "django.contrib.auth.middleware"

# The names of ours at a request.
_SCOPE = "_snowplow_scope"
_IS_OVER = "_snowplow_is_over"


def user_id_of(request: Any) -> str | None:
    """
    Return the primary key of the user who is logged in, as text, or None.

    It is asked for when an event is tracked. Where no query may be made, in an async view and after
    the request, only a user whom somebody has looked up before is known.

    Args:
        request: The request.
    """
    user = getattr(request, "user", None)
    if isinstance(user, SimpleLazyObject) and user._wrapped is empty:  # noqa: SLF001 - Django asks so itself
        user = _looked_up(request, user)
    return str(user.pk) if user is not None and user.is_authenticated else None


def _looked_up(request: Any, lazy: Any) -> Any:
    """Return the user of a request whom nobody has looked up yet; None if that cannot be done here."""
    if getattr(request, _IS_OVER, False):
        return None
    if _is_loop_running():
        if not hasattr(request, "_acached_user"):
            message = "an async view has not looked its user up: `await request.auser()` before it tracks"
            _throttled.log("user", logging.WARNING, message)
        return getattr(request, "_acached_user", None)
    if getattr(lazy._setupfunc, "__module__", "") != _AUTHENTICATION:  # noqa: SLF001 - likewise
        # Another middleware has its own idea of who the user is, such as by a token.
        return lazy
    session = request.session
    was_accessed = session.accessed
    try:
        # Not by `request.user`: a view that uses that later would not be seen to depend on the session.
        return get_user(request)
    finally:
        # A response does not depend on the user only because we have asked who that is.
        session.accessed = was_accessed


def _is_loop_running() -> bool:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def get_domain_user_id(request: Any, prefix: str = "_sp_") -> str | None:
    """
    Return the domain user id of the visitor, from the cookie of the JavaScript tracker, or None.

    Args:
        request: The request.

        prefix: The ``cookieName`` of the JavaScript tracker.

    Example:
        >>> get_domain_user_id(request)
        'c7aadf5c60a5dff9'
    """
    return Subject.from_cookies(request.COOKIES, prefix=prefix).domain_user_id


def tracker_of(request: Any = None) -> BlockingTracker:
    """
    Return the tracker of this process.

    Given a request, it tracks about the visitor of this one, and only what this visitor permits,
    wherever it is called: in a thread, in the body of a response, in code of another visitor's
    request. It binds nothing. Call it where you track, and keep the result no longer than the request.

    Args:
        request: The request; None in a signal, a command or a job. Within a request, events
            are about its visitor in either case.

    Raises:
        ImproperlyConfigured: If the setting ``SNOWPLOW_AIO`` is missing or wrong.

    Example:
        >>> tracker_of(request).track(AddToCart(sku="b-7", quantity=1))
    """
    found = installed(user_id_of)
    here = current_scope()
    if request is not None:
        scope: RequestScope | None = _scope_of(request, found.setup.policy)
    else:
        scope = here if isinstance(here, RequestScope) else None
    return view_for(scope, found.process.tracker)


def page_url_of(request: Any) -> str:
    """
    Return the address of the page that a request asks for, fit for `track_page_view`.

    It is the address as the outermost proxy saw it. A visitor can ask for any address,
    and the pipeline does not take all of them: an ``_sp`` parameter that cannot be read is
    left out, and a path or query that is too long is cut. If the host is unknown, it
    is the path alone.

    Args:
        request: The request.

    Example:
        >>> tracker_of(request).track_page_view(page_url_of(request))
    """
    return _scope_of(request, VisitorPolicy()).page_url()


def _scope_of(request: Any, policy: VisitorPolicy) -> RequestScope:
    """Return the `RequestScope` of *request*; a new one outside of the middleware."""
    # The Django REST framework has a request of its own around Django's.
    request = getattr(request, "_request", request)
    found: RequestScope | None = getattr(request, _SCOPE, None)
    return found or RequestScope(policy, _head(request), request)


def _head(request: Any) -> RequestHead:
    # Django has decoded the path, in the environ as well. The scheme is what its settings make of a proxy.
    path = request.path.encode("utf-8", "surrogateescape").decode("latin-1")
    environ = {**request.META, "wsgi.url_scheme": request.scheme, "SCRIPT_NAME": "", "PATH_INFO": path}
    raw_path = getattr(request, "scope", {}).get("raw_path")
    if raw_path:
        environ["RAW_URI"] = raw_path.decode("latin-1")
    return request_head(environ)


class SnowplowMiddleware:
    """
    Adds the visitor of a request to the events that are tracked during it, as ``SNOWPLOW_AIO`` says.

    It stands in ``MIDDLEWARE``, under WSGI and ASGI, for plain and async views; after
    `AuthenticationMiddleware` where a hook that is a coroutine function needs the user. The tracker
    is made in each process that serves, when it is first needed there. What is left is sent when
    the process ends.

    Raises:
        ImproperlyConfigured: If the setting is missing, has an unknown name, or a wrong value.

    Example:
        >>> MIDDLEWARE = [..., "snowplow_aio.integrations.django.SnowplowMiddleware"]
        >>> SNOWPLOW_AIO = {"COLLECTOR": "https://collector.example.com", "PAGE_VIEWS": True}
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._is_async: bool = inspect.iscoroutinefunction(get_response)
        self._is_known = False
        if self._is_async:
            markcoroutinefunction(self)
        if installed(user_id_of).setup.errors is not None:
            _watch_errors()

    def __call__(self, request: Any) -> Any:
        """Answer one request."""
        if not self._is_known:
            self._is_known = True
            software = str(request.META.get("SERVER_SOFTWARE", ""))
            for fault in faults_of_server(software, has_lifespan=_Life.is_open):
                announce(log, "%s", fault)
        answer = _Answer(installed(user_id_of), request)
        return self._answer_async(answer) if self._is_async else self._answer(answer)

    def _answer(self, answer: _Answer) -> Any:
        if answer.prefetches:
            prefetch(answer.scope)
        # Not in a context of its own: what Django and others bind must stay bound for the middleware outside.
        before = bound_scope.get()
        bound_scope.set(answer.scope)
        try:
            return answer.answered(self._get_response(answer.request))
        except BaseException as error:
            answer.fail(error)
            raise
        finally:
            bound_scope.set(before)

    async def _answer_async(self, answer: _Answer) -> Any:
        if answer.prefetches:
            await answer.scope.prefetch()
        before = bound_scope.get()
        bound_scope.set(answer.scope)
        try:
            return answer.answered(await self._get_response(answer.request))
        except BaseException as error:
            answer.fail(error)
            raise
        finally:
            bound_scope.set(before)


class _Life:
    """The tracker of a process whose server tells when the application starts and ends."""

    is_open = False

    async def open(self) -> BlockingTracker:
        """Make the tracker."""
        _Life.is_open = True
        return installed(user_id_of).process.tracker

    async def stop(self) -> None:
        """Send the last events, and close the tracker."""
        if _Life.is_open:
            _Life.is_open = False
            process = installed(user_id_of).process
            await asyncio.to_thread(process.tracker.close, process.timeout)


def with_lifespan(application: Callable[[Any, Any, Any], Awaitable[None]]) -> Any:
    """
    Return an ASGI application that closes the tracker when its server stops.

    Django's own does not listen to that. A server that ends its process in another way than Python
    does, as uvicorn, would lose the events of the last moments.

    Args:
        application: The application, such as `get_asgi_application()`.

    Example:
        >>> application = with_lifespan(get_asgi_application())
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(application, _Life(), scope, receive, send)
        else:
            await application(scope, receive, send)

    return app


class _Answer:
    """A request from its head to the end of its response."""

    def __init__(self, of: Installed, request: Any) -> None:
        self.request = request
        self._setup = of.setup
        self._process = of.process
        # What does not know Django may stand around it, or this middleware may be listed twice.
        outside = getattr(request, "environ", None) or getattr(request, "scope", {})
        self._outer: RequestScope | None = getattr(request, _SCOPE, None)
        outer = self._outer or outside.get(REQUEST)
        self.scope = RequestScope(self._setup.policy, _head(request), request, outer)
        self.prefetches: bool = self._setup.policy.has_async_hooks
        self._is_page_view = False
        setattr(request, _SCOPE, self.scope)

    def found(self) -> tuple[BlockingTracker, str | None]:
        """Return the tracker, and the template of the route."""
        return self._process.tracker, _title(self.request)

    def answered(self, response: Any) -> Any:
        """Have the rest of *response*, its body and its end, know the visitor."""
        page_views, errors = self._setup.page_views, self._setup.errors
        if errors is not None:
            errors.answered(self.scope, self.found, has_failed=response.status_code >= FAILED)
        if page_views is not None:
            kind, request = response.headers.get("Content-Type", ""), self.request
            self._is_page_view = page_views.match(request.path, request.method, response.status_code, kind)
        # A server may send a file itself, if it gets this very object.
        if response.streaming and getattr(response, "file_to_stream", None) is None:
            within = self._within_async if response.is_async else self._within
            response.streaming_content = within(response.streaming_content)
        closers = response._resource_closers  # noqa: SLF001 - Django has no other way to know the end
        if response.streaming:
            closers[:] = [partial(self._held, close) for close in closers]
        closers.append(_End(self.end))
        return response

    def _held(self, call: Callable[[], object]) -> None:
        with held(self.scope):
            call()

    def _within(self, parts: Iterable[Any]) -> Generator[Any]:
        """Yield *parts*, each made within the scope of the request."""
        try:
            steps = iter(parts)
            while True:
                with held(self.scope):
                    part = next(steps, self)
                if part is self:
                    return
                yield part
        except Exception as error:
            self._fail(error)
            raise

    async def _within_async(self, parts: AsyncIterable[Any]) -> AsyncGenerator[Any]:
        try:
            steps = aiter(parts)
            while True:
                with held(self.scope):
                    part = await anext(steps, self)
                if part is self:
                    return
                yield part
        except Exception as error:
            self._fail(error)
            raise

    def fail(self, error: BaseException) -> None:
        """End the request after *error*."""
        self._fail(error)
        self.end()

    def _fail(self, error: BaseException) -> None:
        # Nobody has seen the page.
        self._is_page_view = False
        if self._setup.errors is not None:
            self._setup.errors.track(self.scope, self.found, error)

    def end(self) -> None:
        """Track the page view, if the request is one; forget the request."""
        page_views, is_page_view = self._setup.page_views, self._is_page_view
        self._is_page_view = False
        if is_page_view and page_views is not None:
            with held(self.scope):
                track_page_view_now(page_views, self.scope, self.found)
        setattr(self.request, _IS_OVER, True)
        self.scope.close()
        if self._outer is not None:
            setattr(self.request, _SCOPE, self._outer)


class _End:
    """
    Calls *end* at the end of a response.

    Django's cache pickles responses. One that comes out of the cache belongs to other requests.
    """

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def __call__(self) -> None:
        self._end()

    def __reduce__(self) -> tuple[type[_End], tuple[Callable[[], None]]]:
        return _End, (_nothing,)


def _nothing() -> None:
    """Do nothing."""


def _title(request: Any) -> str | None:
    """Return the template of the route."""
    route = getattr(getattr(request, "resolver_match", None), "route", None)
    if not isinstance(route, str):
        return None
    if "(?P<" in route:
        # Of `re_path`.
        route = replace_named_groups(route)
    route = route.replace("^", "").replace("\\Z", "").replace("$", "").replace("\\", "")
    prefix = str(request.META.get("SCRIPT_NAME", "")).rstrip("/")
    return f"{prefix}/{template_of_rule(route).lstrip('/')}"


# --- errors


_is_watching = False


def _watch_errors() -> None:
    """Have the errors of requests known, also those that a middleware or a handler of the project answers."""
    global _is_watching  # noqa: PLW0603 - Django's handlers are one class
    got_request_exception.connect(_failed, dispatch_uid="snowplow_aio")
    if _is_watching:
        return
    _is_watching = True
    handle = BaseHandler.process_exception_by_middleware

    @wraps(handle)
    def noting(self: Any, exception: Exception, request: Any) -> Any:
        errors, scope = installed(user_id_of).setup.errors, getattr(request, _SCOPE, None)
        if errors is not None and scope is not None:
            errors.note(scope, exception)
        return handle(self, exception, request)

    # The first middleware that answers keeps an exception from all others, and Django sends no signal then.
    BaseHandler.process_exception_by_middleware = noting  # type: ignore[method-assign]


def _failed(sender: Any = None, request: Any = None, **_: Any) -> None:  # noqa: ARG001 - a receiver of Django
    error, scope = sys.exc_info()[1], getattr(request, _SCOPE, None)
    found = installed(user_id_of)
    if error is not None and scope is not None and found.setup.errors is not None:
        found.setup.errors.track(scope, lambda: (found.process.tracker, _title(request)), error)
