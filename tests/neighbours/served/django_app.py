"""A Django project whose views track, for WSGI and for ASGI; its answers are event ids."""

from __future__ import annotations

from uuid import uuid4

import django
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from snowplow_aio.integrations.asgi import SnowplowMiddleware
from tests.faults.servers.served.shop import CLOSE_SECONDS, COLLECTOR, PAGE, make_tracker

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
)
django.setup()

tracker = None if COLLECTOR is None else make_tracker()


async def _track() -> str:
    return str(uuid4()) if tracker is None else await tracker.track(PAGE)


async def awaited(request: HttpRequest) -> HttpResponse:
    """Track in an async view: under WSGI, in a loop of its own."""
    return HttpResponse(await _track())


def threaded(request: HttpRequest) -> HttpResponse:
    """Track in a sync view: under ASGI, from the one thread of all sync code to the loop that serves."""
    return HttpResponse(async_to_sync(_track)())


urlpatterns = [path("awaited", awaited), path("threaded", threaded)]

wsgi = get_wsgi_application()
asgi = get_asgi_application()
if tracker is not None:
    asgi = SnowplowMiddleware(asgi, tracker, timeout=CLOSE_SECONDS)
