"""
The tracker in a Litestar application.

`SnowplowPlugin` gives an application its tracker. A parameter ``tracker:
CurrentTracker`` of a route handler is the tracker.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Unpack

from snowplow_aio.integrations.asgi import (
    RequestMiddleware,
    keep,
    keep_policy,
    page_url_of,
    tracker_of,
    watched,
)
from snowplow_aio.integrations.life_cycle import LifeCycle, TrackerSource
from snowplow_aio.integrations.request_errors import RequestErrors
from snowplow_aio.integrations.setup_options import Setup, SetupOptions
from snowplow_aio.integrations.visitor import VisitorPolicy
from snowplow_aio.runtime.optional import Needs
from snowplow_aio.tracking.tracker import Tracker

with Needs("litestar"):
    from litestar import Litestar, di
    from litestar.config.app import AppConfig
    from litestar.middleware import DefineMiddleware
    from litestar.plugins import InitPluginProtocol
    from litestar.types import Scope

__all__ = ["CurrentTracker", "SnowplowPlugin", "page_url_of", "tracker_of"]

# Before Litestar 2.23 every parameter with the name of a dependency is one. Litestar 3 needs it marked.
_DEPENDENCY: Any = getattr(di, "Dependency", object)()

CurrentTracker = Annotated[Tracker, _DEPENDENCY]
"""The type of a route handler's parameter ``tracker``: the tracker of the application."""


class SnowplowPlugin(InitPluginProtocol):
    """
    Gives an application a tracker from its start to its end, as the dependency ``tracker``.

    It also adds the visitor of a request to its events, as `SnowplowMiddleware` does.

    The tracker is made before anything else that the application starts. It is closed
    last: after other lifespans, and after the `on_shutdown` hooks that exist when the plugin
    is initialised.

    Args:
        tracker: A function that makes the tracker, called in the process that serves. Or a
            tracker, for an application that starts only once.

        **options: See `SetupOptions`.

    Raises:
        ConfigurationError: If an argument has the wrong type or an unknown value.
        InvalidEventError: If `platform` is no platform code.

    Example:
        >>> app = Litestar([add_to_cart], plugins=[SnowplowPlugin(make_tracker)])
    """

    def __init__(self, tracker: TrackerSource, **options: Unpack[SetupOptions]) -> None:
        setup = Setup(**options)
        self._policy: VisitorPolicy = setup.policy
        self._errors: RequestErrors | None = setup.errors
        self._life_cycle: LifeCycle = setup.life_cycle(tracker)
        self._middleware: DefineMiddleware = DefineMiddleware(
            RequestMiddleware, setup=setup, life_cycle=self._life_cycle
        )

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the tracker to the configuration of the application."""
        app_config.lifespan.insert(0, self._start)
        app_config.on_shutdown.append(self._life_cycle.stop)
        app_config.middleware.insert(0, self._middleware)
        app_config.dependencies.setdefault("tracker", di.Provide(_current_tracker))
        return app_config

    @asynccontextmanager
    async def _start(self, app: Litestar) -> AsyncGenerator[None]:
        keep(app, await self._life_cycle.open())
        # A request without a route reaches no middleware, but perhaps a handler of exceptions.
        keep_policy(app, self._policy)
        handler = app.asgi_handler
        if self._errors is not None:
            # Litestar answers the exceptions that leave the middleware.
            app.asgi_handler = watched(handler, self._errors)
        try:
            yield
        finally:
            app.asgi_handler = handler


async def _current_tracker(scope: Scope) -> Tracker:
    return tracker_of(scope)
