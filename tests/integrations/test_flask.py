"""Flask applications: factories, commands, routes, hooks that use the session, and errors."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from flask import Flask, Response, abort, g, request, session
from flask.cli import with_appcontext
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from snowplow_aio import StructuredEvent
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.integrations import wsgi
from snowplow_aio.integrations.flask import PageViews, init_app, page_url_of, tracker_of
from tests.integrations.made import LOOK, Trackers

HEADERS = {"User-Agent": "Mozilla/5.0", "Cookie": "sp=ada"}


def shop(trackers: Trackers, name: str = "shop", **options: Any) -> Flask:
    """Return an application, made as factories do it."""
    app = Flask(name)
    app.secret_key = "of a test"
    init_app(app, trackers.blocking, **options)
    return app


def get(app: Flask, path: str, **fields: Any) -> Any:
    """Ask *app* for *path*, and read and close the answer as a server does."""
    with app.test_client(use_cookies=False).get(path, headers=HEADERS, **fields) as response:
        assert response.data is not None
        return response


# --- the tracker


def test_three_lines_are_enough(trackers: Trackers) -> None:
    app = shop(trackers)

    @app.get("/shoes")
    def shoes() -> str:
        return tracker_of().track(LOOK)

    get(app, "/shoes?size=43")
    (event,) = trackers.events
    who = {"tnuid": "ada", "ua": "Mozilla/5.0", "ip": "127.0.0.1", "p": "srv"}
    assert event == event | who | {"url": "http://localhost/shoes?size=43"}


def test_each_application_of_a_process_has_its_own(trackers: Trackers) -> None:
    apps = [shop(trackers, name) for name in ("shop", "office")]
    for app in apps:
        app.add_url_rule("/", view_func=lambda: tracker_of().track(LOOK))
        get(app, "/")
    assert [event["tna"] for event in trackers.events] == ["n0", "n1"]
    assert tracker_of(apps[0]) is trackers.made_blocking[0]
    with apps[0].test_request_context("/"), apps[1].app_context():
        tracker_of().track(LOOK)
    assert trackers.events[-1]["tna"] == "n1"


def test_outside_of_requests_it_is_the_one_of_the_application(trackers: Trackers) -> None:
    app = shop(trackers)
    with app.app_context():
        tracker_of().track(LOOK)
    assert trackers.events[0].keys().isdisjoint({"url", "ip", "ua"})
    with pytest.raises(ConfigurationError, match=r"^app_or_request: "):
        tracker_of()
    with Flask("other").app_context(), pytest.raises(ConfigurationError, match="init_app"):
        tracker_of()


def test_a_command_tracks(trackers: Trackers) -> None:
    app = shop(trackers)

    @app.cli.command("restock")
    @with_appcontext
    def restock() -> None:
        tracker_of().track(LOOK)

    assert app.test_cli_runner().invoke(args=["restock"]).exit_code == 0
    assert len(trackers.events) == 1


def test_a_request_of_a_test_is_about_its_visitor(trackers: Trackers) -> None:
    app = shop(trackers, user_id=lambda request: request.args["user"])
    with app.test_request_context("/shoes?user=ada", headers={"User-Agent": "Mozilla/5.0"}):
        tracker_of().track(LOOK)
        assert page_url_of(request) == "http://localhost/shoes?user=ada"
    with app.test_request_context("/?user=shy", headers={"DNT": "1"}):
        tracker_of(request).track(LOOK)
    assert [(event["ua"], event["uid"]) for event in trackers.events] == [("Mozilla/5.0", "ada")]


def test_a_second_tracker_and_what_is_no_application_are_refused(trackers: Trackers) -> None:
    app = shop(trackers)
    with pytest.raises(ConfigurationError, match=r"^app: must not have a tracker already"):
        init_app(app, trackers.blocking)
    with pytest.raises(ConfigurationError, match=r"^app: must be a Flask application"):
        init_app(app.wsgi_app, trackers.blocking)  # type: ignore[arg-type] # that is the mistake
    with pytest.raises(ConfigurationError, match=r"^make_tracker: .*snowplow_aio\.sync"):
        init_app(Flask("shop"), trackers())  # type: ignore[arg-type] # likewise


# --- hooks


def test_hooks_may_use_all_that_flask_knows_of_a_request(trackers: Trackers) -> None:
    """The session, `g`, and the form, which the view has read."""
    asked: list[Any] = []

    def user_id(given: Any) -> str:
        asked.append((given is request._get_current_object(), g.plan))  # type: ignore[attr-defined] # of a proxy
        return f"{session['user']} of {given.form['shop']}"

    app = shop(trackers, user_id=user_id, page_views=PageViews())

    @app.post("/form")
    @app.get("/page")
    def view() -> str:
        session["user"], g.plan = "ada", "gold"
        if request.method == "POST":
            assert request.form["shop"] == "main"
            tracker_of().track(LOOK)
        return ""

    with app.test_client().post("/form", data={"shop": "main"}) as response:
        assert response.status_code == 200
    (event,) = trackers.events
    assert (event["uid"], asked) == ("ada of main", [(True, "gold")])


@pytest.mark.parametrize("page_views", [PageViews(), True])
def test_a_page_view_has_the_user_though_flask_has_left_the_request(
    trackers: Trackers, page_views: PageViews | bool
) -> None:
    app = shop(trackers, user_id=lambda _: session.get("user"), page_views=page_views)

    @app.get("/")
    def view() -> str:
        session["user"] = "ada"
        return ""

    get(app, "/")
    assert [event["uid"] for event in trackers.events] == ["ada"]


@pytest.mark.parametrize("answer", [True, False])
def test_a_coroutine_function_is_asked_within_the_request(trackers: Trackers, *, answer: bool) -> None:
    asked = []

    async def consent(given: Any) -> bool:
        asked.append(given)
        return answer and given is request._get_current_object()  # type: ignore[attr-defined] # of a proxy

    app = shop(trackers, consent=consent)
    app.add_url_rule("/", view_func=lambda: tracker_of().track(LOOK))
    get(app, "/")
    assert (len(trackers.events), len(asked)) == (answer, 1)


# --- page views


def test_the_title_of_a_page_view_is_the_template_of_the_route(trackers: Trackers) -> None:
    app = shop(trackers, page_views=PageViews())
    rules = [
        "/",
        "/users/<int:user_id>",
        "/files/<path:name>",
        "/<any(a, b):kind>/x",
        "/plain/<name>/<string(length=2):lang>",
    ]
    for rule in rules:
        app.add_url_rule(rule, rule, view_func=lambda **_: "<p>")
    for path in ("/", "/users/43", "/files/a/b.txt", "/a/x", "/plain/ada/en", "/nowhere"):
        get(app, path)
    titles = ["/", "/users/{user_id}", "/files/{name}", "/{kind}/x", "/plain/{name}/{lang}"]
    assert [event["page"] for event in trackers.events] == titles


def test_a_mounted_application_has_its_prefix(trackers: Trackers) -> None:
    app = shop(trackers, page_views=PageViews(include=["/inner/*"]))
    app.add_url_rule("/users/<user_id>", view_func=lambda user_id: user_id)
    outer = Flask("outer")
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/inner": app})  # type: ignore[method-assign]
    get(outer, "/inner/users/ada")
    (event,) = trackers.events
    assert (event["page"], event["url"]) == ("/inner/users/{user_id}", "http://localhost/inner/users/ada")


def test_a_middleware_around_the_whole_application_finds_the_route_too(trackers: Trackers) -> None:
    app = Flask("shop")
    app.add_url_rule("/users/<user_id>", view_func=lambda user_id: tracker_of().track(LOOK) + user_id)
    app.wsgi_app = wsgi.SnowplowMiddleware(  # type: ignore[method-assign] # as Flask documents
        app.wsgi_app, trackers.blocking, page_views=PageViews()
    )
    get(app, "/users/ada")
    assert [event.get("page") for event in trackers.events] == [None, "/users/{user_id}"]


def test_proxies_are_known_to_ours_or_to_werkzeugs(trackers: Trackers) -> None:
    headers = {
        "X-Forwarded-For": "198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example",
    }
    ours, fixed = shop(trackers, trusted_proxies=["127.0.0.0/8"]), shop(trackers)
    fixed.wsgi_app = ProxyFix(fixed.wsgi_app, x_host=1)  # type: ignore[method-assign] # likewise
    for app in (ours, fixed):
        app.add_url_rule("/", view_func=lambda: tracker_of().track(LOOK))
        with app.test_client().get("/", headers=headers):
            pass
    assert [(event["ip"], event["url"]) for event in trackers.events] == [
        ("198.51.100.7", "https://shop.example/")
    ] * 2


# --- errors


def failing(app: Flask) -> None:
    @app.get("/fails/<name>")
    def fails(name: str) -> str:
        raise LookupError(name)

    @app.get("/gone")
    def gone() -> str:
        abort(410)

    @app.get("/late")
    def late() -> Response:
        def body() -> Any:
            yield "x"
            raise LookupError

        return Response(body())


def errors_of(trackers: Trackers) -> list[str | None]:
    assert all(event["e"] == "ue" for event in trackers.events)
    return [event.get("page") for event in trackers.events]


@pytest.mark.parametrize("kind", [None, LookupError, Exception, 500])
def test_an_error_is_tracked_once_whoever_answers_it(trackers: Trackers, kind: Any) -> None:
    app = shop(trackers, errors=True)
    failing(app)
    if kind is not None:
        app.register_error_handler(kind, lambda _error: ("sorry", 500))
    assert get(app, "/fails/x").status_code == 500
    assert errors_of(trackers) == ["/fails/{name}"]
    assert trackers.events[0]["tnuid"] == "ada"


def test_an_error_that_propagates_is_tracked_once(trackers: Trackers) -> None:
    """As in the debugger, and in tests of the application."""
    app = shop(trackers, errors=True)
    app.testing = True
    failing(app)
    for path in ("/fails/x", "/late"):
        with pytest.raises(LookupError):
            get(app, path)
    assert errors_of(trackers) == ["/fails/{name}", "/late"]


def test_what_the_application_answers_as_no_error_is_none(trackers: Trackers) -> None:
    app = shop(trackers, errors=True)
    failing(app)
    app.register_error_handler(LookupError, lambda _error: ("not here", 404))
    assert [get(app, path).status_code for path in ("/fails/x", "/gone", "/nowhere")] == [404, 410, 404]
    assert trackers.events == []


def test_a_hook_that_fails_after_the_view_is_an_error_too(trackers: Trackers) -> None:
    app = shop(trackers, errors=True)
    app.add_url_rule("/", view_func=lambda: "")

    @app.after_request
    def fails(_response: Any) -> Any:
        raise LookupError

    assert get(app, "/").status_code == 500
    assert errors_of(trackers) == ["/"]


def test_an_error_of_who_objects_is_not_tracked(trackers: Trackers) -> None:
    app = shop(trackers, errors=True)
    failing(app)
    assert app.test_client().get("/fails/x", headers={"DNT": "1"}).status_code == 500
    assert trackers.events == []


def test_visitors_of_many_threads_are_not_mixed_up(trackers: Trackers) -> None:
    app = shop(trackers, user_id=lambda request: request.args["user"], page_views=PageViews(), errors=True)

    @app.get("/<user>")
    def view(user: str) -> str:
        tracker_of().track(LOOK)
        if user.endswith("3"):
            raise LookupError
        return tracker_of(request).track(LOOK)

    def visit(number: int) -> None:
        for turn in range(20):
            user = f"u{number}-{turn}"
            with app.test_client().get(f"/{user}?user={user}") as response:
                assert response.data

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Two of each fourth visitor, whose error is the second one, and three of the others.
    assert len(trackers.events) == 8 * (2 * 2 + 18 * 3)
    assert all(event["url"].endswith(f"/{event['uid']}?user={event['uid']}") for event in trackers.events)


def test_a_peer_that_is_looked_up_is_tracked_as_the_peer_and_changes_nothing(trackers: Trackers) -> None:
    app, known = shop(trackers), list[Any]()

    @app.get("/")
    def view() -> str:
        for peer in known:
            tracker_of(peer).track(StructuredEvent(category="shop", action="peer"))
        known.append(request._get_current_object())  # type: ignore[attr-defined] # of a proxy
        tracker_of().track(StructuredEvent(category="shop", action="mine"))
        trackers.made_blocking[0].track(StructuredEvent(category="shop", action="mine"))
        return ""

    client = app.test_client(use_cookies=False)
    for name, headers in {"ada": {}, "shy": {"DNT": "1"}, "bob": {}}.items():
        client.get("/", headers={"Cookie": f"sp={name}", **headers}).close()
    who = [(event["se_ac"], event["tnuid"]) for event in trackers.events]
    # "shy" is tracked neither by itself nor as a peer, but tracks about "ada" as she permits.
    mine = {name: [("mine", name)] * 2 for name in ("ada", "bob")}
    assert who == [*mine["ada"], ("peer", "ada"), ("peer", "ada"), *mine["bob"]]
