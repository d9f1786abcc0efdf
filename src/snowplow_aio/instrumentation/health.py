"""A small HTTP server beside a worker, for probes and for Prometheus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from snowplow_aio.instrumentation.metrics import ObservedWorker, metrics
from snowplow_aio.model.arguments import check_argument, check_host, check_port
from snowplow_aio.model.old_names import OldArguments, OnlyAsync
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.runtime.relay import Relay
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger

__all__ = ["HealthEndpoint", "metrics"]

log: QuietLogger = quiet_logger("snowplow_aio.redis")

# Connections at a time: probes and a scraper need two or three. More would take file descriptors from the
# delivery.
MAX_CONNECTIONS = 8

# From its beginning to its end a connection has this time, for one request.
CONNECTION_SECONDS = 5.0

# Most bytes of a request; a probe has some hundred.
MAX_REQUEST_BYTES = 16_384

# A request that is under way when the worker ends gets at most this time.
_LAST_REQUESTS_SECONDS = 0.5

# aiohttp's own lines, one for each request that it cannot read.
_NOWHERE = logging.Logger("health", logging.CRITICAL + 1)  # noqa: LOG001 - no handler of anybody gets them


class _Connections:
    """
    The connections that are open, the oldest first.

    Args:
        throttled: Where it is logged that some were closed.
    """

    def __init__(self, throttled: ThrottledLog) -> None:
        self._open: dict[_Connection, None] = {}
        self._throttled = throttled

    def add(self, connection: _Connection) -> None:
        """Note a new connection. If there are too many, the oldest is closed: probes take milliseconds."""
        self._open[connection] = None
        if len(self._open) > MAX_CONNECTIONS:
            next(iter(self._open)).end(f"more than {MAX_CONNECTIONS} at a time")

    def discard(self, connection: _Connection) -> None:
        """Note that *connection* is over."""
        self._open.pop(connection, None)

    def said(self, reason: str) -> None:
        """Log that a connection was closed."""
        message = "health endpoint: connections were closed without an answer: %s"
        self._throttled.log("connections", logging.WARNING, message, reason)

    def end(self) -> None:
        """Close all."""
        for connection in list(self._open):
            connection.end("")


class _Connection(Relay):
    """
    A connection within bounds of time and size.

    Args:
        connections: All that are open.

        handler: Reads and answers the request.
    """

    def __init__(self, connections: _Connections, handler: web.RequestHandler) -> None:
        super().__init__(handler)
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reason = f"no whole request within {CONNECTION_SECONDS:g} s"
        self._deadline = asyncio.get_running_loop().call_later(CONNECTION_SECONDS, self.end, reason)
        super().connection_made(transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_REQUEST_BYTES:
            self.end(f"a request of more than {MAX_REQUEST_BYTES} bytes")
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._connections.discard(self)
        super().connection_lost(exc)

    def end(self, reason: str) -> None:
        """Close at once, and log the *reason* if there is one."""
        self._connections.discard(self)
        if self.abort() and reason:
            self._connections.said(reason)


class HealthEndpoint(NeverCopied, OldArguments, OnlyAsync):
    """
    Answers ``/health``, ``/ready`` and ``/metrics`` while its context is open.

    ``/health`` is 200 as long as the worker runs. ``/ready`` is 200 while Redis
    answers and the destination takes events. Otherwise they are 503. Both
    describe the worker in one line. ``/metrics`` has its numbers, as Prometheus
    reads them.

    A connection is for one request, and has five seconds and 16 KiB for it. Eight
    are open at a time; for a ninth the oldest is closed.

    Args:
        worker: The worker to observe, like a `RedisWorker`.

        host: The address to listen on.

        port: The port, 0 to 65535; 0 for a free one.

    Raises:
        ConfigurationError: If an argument is something else.

    Example:
        >>> async with HealthEndpoint(worker, port=8080):
        ...     await worker.run()
    """

    def __init__(self, worker: ObservedWorker, *, host: str = "127.0.0.1", port: int = 0) -> None:
        is_worker = callable(getattr(worker, "stats", None)) and not isinstance(worker, type)
        check_argument(is_worker, "worker", worker, "must be a worker, like a RedisWorker")
        check_host("host", host)
        check_port("port", port)
        self._worker = worker
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._throttled = ThrottledLog(log)
        self._connections = _Connections(self._throttled)

    @property
    def port(self) -> int:
        """The port it listens on, which the system has chosen if 0 was given."""
        if self._server is not None and self._server.sockets:
            port: int = self._server.sockets[0].getsockname()[1]
            return port
        return self._port

    async def __aenter__(self) -> Self:
        """
        Listen.

        Raises:
            OSError: If the port is taken.
        """
        app = web.Application(middlewares=[self._once])
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, logger=_NOWHERE, shutdown_timeout=_LAST_REQUESTS_SECONDS)
        await runner.setup()
        new_handler = runner.server
        assert new_handler is not None  # noqa: S101 - for the type checker
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self._connections, new_handler()),
                self._host,
                self._port,
                # So many are accepted before the first of them gets its place.
                backlog=MAX_CONNECTIONS,
            )
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
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if runner is not None:
            await runner.cleanup()
        self._connections.end()
        # An aborted connection closes its socket in the next turn of the loop.
        await asyncio.sleep(0)

    @web.middleware
    async def _once(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer one request on a connection: one that is kept open takes the place of others."""
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.force_close()
            raise
        except Exception as error:  # noqa: BLE001 - a worker of the application's may do anything
            message = "health endpoint: a request could not be answered"
            self._throttled.log("answer", logging.ERROR, message, error=error)
            response = web.Response(status=500, text="the worker could not be read\n")
        response.force_close()
        return response

    async def _health(self, _request: web.Request) -> web.Response:
        return self._described(self._worker.is_running)

    async def _ready(self, _request: web.Request) -> web.Response:
        return self._described(self._worker.is_ready)

    def _described(self, is_well: bool) -> web.Response:  # noqa: FBT001 - the only argument
        return web.Response(status=200 if is_well else 503, text=f"{self._worker.summary}\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics(self._worker).encode(), headers=headers)
