"""The blocking tracker of a service: one for each process that serves, made when it is first needed."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from typing import Any, TypeGuard

from snowplow_aio.abc import BlockingTracker
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.subject import platform_code
from snowplow_aio.runtime import fork
from snowplow_aio.tracking.tracker import Tracker

BlockingTrackerSource = BlockingTracker | Callable[[], BlockingTracker]
"""A tracker of `snowplow_aio.sync`, or a function that makes one."""

_RULE = (
    "must be a snowplow_aio.sync.Tracker, or a function that makes one: an application of this kind has "
    "no event loop"
)


class TrackerPerProcess:
    """
    The tracker of a service in each of its processes.

    A function is called in the process that serves, when the tracker is first needed there: a
    server may fork after it has imported the application. The events that are left are sent
    when the interpreter ends.

    Args:
        source: The tracker, or a function that makes it.

        platform: The platform code of events for which neither the tracker nor a subject
            has one; None to leave it to the tracker.

        timeout: Seconds that the end of the process waits at most, at least 0; None for the
            `drain_timeout` of the emitters.

    Attributes:
        timeout: The same.

    Raises:
        ConfigurationError: If *source* or *timeout* is not allowed.
        InvalidEventError: If *platform* is no platform code.
    """

    def __init__(self, source: BlockingTrackerSource, *, platform: str | None, timeout: float | None) -> None:
        is_source = _is_blocking(source) or (callable(source) and not isinstance(source, Tracker))
        check_argument(is_source, "make_tracker", source, _RULE)
        if platform is not None:
            platform_code("platform", platform)
        check_seconds("timeout", timeout, optional=True, zero=True)
        self._source: Any = source
        self._platform: str | None = platform
        self.timeout: float | None = timeout
        self._made: tuple[fork.ProcessMarker, BlockingTracker] | None = None
        # A lock of the parent that a thread held at the fork is never released in the child.
        self._locks: dict[int, threading.Lock] = {}

    @property
    def tracker(self) -> BlockingTracker:
        """
        The tracker of this process.

        Raises:
            ConfigurationError: If the function does not return a tracker for programs without a loop.
        """
        made = self._made
        if made is not None and made[0][0]:
            return made[1]
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            made = self._made
            if made is None or not made[0][0]:
                # That of the parent process is left alone: a finalizer could touch its connections.
                fork.never_finalize(made)
                made = self._made = (fork.process_marker(), self._make())
            return made[1]

    def _make(self) -> BlockingTracker:
        tracker = self._source if _is_blocking(self._source) else self._source()
        if not _is_blocking(tracker):
            if inspect.iscoroutine(tracker):
                tracker.close()
            rule = _RULE if tracker is not None else "must return the tracker that it makes"
            raise ConfigurationError.about("make_tracker", tracker, rule)
        if self._platform is not None:
            tracker.set_default_platform(self._platform)
        if self.timeout is not None:
            _close_at_exit(tracker, self.timeout)
        return tracker


def _is_blocking(tracker: object) -> TypeGuard[BlockingTracker]:
    return isinstance(tracker, BlockingTracker) and not isinstance(tracker, Tracker | type)


def _close_at_exit(tracker: BlockingTracker, seconds: float) -> None:
    """Close *tracker* within *seconds* when the main thread ends, before its emitters wait for longer."""
    register = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(tracker.close, seconds)
