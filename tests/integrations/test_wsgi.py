"""WSGI applications: the visitor of a request is known until its response is sent, and to nobody after it."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable
from typing import Any
from unittest import mock
from wsgiref.util import FileWrapper

import pytest

import snowplow_aio
from snowplow_aio import StructuredEvent, Tracker, current_subject, sync, use_subject
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations import asgi
from snowplow_aio.integrations.page_views import PageViews
from snowplow_aio.integrations.wsgi import SnowplowMiddleware, page_url_of, tracker_of
from tests.integrations.made import LOOK, Trackers, http_scope
from tests.integrations.wsgi_made import ask, close, environ_of, tracked_in_wsgi

HEADERS = {"Host": "shop.example", "User-Agent": "Mozilla/5.0", "Cookie": "sp=ada"}


def html(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [b"<p>"]


# --- the scope


def test_an_event_is_about_the_visitor_and_the_page() -> None:
    (event,) = tracked_in_wsgi(environ_of("/shoes?size=43", HEADERS | {"Referer": "https://search.example/"}))
    who = {"ua": "Mozilla/5.0", "tnuid": "ada", "ip": "203.0.113.50", "p": "srv"}
    page = {"url": "http://shop.example/shoes?size=43", "refr": "https://search.example/"}
    assert event == event | who | page


def test_a_thread_is_left_bound_to_nobody(trackers: Trackers) -> None:
    """Also by an application that binds a subject and never leaves the block."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        entered = use_subject(user_id="ada")
        entered.__enter__()
        environ["kept"] = entered
        tracker.track(StructuredEvent(category="shop", action="inside"))
        yield b"x"
        tracker.track(StructuredEvent(category="shop", action="body"))

    tracker = trackers.blocking()
    ask(SnowplowMiddleware(app, tracker), environ_of("/", HEADERS))
    assert current_subject() is None
    tracker.track(StructuredEvent(category="shop", action="outside"))
    who = [(event["se_ac"], event.get("uid"), event.get("tnuid")) for event in trackers.events]
    assert who == [("inside", "ada", "ada"), ("body", "ada", "ada"), ("outside", None, None)]


def test_requests_whose_bodies_are_sent_in_turns_are_not_mixed_up(trackers: Trackers) -> None:
    """A server with greenlets, or one that goes on with another request while a client is slow."""
    tracker = trackers.blocking()

    def app(environ: dict[str, Any], start_response: Any) -> Generator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for _ in range(3):
            tracker.track(StructuredEvent(category="shop", action=environ["HTTP_COOKIE"]))
            yield b"x"

    middleware = SnowplowMiddleware(app, tracker)
    bodies = [
        iter(middleware(environ_of("/", {"Cookie": f"sp={name}"}), lambda *_: None))
        for name in ("ada", "bob")
    ]
    for _ in range(3):
        assert [next(body) for body in bodies] == [b"x", b"x"]
    for body in bodies:
        close(body)
    assert len(trackers.events) == 6
    assert all(event["se_ac"] == f"sp={event['tnuid']}" for event in trackers.events)


def test_a_peer_that_is_looked_up_is_tracked_as_the_peer(trackers: Trackers) -> None:
    known: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for peer in (*known, environ):
            tracker_of(peer).track(LOOK)
        known.append(environ)
        return html(environ, start_response)

    middleware = SnowplowMiddleware(app, trackers.blocking)
    for name, headers in {"ada": {}, "shy": {"DNT": "1"}, "bob": {}}.items():
        ask(middleware, environ_of("/", {"Cookie": f"sp={name}", **headers}))
    assert [event["tnuid"] for event in trackers.events] == ["ada", "ada", "ada", "bob"]


def test_a_peer_is_tracked_without_what_is_bound_for_the_visitor_here(trackers: Trackers) -> None:
    known: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with use_subject(user_id=environ["HTTP_COOKIE"]):
            for peer in (*known, environ):
                tracker_of(peer).track(LOOK)
        known.append(environ)
        return html(environ, start_response)

    middleware = SnowplowMiddleware(app, trackers.blocking)
    for name in ("ada", "bob"):
        ask(middleware, environ_of("/", {"Cookie": f"sp={name}"}))
    assert [(event["tnuid"], event.get("uid")) for event in trackers.events] == [
        ("ada", "sp=ada"),
        ("ada", None),
        ("bob", "sp=bob"),
    ]


def test_a_page_behind_two_of_the_middleware_is_viewed_once(trackers: Trackers) -> None:
    options: dict[str, Any] = {"page_views": PageViews()}
    inner = SnowplowMiddleware(html, trackers.blocking, **options)
    ask(SnowplowMiddleware(inner, trackers.blocking, **options), environ_of("/", {"Host": "shop.example"}))
    assert len(trackers.events) == 1


def test_nothing_is_read_before_an_event_is_tracked(trackers: Trackers) -> None:
    environ = environ_of("/", HEADERS)
    reads: list[str] = []

    class Header(str):
        __slots__ = ()

        def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
            reads.append(str(self))
            return super().encode(encoding, errors)

    environ["HTTP_COOKIE"] = Header(environ["HTTP_COOKIE"])
    asked: list[Any] = []
    middleware = SnowplowMiddleware(html, trackers.blocking, user_id=asked.append)
    body = middleware(environ, lambda *_: None)
    assert (reads, asked) == ([], [])
    tracker_of(environ).track(LOOK)
    assert reads == ["sp=ada"]
    close(body)


def test_an_outer_application_forbids_what_an_inner_one_allows(trackers: Trackers) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        tracker_of(environ).track(LOOK)
        return html(environ, start_response)

    inner = SnowplowMiddleware(app, trackers.blocking, privacy_signals=False)
    trackers_outside = Trackers()

    def around(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = inner(environ, start_response)
        yield from body
        close(body)
        tracker_of(environ).track(LOOK)

    outer = SnowplowMiddleware(around, trackers_outside.blocking)
    ask(outer, environ_of("/", {"DNT": "1"}), is_checked=False)
    assert trackers.events == trackers_outside.events == []
    ask(outer, environ_of("/"), is_checked=False)
    assert (len(trackers.events), len(trackers_outside.events)) == (1, 1)


# --- the rules of PEP 3333


def test_one_part_keeps_its_length_and_a_file_is_sent_by_the_server(trackers: Trackers) -> None:
    """A server takes the length of the content from a single part, and sends a file itself."""
    file = FileWrapper(io.BytesIO(b"x"))
    bodies: dict[str, Any] = {"/one": [b"<p>"], "/file": file, "/raw": io.BytesIO(b"x")}

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return bodies[environ["PATH_INFO"]]

    middleware = SnowplowMiddleware(app, trackers.blocking, page_views=PageViews())
    found = {
        path: middleware(environ_of(path, HEADERS, **{"wsgi.file_wrapper": FileWrapper}), lambda *_: None)
        for path in bodies
    }
    assert len(found["/one"]) == 1  # type: ignore[arg-type] # that is what is asked
    assert found["/file"] is file
    assert found["/raw"] is bodies["/raw"]
    assert [event["url"][-5:] for event in trackers.events] == ["/file", "e/raw"]


def test_a_response_that_is_begun_again_counts_as_the_last_one(trackers: Trackers) -> None:
    def app(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        try:
            int("no number")
        except ValueError:
            start_response("500 Oh", [("Content-Type", "text/html")], sys.exc_info())
        return [b"no"]

    answered = ask(
        SnowplowMiddleware(app, trackers.blocking, page_views=PageViews()), environ_of("/", HEADERS)
    )
    assert answered.statuses == ["200 OK", "500 Oh"]
    assert trackers.events == []


def test_a_page_is_viewed_when_its_response_is_sent(trackers: Trackers) -> None:
    middleware = SnowplowMiddleware(html, trackers.blocking, page_views=PageViews(exclude=["/health"]))
    body = middleware(environ_of("/shoes?size=43", HEADERS), lambda *_: None)
    assert trackers.events == []
    assert list(body) == [b"<p>"]
    close(body)
    ask(middleware, environ_of("/health", HEADERS))
    ask(middleware, environ_of("/shoes", HEADERS, REQUEST_METHOD="POST"))
    (event,) = trackers.events
    assert (event["e"], event["url"], event["tnuid"]) == ("pv", "http://shop.example/shoes?size=43", "ada")


def test_a_body_that_fails_shows_no_page_and_is_one_error(trackers: Trackers) -> None:
    def app(_environ: dict[str, Any], start_response: Any) -> Generator[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        yield b"<p>"
        raise LookupError("no table")

    middleware = SnowplowMiddleware(app, trackers.blocking, page_views=PageViews(), errors=True)
    with pytest.raises(LookupError):
        ask(SnowplowMiddleware(middleware, trackers.blocking, errors=True), environ_of("/", HEADERS))
    (event,) = trackers.events
    assert (event["e"], event["tnuid"], event["url"]) == ("ue", "ada", "http://shop.example/")


# --- hooks


async def _nobody(_environ: Any) -> bool:
    await asyncio.sleep(0)
    return False


@pytest.mark.anyio
async def test_a_coroutine_function_is_asked_where_a_loop_runs_too(trackers: Trackers) -> None:
    ask(SnowplowMiddleware(html, trackers.blocking, consent=_nobody, page_views=PageViews()), environ_of())
    assert trackers.events == []


def test_the_loop_that_the_application_has_set_stays(trackers: Trackers) -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        ask(SnowplowMiddleware(html, trackers.blocking, consent=_nobody), environ_of())
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


# --- the page


TARGETS = [
    "/",
    "/shoes",
    "/a%20b",
    "/%C3%A9t%C3%A9",
    "/%ff",
    "/a,b;c=(d)*",
    "/a//b",
    "/x?q=%C3%A9&q=1",
    "//evil.example/x",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("variable", ["RAW_URI", "REQUEST_URI", None])
def test_the_address_of_a_page_is_the_one_of_asgi(target: str, variable: str | None) -> None:
    path, _, query = target.partition("?")
    scope = http_scope("/", headers=HEADERS) | {"raw_path": path.encode(), "query_string": query.encode()}
    environ = environ_of(target, HEADERS, **({variable: target} if variable else {}))
    expected = asgi.page_url_of(scope).replace("%ff", "%ff" if variable else "%FF")
    assert page_url_of(environ) == expected


def test_a_prefix_that_a_proxy_took_away_belongs_to_the_address() -> None:
    environ = environ_of("/shoes", HEADERS, SCRIPT_NAME="/shop", RAW_URI="/shoes")
    assert page_url_of(environ) == "http://shop.example/shop/shoes"
    environ = environ_of("/shoes", HEADERS, SCRIPT_NAME="/shop", RAW_URI="/shop/sh%6Fes")
    assert page_url_of(environ) == "http://shop.example/shop/sh%6Fes"
    # What a proxy is asked, and what has no path.
    assert page_url_of(environ_of("/x", HEADERS, RAW_URI="http://a.example/x")) == "http://shop.example/x"


def test_without_a_host_or_an_address_little_is_known() -> None:
    environ = environ_of("/shoes")
    del environ["REMOTE_ADDR"]
    (event,) = tracked_in_wsgi(environ)
    assert ("url" in event, event["ip"], event["ua"]) == (False, "unknown", "unknown")
    assert page_url_of(environ) == "/shoes"


@pytest.mark.parametrize("peer", ["", "<local>", "localhost", "unix:"])
def test_a_unix_socket_has_no_address(peer: str) -> None:
    headers = {"X-Forwarded-For": "198.51.100.7"}
    (event,) = tracked_in_wsgi(environ_of("/", headers, REMOTE_ADDR=peer))
    assert event["ip"] == "unknown"
    (event,) = tracked_in_wsgi(environ_of("/", headers, REMOTE_ADDR=peer), trusted_proxies=["unix"])
    assert event["ip"] == "198.51.100.7"


# --- the tracker


def test_the_tracker_is_made_once_at_the_first_request(trackers: Trackers) -> None:
    middleware = SnowplowMiddleware(html, trackers.blocking)
    assert trackers.made_blocking == []
    threads = [threading.Thread(target=ask, args=(middleware, environ_of())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trackers.made_blocking) == 1


def test_an_async_tracker_is_refused_and_the_right_one_named(trackers: Trackers) -> None:
    with pytest.raises(ConfigurationError, match=r"^make_tracker: .*snowplow_aio\.sync\.Tracker"):
        SnowplowMiddleware(html, trackers())  # type: ignore[arg-type] # that is the mistake
    middleware = SnowplowMiddleware(html, trackers)  # type: ignore[arg-type] # likewise
    with pytest.raises(ConfigurationError, match=r"^make_tracker: .*snowplow_aio\.sync\.Tracker"):
        middleware(environ_of(), lambda *_: None)

    async def make() -> Tracker:
        return trackers()

    with pytest.raises(ConfigurationError, match=r"^make_tracker: "):
        SnowplowMiddleware(html, make)(environ_of(), lambda *_: None)  # type: ignore[arg-type] # likewise


def test_a_function_without_return_is_said_to_need_one() -> None:
    def make() -> None:
        sync.Tracker(snowplow_aio.MemoryEmitter())

    with pytest.raises(ConfigurationError, match=r"^make_tracker: must return the tracker that it makes"):
        SnowplowMiddleware(html, make)(environ_of(), lambda *_: None)  # type: ignore[arg-type] # that is the mistake


@pytest.mark.parametrize(
    ("argument", "value"),
    [("timeout", -1), ("page_views", "all"), ("platform", "nowhere"), ("consent", "yes"), ("errors", "yes")],
)
def test_a_wrong_option_is_named(trackers: Trackers, argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=argument):
        SnowplowMiddleware(html, trackers.blocking, **{argument: value})
    with pytest.raises(ConfigurationError, match=r"^app: "):
        SnowplowMiddleware("shop:app", trackers.blocking)  # type: ignore[arg-type]


def test_what_stands_in_for_a_tracker_is_taken() -> None:
    stand_in = mock.MagicMock(spec=sync.Tracker)

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        tracker_of(environ).track(LOOK)
        return html(environ, start_response)

    ask(SnowplowMiddleware(app, stand_in), environ_of())
    stand_in.track.assert_called_once_with(LOOK)


def test_without_a_middleware_it_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"^request: there is no tracker"):
        tracker_of(environ_of())


ENDING = """
from snowplow_aio import HttpEmitter, StructuredEvent
from snowplow_aio.integrations.wsgi import SnowplowMiddleware, tracker_of
from snowplow_aio.sync import Tracker

def app(environ, start_response):
    tracker_of(environ).track(StructuredEvent(category="shop", action="look"))
    return []

emitter = HttpEmitter("http://127.0.0.1:9", drain_timeout=600)
SnowplowMiddleware(app, lambda: Tracker(emitter), timeout=0.1)({}, None).close()
"""


def test_the_end_of_the_process_waits_for_as_long_as_the_option_says() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60, check=True
    )
    assert "1 event undelivered" in ended.stderr


FORKING = """
import os

from snowplow_aio import MemoryEmitter
from snowplow_aio.integrations.wsgi import SnowplowMiddleware
from snowplow_aio.sync import Tracker

made = []

def make_tracker():
    made.append(os.getpid())
    return Tracker(MemoryEmitter())

middleware = SnowplowMiddleware(lambda environ, start_response: [], make_tracker)
for _ in range(2):
    middleware({}, None).close()
child = os.fork()
for _ in range(2):
    middleware({}, None).close()
os.write(1, f"{len(made)} {made[-1] == os.getpid()}\\n".encode())
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_a_fork_makes_a_tracker_of_its_own() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING], capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(ended.stdout.split("\n")) == ["", "1 True", "2 True"]
