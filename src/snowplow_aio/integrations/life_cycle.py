"""One tracker for each process of a service: made when it starts, closed after everything else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.subject import platform_code
from snowplow_aio.tracking.tracker import Tracker

log: logging.Logger = logging.getLogger("snowplow_aio.integrations")

TrackerSource = Tracker | Callable[[], Tracker]
"""A tracker, or a function that makes one."""


class LifeCycle:
    """
    What the integrations do with a tracker between the start of a service and its end.

    A function is called at each start, in the process that serves. A tracker
    that is given as it is can be used for one start only: after that it is closed.

    Args:
        source: The tracker, or the function that makes it.

        platform: The platform code of events for which neither the tracker nor a subject says one;
            None to leave that to the tracker.

        timeout: Seconds that closing takes at most; None for the emitters' own `drain_timeout`.

    Raises ConfigurationError or InvalidEventError when one of these is none.
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
        """The tracker; made now where nothing has started the service, as in some tests."""
        return self._tracker or self.start()

    def start(self) -> Tracker:
        """
        Return the tracker for this run of the service.

        Raises ConfigurationError when the function returns something else.
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
        Return the tracker for this run, which delivers in the loop that serves from now on.

        Raises what `start` raises.
        """
        tracker = self.start()
        # A thread has no loop to deliver in: what endpoints track in threads only would wait for the end.
        await tracker.flush(wait=False)
        return tracker

    async def stop(self) -> None:
        """Send what is left, and close. Does nothing where nothing was started, or all is closed."""
        if self._tracker is None or self._is_stopped:
            return
        await self._tracker.aclose(self._timeout)
        # A server that has heard of the end cancels who still waits: a second close must not.
        self._is_stopped = True
        _say_what_is_lost(self._tracker)


def _say_what_is_lost(tracker: Tracker) -> None:
    """Warn of events that the close has lost, where the emitters' own log lines reach nobody."""
    for name, stats in tracker.stats().items():
        lost = stats.dropped.get("closed", 0)
        if lost and not log.hasHandlers():
            message = f"{name}: closed with {lost} events undelivered (last error: {stats.last_error})"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
