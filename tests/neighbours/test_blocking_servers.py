"""Servers of threads, processes and greenlets: events of a blocking tracker arrive, their end loses none."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio import StructuredEvent
from snowplow_aio.integrations.wsgi import SnowplowMiddleware
from tests.collector import Collector
from tests.faults.conftest import lasting
from tests.faults.servers.servers import GUNICORN, STOPS, Server, Visitors, serving
from tests.faults.servers.test_servers import DEAD, MARGIN_SECONDS
from tests.integrations.made import Trackers
from tests.integrations.test_blocking_servers import SERVERS as QUICK
from tests.integrations.test_blocking_servers import assert_nothing_is_lost_under_load
from tests.integrations.wsgi_made import ask, environ_of
from tests.neighbours.test_servers import stop, visit
from tests.waiting import until

pytestmark = pytest.mark.anyio

_APP = "tests.integrations.served.blocking_app:app"
_DJANGO = "tests.integrations.served.django_project"
_VIEWS = ("/view", "/stream")
_GUNICORN = f"{GUNICORN} -b 127.0.0.1:{{port}} -w 2"
_UWSGI = f"-m tests.neighbours.served.uwsgi --http-socket 127.0.0.1:{{port}} -p 2 --wsgi {_APP}"
_GRACEFUL = f"{_UWSGI} --ini tests/neighbours/served/uwsgi.ini"
# It ends without Python at all others.
_BY_TERM = STOPS[:1]
_BY_INTERRUPT = STOPS[2:]

SERVERS = QUICK | {
    "gunicorn": Server(f"{_GUNICORN} {_APP}", _VIEWS, 2),
    "gunicorn --preload": Server(f"{_GUNICORN} --preload -k gthread --threads 4 {_APP}", _VIEWS, 2),
    "gunicorn -k gevent": Server(f"{_GUNICORN} -k gevent {_APP}", _VIEWS, 2),
    "Django: gunicorn": Server(f"{_GUNICORN} {_DJANGO}:app", (*_VIEWS, "/async"), 2),
    "Django: gunicorn --preload": Server(
        f"{_GUNICORN} --preload -k gthread --threads 4 {_DJANGO}:app", _VIEWS, 2
    ),
    "Django: daphne": Server(f"-m daphne -p {{port}} {_DJANGO}:asgi", ("/view", "/async")),
    "uWSGI": Server(_GRACEFUL, _VIEWS, 2, _BY_TERM),
    "uWSGI --threads": Server(f"{_GRACEFUL} --threads 4", _VIEWS, 2, _BY_TERM),
    "uWSGI --lazy-apps": Server(f"{_GRACEFUL} --lazy-apps", _VIEWS, 2, _BY_TERM),
}
# They are only stopped: Werkzeug's server hangs if a client asks again within ten milliseconds.
DEVELOPING = {
    "runserver": Server(f"-m {_DJANGO} --noreload {{port}}", _VIEWS, stops=_BY_INTERRUPT),
    "flask run": Server(f"-m flask --app {_APP} run --port {{port}}", _VIEWS, stops=_BY_INTERRUPT),
}


@lasting(300)
@pytest.mark.parametrize("name", SERVERS)
async def test_each_event_arrives_while_it_serves(collector: Collector, name: str) -> None:
    server = SERVERS[name]
    async with serving(server, collector.url, batch_size=1) as running:
        answered = await visit(running, server.paths)
        await until(lambda: len(collector.accepted) >= len(answered))
        running.tell(*server.stops[0])
        ended = await running.ended()
    assert answered
    assert set(answered) == set(collector.accepted)
    assert collector.accepted.total() == len(answered)
    assert (ended.losses, "Traceback" in ended.said, "WARNING:snowplow" in ended.said) == (
        [],
        False,
        False,
    ), ended.said


@lasting(600)
@pytest.mark.parametrize("name", SERVERS | DEVELOPING)
async def test_what_is_stopped_under_load_loses_no_event(collector: Collector, name: str) -> None:
    await assert_nothing_is_lost_under_load(collector, (SERVERS | DEVELOPING)[name])


@lasting(300)
async def test_a_server_that_loads_changed_code_loses_no_event(collector: Collector, tmp_path: Path) -> None:
    # That it is interrupted under load is not promised: it kills the process that serves after 0.25 s.
    code = tmp_path / "code"
    code.touch()
    server = Server(f"-m flask --app {_APP} --debug run --port {{port}} --extra-files {code}", _VIEWS)
    later = itertools.count(int(code.stat().st_mtime) + 1)

    def is_reloaded() -> bool:
        # A change is overlooked before the first look at all files.
        os.utime(code, (0, next(later)))
        return collector.accepted.total() == 30

    async with serving(server, collector.url, batch_size=1_000) as running:
        for _ in range(2):
            await running.ready()
            visitors = Visitors(running.port, server.paths)
            # Each for one request: see above.
            await visitors.come(count=30, rate=200, turns=1)
            assert len(visitors.answered) == 30
            await until(is_reloaded)
            assert set(visitors.answered) == set(collector.accepted)
            collector.accepted.clear()


@lasting(300)
async def test_its_end_says_once_for_each_process_what_a_dead_collector_has_cost() -> None:
    server = QUICK["gunicorn -k gthread"]
    async with serving(server, DEAD, close_seconds=0.5) as running:
        answered = await visit(running, server.paths)
        ended = await stop(running)
    assert sum(ended.losses) == len(answered) == 30, ended.said
    assert 0 < len(ended.losses) <= server.processes
    assert ended.seconds < 0.5 + MARGIN_SECONDS


@lasting(300)
async def test_settings_of_uwsgi_that_lose_events_are_named_once(collector: Collector) -> None:
    server = Server(f"{_UWSGI} --master --die-on-term", ("/view", "/health"), 2)
    async with serving(server, collector.url) as running:
        answered = await visit(running, server.paths)
        ended = await stop(running)
    for setting in ("`enable-threads = true`", "gracefully_kill_them_all`"):
        lines = [line for line in ended.said.splitlines() if "WARNING" in line or "Warning" in line]
        assert 1 <= sum(setting in line for line in lines) <= server.processes, ended.said
    # Events that wait are no good health.
    assert any("enable-threads" in text for text in answered), answered


@lasting(300)
async def test_waitress_that_sigterm_kills_says_how_to_stop_it(collector: Collector) -> None:
    server = Server(f"-m waitress --listen=127.0.0.1:{{port}} {_APP}", _VIEWS)
    async with serving(server, collector.url) as running:
        await visit(running, server.paths)
        running.tell(signal.SIGINT, "group")
        ended = await running.ended()
    assert ended.said.count("SIGTERM kills waitress") == 1


def test_greenlets_of_one_thread_do_not_mix_their_visitors() -> None:
    gevent: Any = importlib.import_module("gevent")
    trackers = Trackers()
    tracker = trackers.blocking()

    def app(environ: dict[str, Any], start_response: Any) -> Generator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        for _ in range(3):
            tracker.track(StructuredEvent(category="shop", action=environ["HTTP_COOKIE"]))
            gevent.sleep(0)
            yield b"x"

    middleware = SnowplowMiddleware(app, tracker)
    environs = [environ_of("/", {"Cookie": f"sp=n{number}"}) for number in range(20)]
    gevent.joinall([gevent.spawn(ask, middleware, environ) for environ in environs], raise_error=True)
    gevent.get_hub().destroy(destroy_loop=True)
    assert len(trackers.events) == 3 * len(environs)
    assert all(event["se_ac"] == f"sp={event['tnuid']}" for event in trackers.events)


@lasting(300)
async def test_uvicorn_without_a_lifespan_says_what_helps(collector: Collector) -> None:
    async with serving(
        Server(f"-m uvicorn --port {{port}} {_DJANGO}:bare", ("/view",)), collector.url
    ) as running:
        await visit(running, ("/view",))
        ended = await stop(running)
    assert ended.said.count("with_lifespan") == 1
