"""One thread with an event loop of its own, for work that has outlived the event loop of the application."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import os
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
_lock = threading.Lock()


def enter(guest: object, call: Callable[[], None]) -> None:
    """
    Call *call* in the loop of the thread, which lives until its last guest leaves. Safe from any thread.

    Args:
        guest: The object that needs the thread; it is kept alive until it leaves.

        call: A function that does not block. It runs in an empty context.

    Raises:
        RuntimeError: If no thread can be started, as at the very end of the interpreter.
    """
    global _portal  # noqa: PLW0603 - there is one for each process
    with _lock:
        portal = _portal
        if portal is None or not portal.is_of_this_process[0]:
            # That of the parent process, after a fork without hooks: closing its loop would harm the parent.
            fork.never_finalize(portal)
            portal = _Portal()
            portal.start()
            _portal = portal
        portal.guests[id(guest)] = guest
        portal.loop.call_soon_threadsafe(call, context=contextvars.Context())


def leave(guest: object) -> None:
    """Have the thread no longer live for *guest*; without guests it ends. Safe from any thread."""
    global _portal  # noqa: PLW0603 - there is one for each process
    with _lock:
        portal = _portal
        if portal is None or portal.guests.pop(id(guest), None) is None or portal.guests:
            return
        _portal = None
    portal.end()


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
    return asyncio.SelectorEventLoop()


def _forget() -> None:
    """Leave the parent's thread to the parent."""
    global _portal, _lock
    fork.never_finalize(_portal)
    _portal, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
