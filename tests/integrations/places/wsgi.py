"""Plain WSGI, without a framework."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from snowplow_aio.integrations.wsgi import SnowplowMiddleware, tracker_of
from tests.integrations.made import Trackers
from tests.integrations.places import at
from tests.integrations.wsgi_made import ask, close, environ_of

PLACES = frozenset(
    {
        "application",
        "own thread",
        "executor",
        "context of the request, in a thread",
        "thread that goes on",
        "write",
        "stream",
        "end of a stream",
        "close of a stream",
        "end of a stream that nobody reads",
        "after an error in a stream",
        "middleware inside, before",
        "middleware inside, after",
        "middleware inside, after an error",
        "middleware outside, after",
        "middleware outside, after an error",
        "middleware outside, after the response",
    }
)


class Places:
    """An application, with a middleware inside and one outside of ours."""

    def __init__(self, trackers: Trackers, **options: Any) -> None:
        self.goes_on = threading.Event()
        self.threads: list[threading.Thread] = []
        self.middleware = SnowplowMiddleware(self.inside, trackers.blocking, **options)

    def in_thread(self, run: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def everywhere(self, environ: dict[str, Any]) -> None:
        tracker = tracker_of(environ)
        tracker.track(at("application"))
        self.in_thread(lambda: tracker_of(environ).track(at("own thread"))).join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: tracker_of(environ).track(at("executor"))).result()
        context = contextvars.copy_context()
        inherited = "context of the request, in a thread"
        self.in_thread(lambda: context.run(tracker.track, at(inherited))).join()

        def later() -> None:
            self.goes_on.wait()
            tracker_of(environ).track(at("thread that goes on"))

        self.threads.append(self.in_thread(later))

    def application(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/":
            self.everywhere(environ)
        elif path == "/fails":
            raise RuntimeError("no database")
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/write":
            write(b"x")
            tracker_of(environ).track(at("write"))
        elif path.startswith("/stream"):
            return Stream(environ, path)
        return [b"x"]

    def inside(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        tracker, is_here = tracker_of(environ), environ["PATH_INFO"] == "/inside"
        if is_here:
            tracker.track(at("middleware inside, before"))
        try:
            body = self.application(environ, start_response)
        except RuntimeError:
            tracker.track(at("middleware inside, after an error"))
            raise
        if is_here:
            tracker.track(at("middleware inside, after"))
        return body

    def outside(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            body = self.middleware(environ, start_response)
        except RuntimeError:
            tracker_of(environ).track(at("middleware outside, after an error"))
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b""]
        if environ["PATH_INFO"] == "/outside":
            tracker_of(environ).track(at("middleware outside, after"))
        return body


class Stream:
    """A body that is made while it is sent."""

    def __init__(self, environ: dict[str, Any], path: str) -> None:
        self.environ = environ
        self.path = path
        self.parts = self._parts()

    def __iter__(self) -> Generator[bytes]:
        return self.parts

    def _parts(self) -> Generator[bytes]:
        # The tracker finds the visitor by itself, too.
        tracker = tracker_of(self.environ)
        try:
            if self.path == "/stream":
                tracker.track(at("stream"))
            yield b"x"
            if self.path == "/stream/fails":
                raise RuntimeError("no database")
        finally:
            tracker.track(at(ENDS[self.path]))

    def close(self) -> None:
        self.parts.close()
        if self.path == "/stream":
            tracker_of(self.environ).track(at("close of a stream"))


ENDS = {
    "/stream": "end of a stream",
    "/stream/unread": "end of a stream that nobody reads",
    "/stream/fails": "after an error in a stream",
}


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    places = Places(trackers, **options)
    for path in ("/", "/write", "/stream", "/stream/fails", "/inside", "/outside", "/fails"):
        with suppress(RuntimeError):
            ask(places.outside, environ_of(path, headers))
    environ = environ_of("/stream/unread", headers)
    body = places.outside(environ, lambda *_: None)
    next(iter(body))
    close(body)
    tracker_of(environ).track(at("middleware outside, after the response"))
    places.goes_on.set()
    for thread in places.threads:
        thread.join()
