"""
The end of the interpreter: what is left is delivered within a bound, and what cannot be is said.

Two hooks are called. The first one comes when the main thread has ended, while threads can still be
started. Other threads may track on after it, so the second one, the last there is, looks again.
Both together wait as long as the most patient emitter allows.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import importlib
import math
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

from snowplow_aio.runtime import losses
from snowplow_aio.runtime.midst import busy

# To end a delivery, and to close its connections.
_END_SECONDS = 0.15


@runtime_checkable
class Owner(losses.Holder, Protocol):
    """An emitter that can deliver at the end."""

    def at_exit(self, spent: float, *, ends: bool) -> tuple[float, concurrent.futures.Future[None]] | None:
        """
        Have the loop that delivers deliver what is left; where there is none, the portal.

        Args:
            spent: Seconds that were waited for at the end of the interpreter so far.

            ends: Whether nothing of the program runs any more.

        Returns:
            The seconds that this takes at most, and its end; None if there is nothing to wait for.
        """
        ...


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()

# Seconds that were waited for so far; endless once somebody has interrupted the wait.
_spent = 0.0


def watch(owner: Owner) -> None:
    """Have *owner* deliver and warn at the end of the interpreter."""
    _owners.add(owner)
    losses.watch(owner)


def forget(owner: Owner) -> None:
    """Leave *owner* out: it is closed."""
    _owners.discard(owner)
    losses.forget(owner)


# --- saying it


_is_loss_told: ContextVar[bool] = ContextVar("snowplow_aio.delivery.is_loss_told", default=False)


@contextmanager
def loss_is_told() -> Generator[None]:
    """Say nothing of events that are lost by a close in this block: its caller raises an error that does."""
    token = _is_loss_told.set(True)
    try:
        yield
    finally:
        _is_loss_told.reset(token)


def is_loss_told() -> bool:
    """Return whether the caller is in such a block."""
    return _is_loss_told.get()


def is_shown(category: type[Warning]) -> bool:
    """Return whether Python shows warnings of *category*, as far as no message or module decides."""
    for action, message, known, module, line in warnings.filters:
        if message is None and module is None and line == 0 and issubclass(category, known):
            return action != "ignore"
    return True


# --- the hooks


def _deliver(*, ends: bool) -> None:
    """Wait until what is left is delivered, within the bound; *ends* is that of `Owner.at_exit`."""
    global _spent  # noqa: PLW0603 - for both hooks together
    began = time.monotonic()
    try:
        with busy():
            found = [owner.at_exit(_spent, ends=ends) for owner in list(_owners)]
        waits = [wait for wait in found if wait is not None]
        seconds = max([seconds for seconds, _ in waits], default=0.0)
        concurrent.futures.wait([future for _, future in waits], timeout=seconds + _END_SECONDS)
    except KeyboardInterrupt:
        # Whoever interrupts the end wants it now, and is told what is lost.
        _spent = math.inf
    else:
        _spent += time.monotonic() - began


def _is_multiprocessing() -> bool:
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and processes.parent_process() is not None


def _when_main_thread_ends() -> None:
    _deliver(ends=False)
    if _is_multiprocessing():
        # Such a process may end without the other hook.
        losses.say_undelivered()


@atexit.register
def _when_interpreter_ends() -> None:
    _deliver(ends=True)


# `atexit` would come too late to start threads. The latest hook of this kind is called first, so that of the
# executors, in which asyncio looks up names, must be there already.
importlib.import_module("concurrent.futures.thread")
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    # The library may be imported for the first time while the interpreter ends.
    with suppress(RuntimeError):
        _register(_when_main_thread_ends)
