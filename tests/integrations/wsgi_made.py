"""The WSGI side of a server, which checks that both sides keep the rules of PEP 3333."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.validate import validator

from snowplow_aio.integrations.wsgi import SnowplowMiddleware, tracker_of
from snowplow_aio.model.payload import Event
from tests.integrations.made import LOOK, Trackers

App = Callable[[Any, Any], Iterable[bytes]]


def environ_of(target: str = "/", headers: Mapping[str, str] = {}, **variables: Any) -> dict[str, Any]:
    """Return the environ of a GET request for *target*, with other *variables*."""
    path, _, query = target.partition("?")
    fields = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.50",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **fields,
        **variables,
    }


class Answered:
    """What a server has got from an application: status lines, headers, and the parts of the body."""

    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        """Begin the response."""
        if exc_info is not None and self.body:
            raise exc_info[1].with_traceback(exc_info[2])
        self.statuses.append(status)
        self.headers = headers
        return self.body.append


def ask(app: App, environ: dict[str, Any], *, is_checked: bool = True) -> Answered:
    """Send *app* one request, and close its answer as a server does."""
    answered = Answered()
    body = (validator(app) if is_checked else app)(environ, answered.start_response)
    try:
        for part in body:
            answered.body.append(part)
    finally:
        close(body)
    return answered


def close(body: Iterable[bytes]) -> None:
    """Close the body of a response as a server does."""
    end = getattr(body, "close", None)
    if end is not None:
        end()


def tracked_in_wsgi(environ: dict[str, Any], *events: Event, **options: Any) -> list[dict[str, str]]:
    """Return the events of an application that tracks *events* while it answers one request."""
    trackers = Trackers()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for event in events or (LOOK,):
            tracker_of(environ).track(event)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    ask(SnowplowMiddleware(app, trackers.blocking, **options), environ)
    return trackers.events
