"""Django: the setting, the user, page views and errors, with Django's own clients and handlers."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connection, connections
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext

import snowplow_aio
from snowplow_aio import MemoryEmitter, StructuredEvent, sync
from snowplow_aio.integrations.django import (
    PageViews,
    SnowplowMiddleware,
    get_domain_user_id,
    page_url_of,
    tracker_of,
)
from tests.integrations.django_project import OURS
from tests.integrations.made import LOOK, Trackers, http_scope, request
from tests.integrations.places.django import setting
from tests.integrations.wsgi_made import ask, environ_of

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Django logs each answer of an error."""
    logging.getLogger("django.request").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("django.request").setLevel(logging.NOTSET)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Any]:
    # All threads have these settings.
    connection.settings_dict["NAME"] = tmp_path / "database"
    call_command("migrate", verbosity=0)
    yield get_user_model().objects.create(username="ada")
    connections.close_all()


def visited(path: str, *, headers: dict[str, str] = {}, **options: Any) -> list[dict[str, str]]:  # noqa: B006 - only read
    """Return the events of a project with these *options* of which somebody has visited *path*."""
    trackers = Trackers()
    with override_settings(SNOWPLOW_AIO=setting(trackers, **options)):
        response = Client(raise_request_exception=False).get(path, headers=headers)
        if response.streaming:
            with suppress(RuntimeError):
                b"".join(response)
        response.close()
    return trackers.events


async def visited_async(path: str, **options: Any) -> list[dict[str, str]]:
    """Return the same of a project under ASGI."""
    trackers = Trackers()
    with override_settings(SNOWPLOW_AIO=setting(trackers, **options)):
        await request(get_asgi_application(), http_scope(path, headers={"Host": "shop.example"}))
    return trackers.events


# --- the setting

WRONG = {
    "nothing": (None, "must be a dict with TRACKER or COLLECTOR, got NoneType"),
    "a password": ("https://ada:secret@c.example", "COLLECTOR, got str$"),
    "no collector": ({}, "needs TRACKER, a function that makes the tracker, or COLLECTOR"),
    "both": ({"TRACKER": print, "APP_ID": "x"}, "has TRACKER, which takes the place of APP_ID"),
    "unknown name": (
        {"COLLECTOR": "c.example", "URL": 1},
        "has no 'URL'; it has ANONYMOUS, APP_ID, COLLECTOR",
    ),
    "wrong collector": ({"COLLECTOR": "http:/c.example"}, r"SNOWPLOW_AIO\['COLLECTOR'\]: "),
    "wrong app": ({"COLLECTOR": "c.example", "APP_ID": 5}, r"SNOWPLOW_AIO\['APP_ID'\]: "),
    "wrong option": (
        {"COLLECTOR": "c.example", "ERRORS": 5},
        r"SNOWPLOW_AIO\['ERRORS'\]: must be True or False",
    ),
    "wrong path": ({"TRACKER": "shop.nothing"}, r"SNOWPLOW_AIO\['TRACKER'\]: No module named 'shop'"),
    "async tracker": (
        {"TRACKER": snowplow_aio.Tracker(MemoryEmitter())},
        r"SNOWPLOW_AIO\['TRACKER'\]: must be a snowplow_aio.sync.Tracker",
    ),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_setting_is_refused_when_the_project_starts(given: Any, said: str) -> None:
    with override_settings(SNOWPLOW_AIO=given), pytest.raises(ImproperlyConfigured, match=said):
        SnowplowMiddleware(lambda request: request)


def test_it_may_be_imported_before_django_is_ready() -> None:
    # As a module of models does that tracks.
    subprocess.run([sys.executable, "-c", "import snowplow_aio.integrations.django"], check=True)


def test_functions_may_be_named() -> None:
    path = f"{__name__}.make_tracker"
    with override_settings(SNOWPLOW_AIO={"TRACKER": path, "USER_ID": f"{__name__}.somebody"}):
        Client().get("/user")
    assert kept.payloads.pop().fields()["uid"] == "somebody"


kept = MemoryEmitter()


def make_tracker() -> sync.Tracker:
    return sync.Tracker(kept)


def somebody(_request: Any) -> str:
    return "somebody"


def test_a_collector_is_enough() -> None:
    given = {"COLLECTOR": "https://c.example", "APP_ID": "shop", "NAMESPACE": "web"}
    with override_settings(SNOWPLOW_AIO=given):
        tracker = tracker_of()
        assert tracker_of() is tracker
    assert isinstance(tracker, sync.Tracker)
    assert (tracker.app_id, tracker.namespace, list(tracker.stats())) == ("shop", "web", ["http"])


# --- the user


def test_the_user_is_known_where_somebody_is_logged_in(user: Any) -> None:
    trackers, client = Trackers(), Client()
    client.force_login(user)
    with override_settings(SNOWPLOW_AIO=setting(trackers)):
        assert "Vary" not in client.get("/user").headers
        Client().get("/user")
    assert [event.get("uid") for event in trackers.events] == [str(user.pk), None]


def test_nobody_is_looked_up_where_nothing_is_tracked(user: Any) -> None:
    client = Client()
    client.force_login(user)
    with override_settings(SNOWPLOW_AIO=setting(Trackers())), CaptureQueriesContext(connection) as queries:
        client.get("/articles/2024/").close()
    assert len(queries) == 0


def test_the_user_can_be_left_out(user: Any) -> None:
    trackers, client = Trackers(), Client()
    client.force_login(user)
    with override_settings(SNOWPLOW_AIO=setting(trackers, user_id=None)):
        client.get("/user")
    assert "uid" not in trackers.events[0]


@pytest.fixture
def cookie(user: Any) -> str:
    """The cookie of somebody who is logged in."""
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


@pytest.mark.parametrize("is_asked", [True, False], ids=["looked up", "not looked up"])
async def test_an_async_view_makes_no_query(is_asked: bool, user: Any, cookie: str) -> None:
    trackers = Trackers()
    path = "/user/async?asked=1" if is_asked else "/user/async"
    with override_settings(SNOWPLOW_AIO=setting(trackers)):
        await request(get_asgi_application(), http_scope(path, headers={"Cookie": cookie, "Host": "x"}))
    assert [event.get("uid") for event in trackers.events] == [str(user.pk) if is_asked else None]


# --- visitor and page


def test_the_cookie_of_the_browser_tells_the_domain_user_id() -> None:
    given = RequestFactory().get("/", headers={"Cookie": "_sp_id.1fff=c7aadf5c60a5dff9.1.3.4.5.6"})
    assert get_domain_user_id(given) == "c7aadf5c60a5dff9"
    assert get_domain_user_id(given, "mine") is None
    assert get_domain_user_id(RequestFactory().get("/")) is None


TARGETS = ["/", "/shelves/a%20b/books/5?q=%C3%A9", "/%E4%BD%A0", "/a%2Fb"]


@pytest.mark.parametrize("target", TARGETS)
async def test_the_page_is_the_same_under_wsgi_and_asgi(target: str) -> None:
    trackers = Trackers()
    with override_settings(SNOWPLOW_AIO=setting(trackers, page_views=PageViews(statuses=range(600)))):
        environ = environ_of(target, {"Host": "shop.example"}, RAW_URI=target)
        await asyncio.to_thread(ask, get_wsgi_application(), environ, is_checked=False)
        path, _, query = target.partition("?")
        scope = http_scope(
            "/", headers={"Host": "shop.example"}, raw_path=path.encode(), query_string=query.encode()
        )
        await request(get_asgi_application(), scope | {"path": unquote(path)})
    views = [event for event in trackers.events if event["e"] == "pv"]
    assert [view["url"] for view in views] == [f"http://shop.example{target}"] * 2


def test_a_proxy_of_django_says_the_scheme() -> None:
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        given = RequestFactory().get("/shoes", headers={"Host": "shop.example", "X-Forwarded-Proto": "https"})
        assert page_url_of(given) == "https://shop.example/shoes"


VIEWS = {
    "/": ["/"],
    "/shelves/red/books/5": ["/shelves/{shelf}/books/{book}"],
    "/articles/2024/": ["/articles/{year}/"],
    "/stream": ["/stream"],
    "/known/503": [],
    "/nowhere": [],
}


@pytest.mark.parametrize(("path", "titles"), VIEWS.items())
def test_pages_are_tracked_as_viewed_by_the_template_of_their_route(path: str, titles: list[str]) -> None:
    events = visited(path, page_views=True, headers={"Host": "shop.example"})
    assert [event.get("page") for event in events if event["e"] == "pv"] == titles


def test_a_page_is_tracked_when_its_response_has_been_sent() -> None:
    trackers = Trackers()
    with override_settings(SNOWPLOW_AIO=setting(trackers, page_views=True)):
        environ = environ_of("/stream", {"Host": "shop.example"})
        body = get_wsgi_application()(environ, lambda *_: print)
        assert trackers.events == []
        assert b"".join(body) == b"x"
        body.close()
    assert [event["e"] for event in trackers.events] == ["se", "se", "pv"]


# --- errors

ERRORS = {
    "/fails": 1,
    "/fails/async": 1,
    "/known": 1,
    "/known/404": 0,
    "/not-there": 0,
    "/forbidden": 0,
    "/stream/fails": 1,
    "/": 0,
}


def errors_of(events: list[dict[str, str]]) -> list[dict[str, str]]:
    return [event for event in events if event["e"] == "ue"]


@pytest.mark.parametrize(("path", "count"), ERRORS.items())
def test_errors_are_tracked_once(path: str, count: int) -> None:
    events = errors_of(
        visited(path, errors=True, headers={"Host": "shop.example", "User-Agent": "Mozilla/5.0"})
    )
    assert [(event["url"], event["ua"], event["page"]) for event in events] == [
        (f"http://shop.example{path}", "Mozilla/5.0", path)
    ] * count


@pytest.mark.parametrize("path", ["/fails", "/fails/async", "/known"])
async def test_errors_under_asgi_are_tracked_once(path: str) -> None:
    events = errors_of(await visited_async(path, errors=True))
    assert [event["page"] for event in events] == [path]


def test_nothing_is_tracked_of_errors_unless_that_is_asked_for() -> None:
    assert errors_of(visited("/fails")) == []


def test_errors_of_who_objects_are_not_tracked() -> None:
    assert visited("/fails", errors=True, headers={"DNT": "1"}) == []
    anonymous = visited("/fails", errors=True, headers={"DNT": "1"}, without_consent="anonymous")
    assert "ip" not in errors_of(anonymous)[0]


# --- nothing stays


def test_a_thread_goes_to_the_next_visitor_without_anything_of_this_one() -> None:
    trackers = Trackers()
    with override_settings(SNOWPLOW_AIO=setting(trackers)):
        Client().get("/", headers={"User-Agent": "Mozilla/5.0"})
        tracker_of().track(LOOK)
    assert [event.get("ua") for event in trackers.events] == ["Mozilla/5.0", None]


def test_where_no_request_is_the_tracker_is_there_all_the_same() -> None:
    trackers = Trackers()
    with override_settings(SNOWPLOW_AIO=setting(trackers)):
        tracker_of().track(StructuredEvent(category="command", action="run"))
        given = RequestFactory().get("/", headers={"User-Agent": "Mozilla/5.0"})
        tracker_of(given).track(LOOK)
    assert [(event.get("ua"), event["p"]) for event in trackers.events] == [
        (None, "srv"),
        ("Mozilla/5.0", "srv"),
    ]


def test_what_a_view_keeps_tracks_about_its_visitor_after_the_request() -> None:
    trackers, found = Trackers(), list[Any]()

    def keep(_request: Any) -> HttpResponse:
        found.append(tracker_of())
        return HttpResponse()

    with override_settings(SNOWPLOW_AIO=setting(trackers)):
        for headers in ({"DNT": "1"}, {"User-Agent": "Mozilla/5.0"}):
            SnowplowMiddleware(keep)(RequestFactory().get("/", headers=headers))
        for tracker in found:
            tracker.track(LOOK)
    assert [event["ua"] for event in trackers.events] == ["Mozilla/5.0"]


def test_a_page_behind_two_of_the_middleware_is_viewed_once() -> None:
    trackers = Trackers()
    with override_settings(SNOWPLOW_AIO=setting(trackers, page_views=True), MIDDLEWARE=[OURS, OURS]):
        Client().get("/articles/2024/", headers={"Host": "shop.example"}).close()
    assert len(trackers.events) == 1


def test_a_cached_page_is_no_page_of_the_one_who_was_there_first(user: Any) -> None:
    trackers, client = Trackers(), Client()
    client.force_login(user)
    cached = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    with override_settings(SNOWPLOW_AIO=setting(trackers), MIDDLEWARE=cached):
        assert client.get("/hello").content == b"hello ada"
        assert client.get("/hello").content == b"hello ada"
        assert Client().get("/hello").content == b"hello "
    assert [event.get("uid") for event in trackers.events] == [str(user.pk), None]


def test_the_user_is_who_the_request_has_now(user: Any) -> None:
    trackers, client = Trackers(), Client()
    client.force_login(user)
    with override_settings(SNOWPLOW_AIO=setting(trackers)):
        client.get("/log-out")
    assert "uid" not in trackers.events[0]


def test_a_user_whom_another_middleware_knows_goes_before_the_session(user: Any) -> None:
    trackers, client = Trackers(), Client()
    client.force_login(user)
    with override_settings(SNOWPLOW_AIO=setting(trackers)):
        client.get("/token")
    assert trackers.events[0]["uid"] == "42"
