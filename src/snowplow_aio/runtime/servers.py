"""What servers do to threads and to the end of a process, as far as settings of theirs decide it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from typing import Any

THREADS_STAND = (
    "uWSGI runs no thread between two requests, so events wait for the next one: set `enable-threads = true`"
)

_ENDS_AT_ONCE = (
    "uWSGI ends workers that are at work at once when it is told to stop, and their events are lost: set "
    "`hook-master-start = unix_signal:15 gracefully_kill_them_all`"
)

_KILLED = (
    "SIGTERM kills waitress, and events of the last moments are lost: stop it with SIGINT, or call "
    "`signal.signal(signal.SIGTERM, lambda *_: sys.exit())` where the application is made"
)

_ENDS_BY_SIGNAL = (
    "uvicorn ends its process by the signal that stops it, and events of the last moments are lost: put "
    "`with_lifespan` of snowplow_aio.integrations.django around the ASGI application of a Django project"
)


def why_threads_stand() -> str | None:
    """Return why no thread of ours runs between two requests, and the setting; None if threads run."""
    options = _options_of_uwsgi()
    stands = options is not None and not options.keys() & {"enable-threads", "threads"}
    return THREADS_STAND if stands else None


def faults_of_server(software: str, *, has_lifespan: bool = False) -> list[str]:
    """
    Return what delays or loses events in this process, each with the setting that helps.

    Args:
        software: The name of the server, as it tells applications.

        has_lifespan: Whether the server has told that the application starts, and will tell that it ends.
    """
    faults = [] if (stands := why_threads_stand()) is None else [stands]
    options = _options_of_uwsgi()
    if options is not None and options.get("master") and "gracefully_kill" not in str(options):
        faults.append(_ENDS_AT_ONCE)
    if software == "waitress" and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        faults.append(_KILLED)
    stops = type(getattr(signal.getsignal(signal.SIGTERM), "__self__", None))
    if not has_lifespan and stops.__module__.partition(".")[0] == "uvicorn":
        faults.append(_ENDS_BY_SIGNAL)
    return faults


def _options_of_uwsgi() -> Mapping[str, Any] | None:
    """Return the options of uWSGI if it runs this process, else None."""
    # It is there without an import, and only there.
    options = getattr(sys.modules.get("uwsgi"), "opt", None)
    return options if isinstance(options, Mapping) else None
