"""A small HTTP server beside a worker, for probes and for Prometheus."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from aiohttp import web

from snowplow_aio.instrumentation.metrics import ObservedWorker, metrics
from snowplow_aio.model.arguments import check_argument

__all__ = ["HealthEndpoint", "metrics"]

# A request that is under way when the worker ends gets at most this time.
_LAST_REQUESTS_SECONDS = 0.5


class HealthEndpoint:
    """
    Answers ``/health``, ``/ready`` and ``/metrics`` while its context is open.

    ``/health`` is 200 as long as the worker runs. ``/ready`` is 200 while Redis
    answers and the destination takes events. Otherwise they are 503. Both
    describe the worker in one line. ``/metrics`` has its numbers, as Prometheus
    reads them.

    Args:
        worker: The worker to observe, like a `RedisWorker`.

        host: The address to listen on.

        port: The port, 0 to 65535; 0 for a free one.

    Raises:
        ConfigurationError: If *port* is not a port.

    Example:
        >>> async with HealthEndpoint(worker, port=8080):
        ...     await worker.run()
    """

    def __init__(self, worker: ObservedWorker, *, host: str = "127.0.0.1", port: int = 0) -> None:
        valid = isinstance(port, int) and not isinstance(port, bool) and 0 <= port <= 65_535
        check_argument(valid, "port", port, "must be a port from 0 to 65535")
        self._worker = worker
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on, which the system has chosen if 0 was given."""
        if self._runner is not None and self._runner.addresses:
            port: int = self._runner.addresses[0][1]
            return port
        return self._port

    async def __aenter__(self) -> Self:
        """
        Listen.

        Raises:
            OSError: If the port is taken.
        """
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_REQUESTS_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return self._described(self._worker.is_running)

    async def _ready(self, _request: web.Request) -> web.Response:
        return self._described(self._worker.is_ready)

    def _described(self, is_well: bool) -> web.Response:  # noqa: FBT001 - the only argument
        return web.Response(status=200 if is_well else 503, text=f"{self._worker.summary}\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics(self._worker).encode(), headers=headers)
