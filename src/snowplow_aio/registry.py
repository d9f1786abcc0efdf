"""
Named trackers: several trackers in one process, found by their namespaces.

`create_tracker` makes a tracker at one place, and `get_tracker` finds it at
another. A tracker belongs to no event loop until it is used in one, so it can be
created anywhere. `add_tracker` keeps one that is there already, also a blocking one
of `snowplow_aio.sync`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from snowplow_aio.abc import BlockingTracker, Emitter
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.old_names import explains_arguments
from snowplow_aio.outcomes import FlushResult
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.tracking.any_tracker import AnyTracker
from snowplow_aio.tracking.tracker import Tracker

_Kind = TypeVar("_Kind", bound=AnyTracker)


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
        self._trackers: dict[str, Any] = {}
        self._default: str | None = None
        # A signal handler that looks for a tracker may interrupt a call of this.
        self._lock = threading.RLock()

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
        return self.add(Tracker(emitters, namespace=namespace, **options))

    def add(self, tracker: _Kind) -> _Kind:
        """
        Keep *tracker* under its namespace, and return it. The first tracker is the default one.

        Args:
            tracker: A `Tracker`, or a blocking one of `snowplow_aio.sync`.

        Raises:
            ConfigurationError: If it is no tracker, or its namespace is empty or taken by another one.
        """
        rule = "must be a Tracker of snowplow_aio or of snowplow_aio.sync"
        check_argument(isinstance(tracker, AnyTracker), "tracker", tracker, rule)
        namespace = tracker.namespace
        _check_name(namespace)
        with self._lock:
            is_free = self._trackers.get(namespace, tracker) is tracker
            check_argument(is_free, "namespace", namespace, "must not be taken by another tracker")
            self._trackers[namespace] = tracker
            self._default = self._default or namespace
        return tracker

    @overload
    def get(self, namespace: str | None = None, kind: None = None) -> Tracker: ...

    @overload
    def get(self, namespace: str | None, kind: type[_Kind]) -> _Kind: ...

    @overload
    def get(self, namespace: str | None = None, *, kind: type[_Kind]) -> _Kind: ...

    def get(self, namespace: str | None = None, kind: type[Any] | None = None) -> Any:
        """
        Return a tracker.

        Args:
            namespace: The name of the tracker; None for the default one.

            kind: The class of the tracker, for type checkers: without it they take a blocking tracker
                for an async one. One of another class is refused.

        Raises:
            ConfigurationError: If there is no such tracker.

        Example:
            Find a blocking tracker::

                tracker = get_tracker("checkout", kind=snowplow_aio.sync.Tracker)
        """
        if namespace is not None:
            check_argument(isinstance(namespace, str), "namespace", namespace, "must be a string")
        rule = "must be the class Tracker of snowplow_aio or snowplow_aio.sync"
        is_kind = kind is None or (isinstance(kind, type) and issubclass(kind, AnyTracker))
        check_argument(is_kind, "kind", kind, rule)
        with self._lock:
            found = self._trackers.get(namespace if namespace is not None else self._default or "")
        if found is None:
            known = ", ".join(sorted(self._trackers)) or "none"
            raise ConfigurationError(f"namespace: there is no tracker {namespace!r}; there are: {known}")
        if kind is not None:
            rule = f"must be the class of the tracker, {type(found).__module__}.{type(found).__name__}"
            check_argument(isinstance(found, kind), "kind", kind, rule)
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

    @overload
    def remove(self, namespace: str) -> Tracker: ...

    @overload
    def remove(self, namespace: _Kind) -> _Kind: ...

    def remove(self, namespace: Any) -> Any:
        """
        Forget a tracker and return it. It is not closed.

        If it was the default tracker, the oldest of the others becomes the default.

        Args:
            namespace: The namespace of the tracker, or the tracker itself.

        Raises:
            ConfigurationError: If there is no such tracker.
        """
        name = namespace.namespace if isinstance(namespace, AnyTracker) else namespace
        _check_name(name)
        with self._lock:
            removed: Any = self.get(name)
            is_kept = name is namespace or removed is namespace
            check_argument(is_kept, "namespace", namespace, "must be of a tracker that is kept")
            del self._trackers[name]
            if self._default == name:
                self._default = next(iter(self._trackers), None)
        return removed

    def names(self) -> list[str]:
        """Return the namespaces, oldest first."""
        with self._lock:
            return list(self._trackers)

    async def aclose(self, timeout: float | None = None) -> dict[str, FlushResult]:
        """
        Close and forget all trackers, blocking ones too; the loop goes on meanwhile.

        Args:
            timeout: Seconds that closing one tracker takes at most, at least 0; None for the
                `drain_timeout` of its emitters.

        Returns:
            The result of the last flush of each tracker, by namespace.

        Raises:
            ConfigurationError: If *timeout* is not a number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        return {name: await _closed(self.remove(name), timeout) for name in self.names()}

    def close(self, timeout: float | None = None) -> dict[str, FlushResult]:
        """
        Close and forget the blocking trackers, in a program without an event loop.

        Async trackers stay. A blocking tracker that nobody closes sends what is left when the interpreter
        ends.

        Args:
            timeout: As for `aclose`.

        Returns:
            The result of the last flush of each of them, by namespace.

        Raises:
            ConfigurationError: If *timeout* is not a number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        with self._lock:
            blocking: dict[str, BlockingTracker] = {
                name: tracker for name, tracker in self._trackers.items() if not isinstance(tracker, Tracker)
            }
        for name in blocking:
            self.remove(name)
        return {name: tracker.close(timeout) for name, tracker in blocking.items()}


async def _closed(tracker: Tracker | BlockingTracker, timeout: float | None) -> FlushResult:
    if isinstance(tracker, Tracker):
        return await tracker.aclose(timeout)
    # It waits, perhaps for this very loop.
    return await asyncio.to_thread(tracker.close, timeout)


def _check_name(namespace: object) -> None:
    is_name = isinstance(namespace, str) and namespace != ""
    check_argument(is_name, "namespace", namespace, "must be a non-empty string")


_registry = TrackerRegistry()


@explains_arguments
def create_tracker(namespace: str, emitters: Emitter | Sequence[Emitter] | Any, **options: Any) -> Tracker:
    """Make a tracker and keep it under its namespace; see `TrackerRegistry.create`."""
    return _registry.create(namespace, emitters, **options)


def add_tracker(tracker: _Kind) -> _Kind:
    """Keep a tracker under its namespace, and return it; see `TrackerRegistry.add`."""
    return _registry.add(tracker)


@overload
def get_tracker(namespace: str | None = None, kind: None = None) -> Tracker: ...


@overload
def get_tracker(namespace: str | None, kind: type[_Kind]) -> _Kind: ...


@overload
def get_tracker(namespace: str | None = None, *, kind: type[_Kind]) -> _Kind: ...


def get_tracker(namespace: str | None = None, kind: type[Any] | None = None) -> Any:
    """Return the tracker *namespace*, or the default one; see `TrackerRegistry.get`."""
    return _registry.get(namespace, kind)


def set_default_tracker(namespace: str) -> None:
    """Make *namespace* the default tracker; see `TrackerRegistry.set_default`."""
    _registry.set_default(namespace)


@overload
def remove_tracker(namespace: str) -> Tracker: ...


@overload
def remove_tracker(namespace: _Kind) -> _Kind: ...


def remove_tracker(namespace: Any) -> Any:
    """Forget a tracker or the one with that namespace, and return it; see `TrackerRegistry.remove`."""
    return _registry.remove(namespace)


async def close_trackers(timeout: float | None = None) -> dict[str, FlushResult]:
    """Close and forget all trackers; see `TrackerRegistry.aclose`."""
    return await _registry.aclose(timeout)


def close_blocking_trackers(timeout: float | None = None) -> dict[str, FlushResult]:
    """Close and forget the blocking trackers; see `TrackerRegistry.close`."""
    return _registry.close(timeout)
