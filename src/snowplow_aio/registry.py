"""
Named trackers: several trackers in one process, found by their namespaces.

`create_tracker` makes a tracker at one place, and `get_tracker` finds it at
another. A tracker belongs to no event loop until it is used in one, so it can be
created anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from snowplow_aio.abc import Emitter
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.outcomes import FlushResult
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.tracking.tracker import Tracker


class TrackerRegistry(NeverCopied):
    """
    Trackers by namespace. Every method is safe from any thread.

    The functions of this module use one registry for the whole process. An application
    that needs several makes its own.

    Example:
        >>> registry = TrackerRegistry()
        >>> tracker = registry.create("checkout", HttpEmitter("collector.example.com"), app_id="shop")
        >>> registry.get("checkout") is tracker
        True
    """

    def __init__(self) -> None:
        self._trackers: dict[str, Tracker] = {}
        self._default: str | None = None
        self._lock = threading.Lock()

    def create(self, namespace: str, emitters: Emitter | Sequence[Emitter] | Any, **options: Any) -> Tracker:
        """
        Make a tracker and keep it under its namespace. The first tracker is the default one.

        Args:
            namespace: The name of the tracker, not empty. It is sent with every event.

            emitters: The emitters of the tracker.

            **options: Other arguments of `Tracker`.

        Raises:
            ConfigurationError: If the namespace is empty or taken, or `Tracker` refuses an argument.
        """
        _check_name(namespace)
        tracker = Tracker(emitters, namespace=namespace, **options)
        with self._lock:
            check_argument(
                namespace not in self._trackers,
                "namespace",
                namespace,
                "must not be taken by another tracker",
            )
            self._trackers[namespace] = tracker
            self._default = self._default or namespace
        return tracker

    def get(self, namespace: str | None = None) -> Tracker:
        """
        Return a tracker.

        Args:
            namespace: The name of the tracker; None for the default one.

        Raises:
            ConfigurationError: If there is no such tracker.
        """
        if namespace is not None:
            check_argument(isinstance(namespace, str), "namespace", namespace, "must be a string")
        with self._lock:
            found = self._trackers.get(namespace if namespace is not None else self._default or "")
        if found is None:
            known = ", ".join(sorted(self._trackers)) or "none"
            raise ConfigurationError(f"namespace: there is no tracker {namespace!r}; there are: {known}")
        return found

    def set_default(self, namespace: str) -> None:
        """
        Make *namespace* the default tracker.

        Raises:
            ConfigurationError: If there is no such tracker.
        """
        _check_name(namespace)
        self.get(namespace)
        with self._lock:
            self._default = namespace

    def remove(self, namespace: str) -> Tracker:
        """
        Forget the tracker *namespace* and return it. It is not closed.

        If it was the default tracker, the oldest of the others becomes the default.

        Raises:
            ConfigurationError: If there is no such tracker.
        """
        _check_name(namespace)
        removed = self.get(namespace)
        with self._lock:
            del self._trackers[namespace]
            if self._default == namespace:
                self._default = next(iter(self._trackers), None)
        return removed

    def names(self) -> list[str]:
        """Return the namespaces, oldest first."""
        with self._lock:
            return list(self._trackers)

    async def aclose(self, timeout: float | None = None) -> dict[str, FlushResult]:
        """
        Close and forget all trackers.

        Args:
            timeout: Seconds that closing one tracker takes at most, at least 0; None for the
                `drain_timeout` of its emitters.

        Returns:
            The result of the last flush of each tracker, by namespace.

        Raises:
            ConfigurationError: If *timeout* is not a number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        return {name: await self.remove(name).aclose(timeout) for name in self.names()}


def _check_name(namespace: object) -> None:
    is_name = isinstance(namespace, str) and namespace != ""
    check_argument(is_name, "namespace", namespace, "must be a non-empty string")


_registry = TrackerRegistry()


def create_tracker(namespace: str, emitters: Emitter | Sequence[Emitter] | Any, **options: Any) -> Tracker:
    """Make a tracker and keep it under its namespace; see `TrackerRegistry.create`."""
    return _registry.create(namespace, emitters, **options)


def get_tracker(namespace: str | None = None) -> Tracker:
    """Return the tracker *namespace*, or the default one; see `TrackerRegistry.get`."""
    return _registry.get(namespace)


def set_default_tracker(namespace: str) -> None:
    """Make *namespace* the default tracker; see `TrackerRegistry.set_default`."""
    _registry.set_default(namespace)


def remove_tracker(namespace: str) -> Tracker:
    """Forget the tracker *namespace* and return it. It is not closed; see `TrackerRegistry.remove`."""
    return _registry.remove(namespace)


async def close_trackers(timeout: float | None = None) -> dict[str, FlushResult]:
    """Close and forget all trackers; see `TrackerRegistry.aclose`."""
    return await _registry.aclose(timeout)
