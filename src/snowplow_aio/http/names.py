"""
Looking up names in threads that nobody waits for.

A name server that does not answer keeps a look-up busy for as long as the system
is configured to wait. `loop.getaddrinfo` does that in the loop's executor, for
which `asyncio.run` and the end of the interpreter wait.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import aiohttp

# The look-ups under way, by process and arguments: of the same name there is never more than one.
_under_way: dict[tuple[object, ...], _LookUp] = {}
_lock = threading.Lock()


def _forget() -> None:
    """Begin anew in the child of a fork: a thread that held the lock, or looks a name up, is not there."""
    global _lock  # noqa: PLW0603 - there is one for each process
    _lock = threading.Lock()
    _under_way.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def new_resolver() -> aiohttp.ThreadedResolver:
    """Return aiohttp's resolver of names, with our own threads."""
    return aiohttp.ThreadedResolver(loop=cast("asyncio.AbstractEventLoop", _Threads()))


class _Threads:
    """The part of a loop that aiohttp's resolver uses."""

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> Any:
        look_up = partial(socket.getaddrinfo, host, port, **options)
        return await _in_a_thread(look_up, (host, port, *options.values()))

    async def getnameinfo(self, address: tuple[Any, ...], flags: int) -> Any:
        return await _in_a_thread(partial(socket.getnameinfo, address, flags), (address, flags))


async def _in_a_thread(function: Callable[[], Any], arguments: tuple[object, ...]) -> Any:
    """Return what *function* returns for *arguments*, or raise what it raises."""
    key = (os.getpid(), *arguments)
    answered = asyncio.get_running_loop().create_future()
    with _lock:
        look_up = _under_way.get(key)
        if look_up is None:
            look_up = _LookUp(function, key)
            # At the end of the interpreter there are no new threads: RuntimeError.
            try:
                look_up.start()
            except RuntimeError as error:
                raise OSError("names cannot be looked up any more: the interpreter ends") from error
            _under_way[key] = look_up
        look_up.waiting.append(answered)
    return await answered


class _LookUp(threading.Thread):
    """Calls *function* and tells all who wait."""

    def __init__(self, function: Callable[[], Any], key: tuple[object, ...]) -> None:
        super().__init__(name="snowplow-aio look-up", daemon=True)
        self._function = function
        self._key = key
        self.waiting: list[asyncio.Future[Any]] = []

    def run(self) -> None:
        result, error = None, None
        try:
            result = self._function()
        except Exception as failure:  # noqa: BLE001 - it belongs to whoever waits
            error = failure
        with _lock:
            _under_way.pop(self._key, None)
        for answered in self.waiting:
            # A closed loop waits for nothing.
            with suppress(RuntimeError):
                answered.get_loop().call_soon_threadsafe(_answer, answered, result, error)


def _answer(answered: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if answered.done():
        return
    if error is not None:
        answered.set_exception(error)
    else:
        answered.set_result(result)
