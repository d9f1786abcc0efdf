"""Celery apps of our own, for emitters and workers that are not given one."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

from snowplow_aio.runtime.optional import Needs
from snowplow_aio.settings import REDIS_URL, Settings

with Needs("snowplow-aio[celery]"):
    from celery import Celery
    from celery.app.defaults import DEFAULTS

# The module that configures our app if it can be imported, as in the official tracker.
CONFIG_MODULE = "snowplow_celery_config"


def new_app(settings: Settings) -> Celery:
    """
    Return a Celery app of our own. The default app of the process is not touched.

    The module ``snowplow_celery_config`` configures it if there is one. Settings
    that the module leaves out have our own defaults. Three things come from
    *settings* in any case, so that emitters and workers agree: the broker if they
    name one, the queue, and JSON as the only format.
    """
    app = Celery("snowplow", set_as_current=False)
    if find_spec(CONFIG_MODULE) is not None:
        app.config_from_object(CONFIG_MODULE)
    conf = app.conf
    defaults: dict[str, Any] = {
        "broker_url": REDIS_URL,
        # Celery's own default gives up after 100 attempts.
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "task_ignore_result": True,
        # A batch is hundreds of events: another worker may be free for the next one.
        "worker_prefetch_multiplier": 1,
    }
    # Not `add_defaults`, which would go before the module.
    conf.update({name: value for name, value in defaults.items() if conf[name] == DEFAULTS[name]})
    # After this time Redis gives a message that a worker holds to another one. It is
    # longer than any is held: a minute's countdown and a few deliveries.
    visibility = math.ceil(240 + 6 * settings.celery_delivery_timeout)
    # Options of the module are merged with ours.
    options = {"visibility_timeout": visibility, "confirm_publish": True} | conf.broker_transport_options
    conf.update(
        broker_transport_options=options,
        accept_content=["json"],
        task_serializer="json",
        task_default_queue=settings.celery_queue,
    )
    if settings.celery_broker_url:
        # All three: Celery would prefer CELERY_BROKER_URL, which may be another app's, to the first alone.
        names = ("broker_url", "broker_read_url", "broker_write_url")
        conf.update(dict.fromkeys(names, settings.celery_broker_url))
    return app


def from_environment(app: Celery | None, queue: str | None) -> tuple[Celery, str]:
    """
    Return *app* and *queue*; for one that is None, the app or queue that the environment configures.

    Raises:
        ConfigurationError: If a variable is malformed.
    """
    settings = Settings.read()
    return new_app(settings) if app is None else app, settings.celery_queue if queue is None else queue
