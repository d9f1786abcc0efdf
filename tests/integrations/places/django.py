"""Django, under WSGI and under ASGI, with plain and async views in both."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from django.core.asgi import get_asgi_application
from django.test import Client, override_settings

from tests.integrations import django_project
from tests.integrations.made import Trackers, http_scope, request

_PATHS = {
    "/": "view",
    "/async": "async view",
    "/class": "class of a view",
    "/outside": "middleware outside",
    "/inside": "middleware inside",
    "/fails": "handler of an error",
    "/known": "process_exception",
    "/nowhere": "handler of not found",
    "/template": "template",
}
_PLACES_OF_BOTH = frozenset(_PATHS.values())
PLACES = _PLACES_OF_BOTH | {
    "stream",
    "end of a stream",
    "async stream",
    "end of an async stream",
    "own thread",
    "thread that goes on",
}


def setting(trackers: Trackers, **options: Any) -> dict[str, Any]:
    """Return the setting of a project with these *options*."""
    return {"TRACKER": trackers.blocking, **{name.upper(): value for name, value in options.items()}}


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`: half of the places under WSGI, half under ASGI."""
    with override_settings(SNOWPLOW_AIO=setting(trackers, **options)):
        await asyncio.to_thread(_visit_wsgi, headers)
        await _visit_asgi(headers)
        django_project.goes_on.set()
        for thread in django_project.threads:
            await asyncio.to_thread(thread.join)
    django_project.threads.clear()
    django_project.goes_on = threading.Event()


def _visit_wsgi(headers: dict[str, str]) -> None:
    client = Client(raise_request_exception=False)
    for path in ("/", "/async", "/class", "/outside", "/known", "/nowhere", "/stream", "/threads"):
        response = client.get(path, headers=headers)
        assert b"".join(response) is not None
        response.close()


async def _visit_asgi(headers: dict[str, str]) -> None:
    app = get_asgi_application()
    for path in ("/inside", "/fails", "/template", "/stream/async"):
        await request(app, http_scope(path, headers=headers))
