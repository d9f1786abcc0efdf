"""
The app that ``celery -A snowplow_aio.celery_app worker`` loads, and `register` for apps of your own.

Workers of either app deliver the batches of events that a `CeleryEmitter` hands
them. The app here is configured by the environment (`Settings`) and by the
module ``snowplow_celery_config`` if there is one. The pools ``prefork``, ``solo``
and ``threads`` can run the task.
"""

from __future__ import annotations

from typing import Any

from snowplow_aio.celery.app import new_app
from snowplow_aio.celery.task import Destination, add_tasks
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.http.collector import Collector
from snowplow_aio.http.transport import HttpTransport
from snowplow_aio.runtime.optional import Needs
from snowplow_aio.settings import Settings

with Needs("snowplow-aio[celery]"):
    from celery import Celery
    from celery.utils.imports import cwd_in_path


def register(app: Celery, settings: Settings | None = None) -> None:
    """
    Make the workers of *app* deliver the events that a `CeleryEmitter` hands them.

    Args:
        app: The application's own Celery app.

        settings: Where and how to deliver; None to read the environment when a worker
            delivers for the first time.

    Raises:
        ConfigurationError: If ``accept_content`` of the app lacks JSON: its workers would throw events away.

    Example:
        >>> app = Celery("shop", broker="redis://redis.example.com:6379/1")
        >>> register(app, Settings(collector="https://collector.example.com"))
    """
    add_tasks(app, Settings.read if settings is None else lambda: settings, _destination)


def __getattr__(name: str) -> Any:
    # The app is made when it is first asked for: `register` alone needs no app of ours, and no
    # collector in the environment.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = Settings.read()
    # A worker without a collector must not start.
    _collector(settings)
    # The program `celery` has the folder that it is started from on the path only for a moment.
    with cwd_in_path():
        own = new_app(settings)
    register(own, settings)
    globals()["app"] = own
    return own


def _destination(settings: Settings) -> Destination:
    transport = HttpTransport(_collector(settings), method=settings.method)
    return Destination(transport, max_batch=1 if settings.method == "get" else 500)


def _collector(settings: Settings) -> Collector:
    if settings.collector is None:
        rule = "must be set to the collector's host or URL"
        raise ConfigurationError.about("SNOWPLOW_COLLECTOR", None, rule)
    try:
        return Collector.at(settings.collector, protocol=None, port=None, post_path=None)
    except ConfigurationError as error:
        raise ConfigurationError(f"SNOWPLOW_COLLECTOR: {error}") from None
