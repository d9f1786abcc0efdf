"""The setting ``SNOWPLOW_AIO`` of a Django project."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from snowplow_aio.abc import BlockingTracker
from snowplow_aio.exceptions import SnowplowError
from snowplow_aio.integrations.per_process import TrackerPerProcess
from snowplow_aio.integrations.setup_options import Setup, SetupOptions
from snowplow_aio.runtime.foreign_text import shown
from snowplow_aio.runtime.optional import Needs

with Needs("django"):
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.signals import setting_changed
    from django.utils.module_loading import import_string

_NAME = "SNOWPLOW_AIO"

# What names a function by its dotted path, as Django's own settings do.
_FUNCTIONS = frozenset({"TRACKER", "USER_ID", "CONSENT"})

_OF_TRACKER = frozenset({"COLLECTOR", "APP_ID", "NAMESPACE"})

_KNOWN = frozenset({"TRACKER", *_OF_TRACKER, *(name.upper() for name in SetupOptions.__annotations__)})


@dataclass(frozen=True, slots=True)
class Installed:
    """
    What the setting says.

    Attributes:
        setup: The options.

        process: Has the tracker.
    """

    setup: Setup
    process: TrackerPerProcess


_installed: Installed | None = None
# A lock that a thread of the parent held at the fork is never released in the child.
_locks: dict[int, threading.RLock] = {}


def installed(default_user_id: Callable[[Any], Any]) -> Installed:
    """
    Return what the setting says. It is read once, and again when a test overrides it.

    Args:
        default_user_id: The hook for the user's id where the setting has none.

    Raises:
        ImproperlyConfigured: If the setting has an unknown name or a wrong value.
    """
    global _installed  # noqa: PLW0603 - settings are global
    if (found := _installed) is None:
        # Threads may come at once.
        with _locks.setdefault(os.getpid(), threading.RLock()):
            if (found := _installed) is None:
                found = _installed = _read(default_user_id)
    return found


def _read(default_user_id: Callable[[Any], Any]) -> Installed:
    given = getattr(settings, _NAME, None)
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise ImproperlyConfigured(f"{_NAME}: must be a dict with TRACKER or COLLECTOR, got {kind}")
    for name in given:
        if name not in _KNOWN:
            raise ImproperlyConfigured(f"{_NAME}: has no {name!r}; it has {', '.join(sorted(_KNOWN))}")
    found = {name: _loaded(name, value) for name, value in given.items()}
    options: dict[str, Any] = {"user_id": default_user_id}
    options |= {
        name.lower(): value for name, value in found.items() if name.lower() in SetupOptions.__annotations__
    }
    try:
        setup = Setup(**options)
        return Installed(setup, setup.per_process(_source(found)))
    except SnowplowError as error:
        raise ImproperlyConfigured(_said(error)) from error


def _loaded(name: str, value: Any) -> Any:
    if name not in _FUNCTIONS or not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise ImproperlyConfigured(f"{_NAME}[{name!r}]: {shown(error)}") from None


def _source(found: Mapping[str, Any]) -> Any:
    """Return the tracker, or the function that makes it."""
    if "TRACKER" in found:
        if surplus := _OF_TRACKER & found.keys():
            raise ImproperlyConfigured(
                f"{_NAME}: has TRACKER, which takes the place of {', '.join(sorted(surplus))}"
            )
        return found["TRACKER"]
    if "COLLECTOR" not in found:
        raise ImproperlyConfigured(f"{_NAME}: needs TRACKER, a function that makes the tracker, or COLLECTOR")
    # Wrong values are refused when the project starts, and not at its first event.
    _default_tracker(found)
    return lambda: _default_tracker(found)


def _default_tracker(found: Mapping[str, Any]) -> BlockingTracker:
    # By name: what makes a whole tracker stands above the integrations.
    emitter = importlib.import_module("snowplow_aio.http.emitter").HttpEmitter(found["COLLECTOR"])
    names = {"app_id": found.get("APP_ID"), "namespace": found.get("NAMESPACE")}
    tracker: BlockingTracker = importlib.import_module("snowplow_aio.sync").Tracker(emitter, **names)
    return tracker


def _said(error: SnowplowError) -> str:
    """Return the text of *error*, with the argument as the setting has it."""
    argument, _, rule = str(error).partition(": ")
    argument = {"make_tracker": "tracker", "endpoint": "collector"}.get(argument, argument)
    return f"{_NAME}[{argument.upper()!r}]: {rule}" if argument.upper() in _KNOWN else f"{_NAME}: {error}"


def _forget(*, setting: str, **_: Any) -> None:
    global _installed  # noqa: PLW0603 - likewise
    if setting == _NAME:
        _installed = None


setting_changed.connect(_forget)
