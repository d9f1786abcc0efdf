"""One thread with an event loop of its own, for work that has outlived the event loop of the application."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from snowplow_aio.runtime import fork

# The thread ends within a millisecond once it runs and is told to, unless a guest blocks it or the machine
# is busy.
_END_SECONDS = 0.3

# The work of the thread begins so long after the call that needed it. Until then the call has returned, for
# which it would compete with the thread.
_START_SECONDS = 0.01


class _Portal:
    """The thread and its loop, from the first guest to the last."""

    def __init__(self) -> None:
        self.is_of_this_process = fork.process_marker()
        self.guests: dict[int, object] = {}
        self.loop = _plain_loop()
        self._ends = asyncio.Event()
        # A daemon: the end of the program waits for the guests, within a bound, and not for the thread.
        self._thread = threading.Thread(target=self._run, name="snowplow_aio portal", daemon=True)
        self._thread_id = 0
        self._has_ended = threading.Event()

    def start(self) -> None:
        """Have the thread start in a moment."""
        try:
            # `Thread.start` waits until the thread runs. On a busy machine that takes milliseconds, so
            # another thread waits instead.
            _thread.start_new_thread(self._start_thread, ())
        except RuntimeError:
            self.loop.close()
            raise
        except BaseException:
            # Of a signal handler. It may have started, for nobody.
            self.loop.call_soon_threadsafe(self._ends.set)
            raise

    def _start_thread(self) -> None:
        time.sleep(_START_SECONDS)
        try:
            # No context of the application, such as that of a request, lives on in it.
            contextvars.Context().run(self._thread.start)
        except RuntimeError:
            # There is no room for another thread, or the interpreter ends meanwhile.
            contextvars.Context().run(self._run)

    def _run(self) -> None:
        self._thread_id = threading.get_ident()
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            while not self._ends.is_set() and not self.loop.is_closed():
                # A hook may call `sys.exit` or stop the loop. That ends neither the program nor the
                # other guests.
                with suppress(BaseException):
                    runner.run(_until(self._ends))
        self._has_ended.set()

    def end(self) -> None:
        """End the thread; wait for that, unless it is the caller itself."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._ends.set, context=contextvars.Context())
        if threading.get_ident() != self._thread_id and self._has_ended.wait(_END_SECONDS):
            with suppress(RuntimeError):
                self._thread.join(_END_SECONDS)


_portal: _Portal | None = None
_is_starting = False
# Guests that came while it was made, and their calls.
_came_meanwhile: list[tuple[object, Callable[[], None]]] = []
# A signal handler or a finalizer may come in the midst of a call of the same thread.
_lock = threading.RLock()


def enter(guest: object, call: Callable[[], None]) -> None:
    """
    Call *call* in the loop of the thread, which lives until its last guest leaves. Safe from any thread.

    Args:
        guest: The object that needs the thread; it is kept alive until it leaves.

        call: A function that does not block. It runs in an empty context.

    Raises:
        RuntimeError: If no thread or no loop can be made, as at the very end of the interpreter.
    """
    with _lock:
        if _is_starting:
            # A logging handler that tracks gets here: asyncio logs that it makes a loop.
            _came_meanwhile.append((guest, call))
            return
        portal = _portal
        if portal is None or not portal.is_of_this_process[0]:
            # That of the parent process, after a fork without hooks: closing its loop would harm the parent.
            fork.never_finalize(portal)
            portal = _started(portal)
        came = [*_came_meanwhile, (guest, call)]
        _came_meanwhile.clear()
        for one, calls in came:
            portal.guests[id(one)] = one
            portal.loop.call_soon_threadsafe(calls, context=contextvars.Context())


def _started(before: _Portal | None) -> _Portal:
    """Start the thread that takes the place of *before*, unless somebody has done so in the midst of this."""
    global _portal, _is_starting  # noqa: PLW0603 - there is one for each process
    _is_starting = True
    try:
        portal = _Portal()
    except OSError as error:
        # No descriptor is free for a loop.
        raise RuntimeError("no event loop can be made") from error
    finally:
        _is_starting = False
    if _portal is not before and _portal is not None:
        portal.loop.close()
        return _portal
    try:
        _portal = portal
        portal.start()
    except BaseException:
        # That no thread can be started, or what a signal handler raises.
        _portal = None
        raise
    return portal


def entered(guest: object) -> asyncio.AbstractEventLoop:
    """
    Have the thread live for *guest* until it leaves, and return its loop.

    Raises:
        RuntimeError: If no thread or no loop can be made, as at the very end of the interpreter.
    """
    enter(guest, lambda: None)
    loop = loop_of(guest)
    assert loop is not None  # noqa: S101 - for the type checker
    return loop


def leave(guest: object, *, is_last_to_stay: bool = False) -> None:
    """
    Have the thread no longer live for *guest*; without guests it ends. Safe from any thread.

    Args:
        guest: The object that needed the thread.

        is_last_to_stay: Whether it stays where it is the only guest.
    """
    global _portal  # noqa: PLW0603 - there is one for each process
    with _lock:
        portal = _portal
        if portal is None or (is_last_to_stay and len(portal.guests) == 1):
            return
        if portal.guests.pop(id(guest), None) is None or portal.guests:
            return
        _portal = None
        if portal.guests:
            # Whoever came in the midst of this.
            _portal = portal
            return
    portal.end()


def is_here() -> bool:
    """Return whether this code runs in the loop of the thread, as a hook does."""
    portal = _portal
    return portal is not None and asyncio._get_running_loop() is portal.loop  # noqa: SLF001 - public in C, and does not raise


def is_held_here() -> bool:
    """
    Return whether this thread is in the midst of `enter` or `leave`.

    A signal handler may come then. The thread of the portal may need the lock that its thread holds, so it
    must not wait for it.
    """
    return _lock._is_owned()  # type: ignore[attr-defined, no-any-return] # noqa: SLF001 - as `threading.Condition` does


def loop_of(guest: object) -> asyncio.AbstractEventLoop | None:
    """Return the loop of the thread if *guest* is there, in this process, else None."""
    portal = _portal
    if portal is None or id(guest) not in portal.guests or not portal.is_of_this_process[0]:
        return None
    return portal.loop


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _plain_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of asyncio itself, whatever policy the application has chosen."""
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop()
    # Where too few descriptors are free, half a loop would be left, of which Python complains.
    with selectors.DefaultSelector():
        for end in socket.socketpair():
            end.close()
    return asyncio.SelectorEventLoop()


def _forget() -> None:
    """Leave the parent's thread to the parent."""
    global _portal, _lock, _is_starting
    fork.never_finalize(_portal)
    _portal, _lock, _is_starting = None, threading.RLock(), False
    _came_meanwhile.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
