"""Flask, with blueprints, hooks, streams, and applications that are mounted in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    after_this_request,
    copy_current_request_context,
    g,
    render_template_string,
    request,
    request_tearing_down,
    stream_with_context,
)
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from snowplow_aio.integrations import wsgi
from snowplow_aio.integrations.flask import init_app, tracker_of
from tests.integrations.made import Trackers
from tests.integrations.places import at

PLACES = frozenset(
    {
        "view",
        "async view",
        "class of a view",
        "blueprint",
        "before_request of a blueprint",
        "own thread",
        "copy_current_request_context",
        "thread that goes on",
        "stream",
        "stream_with_context",
        "end of a stream",
        "call_on_close",
        "before_request",
        "after_request",
        "after_this_request",
        "teardown_request",
        "teardown_appcontext",
        "signal at the end",
        "handler of an error",
        "handler of not found",
        "handler of an HTTP exception",
        "template",
        "mounted application",
        "middleware inside",
        "middleware outside",
    }
)


def add_hooks(app: Flask) -> None:
    @app.before_request
    def before() -> None:
        g.path = request.path
        if request.path == "/hooks":
            tracker_of().track(at("before_request"))

    @app.after_request
    def after(response: Response) -> Response:
        if request.path == "/hooks":
            tracker_of(request).track(at("after_request"))
        return response

    @app.teardown_request
    def teardown(_error: BaseException | None) -> None:
        if request.path == "/hooks":
            tracker_of().track(at("teardown_request"))

    @app.teardown_appcontext
    def teardown_app(_error: BaseException | None) -> None:
        # The request is gone, but not its visitor.
        if g.get("path") == "/hooks":
            tracker_of().track(at("teardown_appcontext"))

    @app.errorhandler(RuntimeError)
    def failed(_error: Exception) -> tuple[str, int]:
        tracker_of().track(at("handler of an error"))
        return "", 500

    @app.errorhandler(404)
    def not_found(_error: Exception) -> tuple[str, int]:
        tracker_of().track(at("handler of not found"))
        return "", 404

    @app.errorhandler(410)
    def gone(_error: Exception) -> tuple[str, int]:
        tracker_of().track(at("handler of an HTTP exception"))
        return "", 410


def add_views(app: Flask) -> None:
    @app.get("/")
    def view() -> str:
        tracker_of().track(at("view"))
        return ""

    @app.get("/async")
    async def async_view() -> str:
        tracker_of().track(at("async view"))
        return ""

    class Class(MethodView):
        def get(self) -> str:
            tracker_of(request).track(at("class of a view"))
            return ""

    app.add_url_rule("/class", view_func=Class.as_view("class"))

    @app.get("/hooks")
    @app.get("/inside")
    @app.get("/outside")
    def quiet() -> str:
        return ""

    @app.get("/this")
    def this() -> str:
        @after_this_request
        def after(response: Response) -> Response:
            tracker_of().track(at("after_this_request"))
            return response

        return ""

    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError("no database")

    @app.get("/gone")
    def gone() -> str:
        abort(410)

    @app.get("/template")
    def template() -> str:
        return render_template_string(
            "{{ tracker_of().track(at('template')) }}", tracker_of=tracker_of, at=at
        )


def add_streams(app: Flask) -> None:
    @app.get("/stream")
    def stream() -> Response:
        this = request._get_current_object()  # type: ignore[attr-defined] # of a proxy

        def body() -> Generator[str]:
            try:
                tracker_of(this).track(at("stream"))
                yield "x"
            finally:
                tracker_of(this).track(at("end of a stream"))

        return Response(body())

    @app.get("/stream/context")
    def with_context() -> Response:
        def body() -> Generator[str]:
            yield "x"
            tracker_of().track(at("stream_with_context"))

        return Response(stream_with_context(body()))

    @app.get("/close")
    def close() -> Response:
        this, response = request._get_current_object(), Response("x")  # type: ignore[attr-defined] # likewise
        response.call_on_close(lambda: tracker_of(this).track(at("call_on_close")))
        return response


def add_threads(app: Flask, threads: list[threading.Thread], goes_on: threading.Event) -> None:
    def started(run: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    @app.get("/threads")
    def threads_of_view() -> str:
        this = request._get_current_object()  # type: ignore[attr-defined] # likewise
        started(lambda: tracker_of(this).track(at("own thread"))).join()

        @copy_current_request_context
        def copied() -> None:
            tracker_of().track(at("copy_current_request_context"))

        started(copied).join()

        def later() -> None:
            goes_on.wait()
            tracker_of(this).track(at("thread that goes on"))

        threads.append(started(later))
        return ""


def add_blueprint(app: Flask) -> None:
    blueprint = Blueprint("blueprint", __name__)

    @blueprint.before_request
    def before() -> None:
        tracker_of().track(at("before_request of a blueprint"))

    @blueprint.get("/blueprint")
    def view() -> str:
        tracker_of().track(at("blueprint"))
        return ""

    app.register_blueprint(blueprint)


def mounted(app: Flask) -> Any:
    """Return *app*, with a middleware and another application inside of ours."""
    inner = Flask("inner")

    @inner.get("/")
    def view() -> str:
        tracker_of(request).track(at("mounted application"))
        return ""

    within = DispatcherMiddleware(app.wsgi_app, {"/inner": inner})

    def inside(environ: dict[str, Any], start_response: Any) -> Any:
        body = within(environ, start_response)
        if environ["PATH_INFO"] == "/inside":
            wsgi.tracker_of(environ).track(at("middleware inside"))
        return body

    return inside


async def visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    """See `tests.integrations.places`."""
    # Flask's async views need a thread without a loop.
    await asyncio.to_thread(_visit, trackers, headers, **options)


def _visit(trackers: Trackers, headers: dict[str, str], **options: Any) -> None:
    goes_on, threads = threading.Event(), list[threading.Thread]()
    app = Flask("shop")
    app.wsgi_app = mounted(app)  # type: ignore[method-assign] # as Flask documents
    init_app(app, trackers.blocking, **options)
    add_hooks(app)
    add_views(app)
    add_streams(app)
    add_threads(app, threads, goes_on)
    add_blueprint(app)
    ours = app.wsgi_app

    def outside(environ: dict[str, Any], start_response: Any) -> Any:
        body = ours(environ, start_response)
        if environ["PATH_INFO"] == "/outside":
            wsgi.tracker_of(environ).track(at("middleware outside"))
        return body

    app.wsgi_app = outside  # type: ignore[method-assign] # likewise

    def tearing(_app: Flask, **_: Any) -> None:
        if request.path == "/hooks":
            tracker_of().track(at("signal at the end"))

    paths = ["/", "/async", "/class", "/hooks", "/this", "/fails", "/gone", "/nowhere", "/template"]
    paths += [
        "/stream",
        "/stream/context",
        "/close",
        "/threads",
        "/blueprint",
        "/inner/",
        "/inside",
        "/outside",
    ]
    client = app.test_client(use_cookies=False)
    with request_tearing_down.connected_to(tearing, app):
        for path in paths:
            with client.get(path, headers=headers) as response:
                assert response.data is not None
    goes_on.set()
    for thread in threads:
        thread.join()
