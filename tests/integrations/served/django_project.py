"""A Django project, for WSGI, ASGI and `runserver`, whose views track; their answers are event ids."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from snowplow_aio.integrations.django import tracker_of, with_lifespan
from tests.faults.servers.served.shop import COLLECTOR, PAGE, WORK_SECONDS
from tests.integrations.served.blocking_app import make_tracker

_OURS = ["snowplow_aio.integrations.django.SnowplowMiddleware"]

# As a program this is one module, and as the place of the views another.
if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DEBUG=False,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware", *([] if COLLECTOR is None else _OURS)],
        ROOT_URLCONF="tests.integrations.served.django_project",
        SECRET_KEY="for tests",
        SNOWPLOW_AIO={"TRACKER": make_tracker},
    )
    django.setup()


def view(request: Any) -> HttpResponse:
    """Track in a plain view."""
    time.sleep(WORK_SECONDS)
    return HttpResponse(str(uuid4()) if COLLECTOR is None else tracker_of(request).track(PAGE))


async def async_view(request: Any) -> HttpResponse:
    """Track in an async view."""
    return HttpResponse(str(uuid4()) if COLLECTOR is None else tracker_of(request).track_nowait(PAGE))


def stream(request: Any) -> StreamingHttpResponse:
    """Track in the body of a response."""

    def body() -> Iterator[str]:
        yield str(uuid4()) if COLLECTOR is None else tracker_of(request).track(PAGE)

    # The length of an event id. Visitors that keep their connection ask for it.
    return StreamingHttpResponse(body(), headers={"Content-Length": "36"})


urlpatterns = [path("view", view), path("async", async_view), path("stream", stream)]

app = get_wsgi_application()
asgi = with_lifespan(get_asgi_application())
bare = get_asgi_application()

if __name__ == "__main__":
    execute_from_command_line(["manage.py", "runserver", *sys.argv[1:]])
