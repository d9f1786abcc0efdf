"""A Flask application, and a plain one, whose threads track without a loop; their answers are event ids."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from typing import Any
from uuid import uuid4

from flask import Flask, Response, stream_with_context

from snowplow_aio import HttpEmitter, Retry, sync
from snowplow_aio.integrations import wsgi
from snowplow_aio.integrations.flask import init_app, tracker_of
from tests.faults.servers.served.shop import BATCH_SIZE, CLOSE_SECONDS, COLLECTOR, PAGE, WORK_SECONDS


def make_tracker() -> sync.Tracker:
    """Return a tracker of this process."""
    emitter = HttpEmitter(
        COLLECTOR or "http://127.0.0.1:9",
        batch_size=BATCH_SIZE,
        flush_interval=None,
        retry=Retry(initial_delay=0.05),
        drain_timeout=CLOSE_SECONDS,
    )
    return sync.Tracker(emitter, app_id="shop")


app = Flask("shop")
init_app(app, make_tracker)


@app.get("/view")
def view() -> str:
    """Track in a view."""
    time.sleep(WORK_SECONDS)
    return str(uuid4()) if COLLECTOR is None else tracker_of().track(PAGE)


@app.get("/stream")
def stream() -> Response:
    """Track in the body of a response."""

    def body() -> Generator[str]:
        yield str(uuid4()) if COLLECTOR is None else tracker_of().track(PAGE)

    # The length of an event id. Visitors that keep their connection ask for it.
    return Response(stream_with_context(body()), headers={"Content-Length": "36"})


@app.get("/health")
def health() -> str:
    """Answer whether events arrive."""
    return str(tracker_of().health())


def _plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield wsgi.tracker_of(environ).track(PAGE).encode()


plain = wsgi.SnowplowMiddleware(_plain, make_tracker)
