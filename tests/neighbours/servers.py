"""Servers and frameworks that stand between the application and its visitors, and what instruments them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.faults.servers.servers import GUNICORN, STOPS, Server
from tests.neighbours.neighbour import Neighbour

FASTAPI = "tests.faults.servers.served.fastapi_app:app"
BARE = "tests.faults.servers.served.bare_app:app"
_DJANGO = "tests.neighbours.served.django_app"
_FLASK = "tests.neighbours.served.flask_app:app"

_VIEWS = ("/awaited", "/threaded")
_GUNICORN = f"{GUNICORN} -b 127.0.0.1:{{port}}"
_GRANIAN = "-m granian --host 127.0.0.1 --port {port} --interface"
_DAPHNE = "-m daphne -b 127.0.0.1 -p {port}"
# Nothing is told to anybody; the agent is one that nobody runs.
_DATADOG = {
    "SHOP_INSTRUMENT": "Datadog",
    "DD_CRASHTRACKING_ENABLED": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
}
_INSTRUMENTED = "tests.neighbours.served.instrumented_app:app"


@dataclass(frozen=True, kw_only=True)
class Serving(Neighbour):
    """
    A server with an application.

    Attributes:
        server: How it is started.

        has_end: Whether it tells the application of its end, or lets its loop end: then nothing is lost.

        variables: The environment.
    """

    server: Server
    has_end: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)


SERVERS = {
    "uvicorn": Serving(
        packages=("uvicorn", "fastapi"), server=Server(f"-m uvicorn --port {{port}} {FASTAPI}")
    ),
    "uvicorn --lifespan off": Serving(
        packages=("uvicorn",),
        server=Server(f"-m uvicorn --lifespan off --port {{port}} {BARE}", _VIEWS),
        has_end=False,
    ),
    "gunicorn with uvicorn's worker": Serving(
        packages=("gunicorn", "uvicorn-worker", "fastapi"),
        server=Server(f"{_GUNICORN} -k uvicorn_worker.UvicornWorker -w 2 {FASTAPI}", processes=2),
    ),
    "hypercorn": Serving(
        packages=("hypercorn", "fastapi"),
        # On SIGTERM to all it kills the process that it has started.
        server=Server(f"-m hypercorn -b 127.0.0.1:{{port}} {FASTAPI}", stops=(STOPS[0], STOPS[2])),
    ),
    "granian --interface asgi": Serving(
        packages=("granian", "fastapi"), server=Server(f"{_GRANIAN} asgi {FASTAPI}")
    ),
    "granian --interface asginl": Serving(
        packages=("granian",), server=Server(f"{_GRANIAN} asginl {BARE}", _VIEWS), has_end=False
    ),
    "daphne": Serving(packages=("daphne",), server=Server(f"{_DAPHNE} {BARE}", _VIEWS), has_end=False),
    "Django, ASGI in uvicorn": Serving(
        packages=("django", "asgiref", "uvicorn"),
        server=Server(f"-m uvicorn --port {{port}} {_DJANGO}:asgi", _VIEWS),
    ),
    "Django, ASGI in daphne": Serving(
        packages=("django", "asgiref", "daphne"),
        server=Server(f"{_DAPHNE} {_DJANGO}:asgi", _VIEWS),
        has_end=False,
    ),
    "Django, WSGI in gunicorn": Serving(
        packages=("django", "asgiref", "gunicorn"),
        server=Server(f"{_GUNICORN} -k gthread --threads 4 {_DJANGO}:wsgi", _VIEWS),
    ),
    "Flask in gunicorn": Serving(
        packages=("flask", "asgiref", "gunicorn"),
        server=Server(f"{_GUNICORN} -k gthread --threads 4 {_FLASK}", _VIEWS),
    ),
    "Sentry in FastAPI": Serving(
        packages=("sentry-sdk", "fastapi", "uvicorn"),
        server=Server("-m uvicorn --port {port} tests.neighbours.served.sentry_app:app"),
    ),
    "Datadog in FastAPI": Serving(
        packages=("ddtrace", "fastapi", "uvicorn"),
        server=Server(f"-m uvicorn --port {{port}} {_INSTRUMENTED}"),
        variables=_DATADOG,
    ),
    "OpenTelemetry in FastAPI": Serving(
        packages=(
            "opentelemetry-instrumentation-asyncio",
            "opentelemetry-instrumentation-aiohttp-client",
            "fastapi",
            "uvicorn",
        ),
        server=Server(f"-m uvicorn --port {{port}} {_INSTRUMENTED}"),
        variables={"SHOP_INSTRUMENT": "OpenTelemetry"},
    ),
}
