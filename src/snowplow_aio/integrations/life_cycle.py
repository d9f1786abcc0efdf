"""One tracker for each process of a service: made when it starts, closed after all else."""

from __future__ import annotations

from collections.abc import Callable

from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.subject import platform_code
from snowplow_aio.runtime.losses import announce
from snowplow_aio.runtime.throttled_log import QuietLogger, quiet_logger
from snowplow_aio.tracking.tracker import Tracker

_quiet: QuietLogger = quiet_logger("snowplow_aio.integrations")

_NO_LIFESPAN = (
    "the tracker is made at the first request, because the server runs no lifespan; nothing closes it, "
    "so events of the last moments may be lost. Run the server with lifespan (uvicorn --lifespan on, "
    "granian --interface asgi), or await `tracker_of(app).aclose()` when the service stops"
)

TrackerSource = Tracker | Callable[[], Tracker]
"""A tracker, or a function that makes one."""


class LifeCycle:
    """
    The tracker of a service between its start and its end.

    A function is called at each start, in the process that serves. A tracker can be
    used for one start only, because it is closed at the end.

    Args:
        source: The tracker, or a function that makes it.

        platform: The platform code of events for which neither the tracker nor a subject
            has one; None to leave it to the tracker.

        timeout: Seconds that closing takes at most, at least 0; None for the `drain_timeout`
            of the emitters.

    Raises:
        ConfigurationError: If *source* or *timeout* is not allowed.
        InvalidEventError: If *platform* is no platform code.
    """

    def __init__(self, source: TrackerSource, *, platform: str | None, timeout: float | None) -> None:
        is_source = isinstance(source, Tracker) or callable(source)
        check_argument(is_source, "tracker", source, "must be a Tracker, or a function that makes one")
        if platform is not None:
            platform_code("platform", platform)
        check_seconds("timeout", timeout, optional=True, zero=True)
        self._source: TrackerSource = source
        self._platform: str | None = platform
        self._timeout: float | None = timeout
        self._tracker: Tracker | None = None
        self._is_stopped = False

    @property
    def tracker(self) -> Tracker:
        """The tracker. It is made now if the server has not started the service."""
        if self._tracker is None:
            announce(_quiet, "%s", _NO_LIFESPAN)
            return self.start()
        return self._tracker

    def start(self) -> Tracker:
        """
        Return the tracker for this run of the service.

        Raises:
            ConfigurationError: If the function does not return a tracker.
        """
        tracker = self._source if isinstance(self._source, Tracker) else self._source()
        check_argument(
            isinstance(tracker, Tracker), "tracker", tracker, "must be a function that returns a Tracker"
        )
        if self._platform is not None:
            tracker.set_default_platform(self._platform)
        self._tracker = tracker
        self._is_stopped = False
        return tracker

    async def open(self) -> Tracker:
        """
        Return the tracker for this run. From now on it delivers in the loop that serves.

        Raises:
            ConfigurationError: If the function does not return a tracker.
        """
        return await self.start().__aenter__()

    async def stop(self) -> None:
        """Send the last events and close the tracker, if it was started and is not closed."""
        if self._tracker is None or self._is_stopped:
            return
        await self._tracker.aclose(self._timeout)
        # Set after the close: if a server cancels this one, the next call closes. If not, the next
        # call, which servers cancel too, must not close again.
        self._is_stopped = True
