"""
The tracker in a Litestar application.

``Litestar(..., plugins=[SnowplowPlugin(make_tracker)])``, and ``tracker:
CurrentTracker`` as a parameter of a handler.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Unpack

from litestar import Litestar, di
from litestar.config.app import AppConfig
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPluginProtocol
from litestar.types import Scope

from snowplow_aio.integrations.asgi import SnowplowMiddleware, keep, tracker_of
from snowplow_aio.integrations.life_cycle import LifeCycle, TrackerSource
from snowplow_aio.integrations.page_views import PageViews
from snowplow_aio.integrations.visitor import VisitorOptions
from snowplow_aio.tracking.tracker import Tracker

__all__ = ["CurrentTracker", "SnowplowPlugin", "tracker_of"]

# Before 2.23 every parameter with the name of a dependency is one; Litestar 3 asks for the mark.
_DEPENDENCY: Any = getattr(di, "Dependency", object)()

CurrentTracker = Annotated[Tracker, _DEPENDENCY]
"""The type of a handler's parameter ``tracker``, which is the tracker of the application."""


class SnowplowPlugin(InitPluginProtocol):
    """
    Gives an application a tracker, from its start to its end, as the dependency ``tracker``.

    And says whom the events of a request are about, as `SnowplowMiddleware` does.

    It is there before what else the application starts. It is closed last:
    after other lifespans, and after what `on_shutdown` has when the plugin is initialised.

    Args:
        tracker: A function that makes the tracker, in the process that serves. Or the tracker
            itself, for an application that starts once.

        platform: The platform code of events for which neither the tracker nor a subject says one;
            None to leave that to the tracker.

        timeout: Seconds that closing takes at most; None for the emitters' own `drain_timeout`.

        page_views: Which requests are tracked as page views; None for none.

        **options: How visitors are recognised, and what may be tracked of them: see `VisitorOptions`.

    Raises ConfigurationError or InvalidEventError when one of these is none.
    """

    def __init__(
        self,
        tracker: TrackerSource,
        *,
        platform: str | None = "srv",
        timeout: float | None = None,
        page_views: PageViews | None = None,
        **options: Unpack[VisitorOptions],
    ) -> None:
        # Made here too, so that a wrong option is refused at once.
        SnowplowMiddleware(_nothing, page_views=page_views, **options)
        self._middleware: DefineMiddleware = DefineMiddleware(
            SnowplowMiddleware, page_views=page_views, **options
        )
        self._life_cycle: LifeCycle = LifeCycle(tracker, platform=platform, timeout=timeout)

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
        yield


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """Stand for an application."""


async def _current_tracker(scope: Scope) -> Tracker:
    return tracker_of(scope)
