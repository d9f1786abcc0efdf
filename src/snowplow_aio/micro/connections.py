"""
A bound on the connections of the collector, in number and in silence.

Requests are read by aiohttp. A connection that sends nothing, or half of a head,
would stay open in most of its versions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from snowplow_aio.runtime.relay import Relay

# An emitter has up to 16. A process of macOS may open 256 files.
MAX_CONNECTIONS = 200

# In seconds. Longer than emitters keep an idle connection.
MAX_SILENCE = 75.0


class Connections:
    """
    Makes the connections of a server. One that is silent for too long is closed.

    If there are too many, the one that has been silent for longest is closed.

    Args:
        new_handler: Makes what reads the requests of one connection.
    """

    def __init__(self, new_handler: Callable[[], web.RequestHandler]) -> None:
        self._new_handler = new_handler
        # The one that has been silent for longest comes first.
        self._open: dict[_Connection, None] = {}

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return _Connection(self._new_handler(), self)

    def heard(self, connection: _Connection) -> None:
        """Note that *connection* was opened, or has sent something."""
        self._open.pop(connection, None)
        self._open[connection] = None
        if len(self._open) > MAX_CONNECTIONS:
            next(iter(self._open)).close()

    def forget(self, connection: _Connection) -> None:
        """Note that *connection* is closed."""
        self._open.pop(connection, None)

    def close(self) -> None:
        """Close all that are still open."""
        for connection in list(self._open):
            connection.close()


class _Connection(Relay):
    def __init__(self, handler: web.RequestHandler, connections: Connections) -> None:
        super().__init__(handler)
        self._connections = connections
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._is_heard()

    def data_received(self, data: bytes) -> None:
        self._is_heard()
        super().data_received(data)

    def _is_heard(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
        self._silence = asyncio.get_running_loop().call_later(MAX_SILENCE, self.close)
        self._connections.heard(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
        self._connections.forget(self)
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection at once."""
        self._connections.forget(self)
        self.abort()
