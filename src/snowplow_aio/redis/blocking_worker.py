"""The worker for programs without an event loop: its `run` waits until it has ended."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.redis import worker
from snowplow_aio.runtime import portal

# On Windows a wait notices Ctrl-C only when it ends.
_LOOK_SECONDS = 0.5

# A worker that is interrupted twice gives back what it holds, which takes a second at most.
_END_SECONDS = 2.0


class RedisWorker(worker.RedisWorker):
    """
    Delivers the events that emitters have put into Redis, and blocks while it does.

    All that `snowplow_aio.worker.RedisWorker` has, with a `run` that is not awaited. It works in a thread
    with an event loop of its own, so that `run` may be called anywhere: in the main thread, in another
    one, and where a loop runs.

    The arguments are those of `snowplow_aio.worker.RedisWorker`.

    Example:
        ::

            worker = RedisWorker(HttpEmitter("https://collector.example.com"), key="snowplow")
            worker.run()
    """

    def run(self) -> None:  # type: ignore[override]
        """
        Deliver until `stop` is called, or Ctrl-C is pressed.

        No signal handler is installed. An interrupt of the main thread, Ctrl-C or SIGINT, ends it as `stop`
        does: what it holds is delivered for up to `drain_timeout` seconds, the rest is given back, and the
        call returns. A second interrupt meanwhile raises at once; other workers take over what is left then.
        Another exception that a signal handler raises ends it in the same way, and comes out in the end.

        Raises:
            ConfigurationError: If the worker is running already.

        Example:
            End it for SIGTERM as well::

                signal.signal(signal.SIGTERM, lambda *_: worker.stop())
                worker.run()
        """
        if self.is_running:
            raise ConfigurationError("run: must be called once at a time, this worker is running")
        guest, ended = object(), threading.Event()
        running = _started(_until_the_end(super().run(), ended), guest)
        try:
            _wait(running, ended, self)
        except KeyboardInterrupt:
            if self.is_running:
                # The second one.
                raise
        finally:
            # Cancelled a second time, when the thread ends, it would close nothing.
            if not ended.is_set():
                running.cancel()
                ended.wait(_END_SECONDS)
            portal.leave(guest)


async def _until_the_end(running: Coroutine[Any, Any, None], ended: threading.Event) -> None:
    try:
        await running
    finally:
        running.close()
        ended.set()


def _started(running: Coroutine[Any, Any, None], guest: object) -> concurrent.futures.Future[None]:
    """Start *running* in the thread with a loop of its own."""
    try:
        return asyncio.run_coroutine_threadsafe(running, portal.entered(guest))
    except BaseException:
        running.close()
        raise


def _wait(running: concurrent.futures.Future[None], ended: threading.Event, told: RedisWorker) -> None:
    """Wait for the end of *running*; an exception that comes from outside has *told* stop first."""
    # Not by the future: an interrupt in the midst of `concurrent.futures.wait` may leave its lock taken.
    try:
        _wait_for(ended)
    except BaseException:
        told.stop()
        _wait_for(ended)
        raise
    running.result()


def _wait_for(ended: threading.Event) -> None:
    while not ended.wait(_LOOK_SECONDS):
        pass
