"""A Django project: views of every kind, and middleware on both sides of ours."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import django
from django.conf import settings
from django.contrib.auth import get_user_model, logout
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import Context, Template
from django.urls import include, path, re_path
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import SimpleLazyObject
from django.views import View

from snowplow_aio.integrations.django import SnowplowMiddleware, tracker_of
from tests.integrations.places import at

OURS = f"{SnowplowMiddleware.__module__}.{SnowplowMiddleware.__qualname__}"

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "of a test"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        MIDDLEWARE=[
            f"{__name__}.outside",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            OURS,
            f"{__name__}.inside",
            f"{__name__}.Answering",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY="of a test",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        SNOWPLOW_AIO={"COLLECTOR": "http://127.0.0.1:9"},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=True,
    )
    django.setup()


def _both(around: Callable[[HttpRequest], None]) -> Any:
    """Return a middleware, for both kinds of views, that calls *around* after the view."""

    @sync_and_async_middleware
    def middleware(get_response: Any) -> Any:
        if inspect.iscoroutinefunction(get_response):

            async def answer_async(request: HttpRequest) -> Any:
                response = await get_response(request)
                around(request)
                return response

            return answer_async

        def answer(request: HttpRequest) -> Any:
            response = get_response(request)
            around(request)
            return response

        return answer

    return middleware


def _outside(request: HttpRequest) -> None:
    if request.path == "/outside":
        tracker_of(request).track(at("middleware outside"))


def _inside(request: HttpRequest) -> None:
    if request.path == "/inside":
        tracker_of().track(at("middleware inside"))


outside, inside = _both(_outside), _both(_inside)


class KnownError(Exception):
    """An error that a middleware answers."""


class Answering:
    """Answers `KnownError`, with the status that it has."""

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, KnownError):
            return None
        tracker_of().track(at("process_exception"))
        return HttpResponse(status=exception.args[0])


# --- views


def view(_request: HttpRequest) -> HttpResponse:
    tracker_of().track(at("view"))
    return HttpResponse("<p>", content_type="text/html; charset=utf-8")


async def async_view(_request: HttpRequest) -> HttpResponse:
    tracker_of().track_nowait(at("async view"))
    return HttpResponse("<p>")


class ClassView(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        tracker_of(request).track(at("class of a view"))
        return HttpResponse()


def quiet(_request: HttpRequest, **_parameters: Any) -> HttpResponse:
    return HttpResponse("<p>")


def fails(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("no database")


async def fails_async(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("no database")


def is_known(_request: HttpRequest, status: int = 500) -> HttpResponse:
    raise KnownError(status)


def is_not_there(_request: HttpRequest) -> HttpResponse:
    raise Http404


def is_forbidden(_request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def failed(_request: HttpRequest) -> HttpResponse:
    tracker_of().track(at("handler of an error"))
    return HttpResponse("sorry", status=500)


def not_found(_request: HttpRequest, exception: Exception) -> HttpResponse:
    tracker_of().track(at("handler of not found"))
    return HttpResponse("nothing", status=404)


def template(_request: HttpRequest) -> HttpResponse:
    def track() -> str:
        tracker_of().track(at("template"))
        return ""

    return HttpResponse(Template("{{ track }}").render(Context({"track": track})))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def body() -> Generator[str]:
        try:
            tracker_of().track(at("stream"))
            yield "x"
        finally:
            tracker_of(request).track(at("end of a stream"))

    return StreamingHttpResponse(body(), content_type="text/html")


async def stream_async(request: HttpRequest) -> StreamingHttpResponse:
    async def body() -> AsyncGenerator[str]:
        try:
            tracker_of().track_nowait(at("async stream"))
            yield "x"
        finally:
            tracker_of(request).track_nowait(at("end of an async stream"))

    return StreamingHttpResponse(body())


def stream_that_fails(_request: HttpRequest) -> StreamingHttpResponse:
    def body() -> Generator[str]:
        yield "x"
        raise RuntimeError("no database")

    return StreamingHttpResponse(body())


threads: list[threading.Thread] = []
goes_on = threading.Event()


def threads_of_view(request: HttpRequest) -> HttpResponse:
    def started(run: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def later() -> None:
        goes_on.wait()
        tracker_of(request).track(at("thread that goes on"))

    started(lambda: tracker_of(request).track(at("own thread"))).join()
    threads.append(started(later))
    return HttpResponse()


def user(request: HttpRequest) -> HttpResponse:
    tracker_of(request).track(at("user"))
    return HttpResponse()


async def user_async(request: HttpRequest) -> HttpResponse:
    if "asked" in request.GET:
        await request.auser()
    tracker_of(request).track_nowait(at("user"))
    return HttpResponse()


def hello(request: HttpRequest) -> HttpResponse:
    tracker_of(request).track(at("hello"))
    return HttpResponse(f"hello {request.user.get_username()}")


def token(request: HttpRequest) -> HttpResponse:
    # As middleware for tokens does it: the session knows another user, or none.
    request.user = SimpleLazyObject(lambda: get_user_model()(pk=42))  # type: ignore[assignment]
    tracker_of(request).track(at("token"))
    return HttpResponse()


def log_out(request: HttpRequest) -> HttpResponse:
    assert request.user.is_authenticated
    logout(request)
    tracker_of(request).track(at("logged out"))
    return HttpResponse()


handler404, handler500 = f"{__name__}.not_found", f"{__name__}.failed"

urlpatterns = [
    path("", view),
    path("async", async_view),
    path("hello", hello),
    path("log-out", log_out),
    path("token", token),
    path("class", ClassView.as_view()),
    path("outside", quiet),
    path("inside", quiet),
    path("fails", fails),
    path("fails/async", fails_async),
    path("known", is_known),
    path("known/<int:status>", is_known),
    path("not-there", is_not_there),
    path("forbidden", is_forbidden),
    path("template", template),
    path("stream", stream),
    path("stream/async", stream_async),
    path("stream/fails", stream_that_fails),
    path("threads", threads_of_view),
    path("user", user),
    path("user/async", user_async),
    path("shelves/<slug:shelf>/", include([path("books/<int:book>", quiet)])),
    re_path(r"^articles/(?P<year>[0-9]{4})/$", quiet),
]
