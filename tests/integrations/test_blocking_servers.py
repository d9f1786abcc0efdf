"""Real servers of threads: what visitors were answered has arrived when the server has ended."""

from __future__ import annotations

import pytest

from tests.collector import Collector
from tests.faults.servers.servers import GUNICORN, STOPS, Server, serving
from tests.faults.servers.test_servers import stop_under_load

pytestmark = pytest.mark.anyio

_APP = "tests.integrations.served.blocking_app:app"
_WAITRESS = "tests.integrations.served.waitress_app:app"
_DJANGO = "tests.integrations.served.django_project"
_VIEWS = ("/view", "/stream")

# The session `neighbours` tries more of them.
SERVERS = {
    "gunicorn -k gthread": Server(
        f"{GUNICORN} -b 127.0.0.1:{{port}} -w 2 -k gthread --threads 4 {_APP}", _VIEWS, processes=2
    ),
    "Django: uvicorn": Server(f"-m uvicorn --port {{port}} {_DJANGO}:asgi", ("/view", "/async")),
    "waitress": Server(f"-m waitress --listen=127.0.0.1:{{port}} {_WAITRESS}", _VIEWS, stops=STOPS[:1]),
}


async def assert_nothing_is_lost_under_load(collector: Collector, server: Server) -> None:
    """Stop *server* while visitors ask it."""
    async with serving(server, collector.url) as running:
        ended, answered = await stop_under_load(running, server)
    assert answered
    assert set(answered) - set(collector.accepted) == set()
    assert (ended.losses, "Traceback" in ended.said) == ([], False), ended.said


@pytest.mark.parametrize("name", SERVERS)
async def test_what_is_stopped_under_load_loses_no_event(collector: Collector, name: str) -> None:
    await assert_nothing_is_lost_under_load(collector, SERVERS[name])
