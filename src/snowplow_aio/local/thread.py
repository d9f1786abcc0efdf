"""A thread that writes, and that keeps neither the event loop nor the interpreter waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from snowplow_aio.exceptions import TransportError
from snowplow_aio.runtime.bounded_call import start_thread


class WriterThread:
    """Makes one call at a time, each in a daemon thread."""

    def __init__(self) -> None:
        self._latest: Future[None] | None = None

    async def call(self, write: Callable[[], None], failure: str) -> None:
        """
        Call *write*, once the latest call has ended, also if that was given up.

        Raises:
            TransportError: If *write* fails; *failure* says of what.
        """
        while self._latest is not None and not self._latest.done():
            await asyncio.wait([asyncio.wrap_future(self._latest)])
        try:
            # It raises a RuntimeError at the end of the interpreter.
            self._latest = start_thread(write)
            await asyncio.wrap_future(self._latest)
        except Exception as error:
            # The stream is the application's, and may be anything, or None.
            raise TransportError(failure) from error

    def abandon(self) -> None:
        """Forget the call under way: after a fork it is the parent's."""
        self._latest = None
