"""A server's connection that is passed on to another protocol, so that it can be bounded on the way."""

from __future__ import annotations

import asyncio


class Relay(asyncio.Protocol):
    """
    Passes what happens to a connection on to *inner*. Subclasses add a bound.

    Args:
        inner: Reads the requests and answers them.
    """

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def abort(self) -> bool:
        """Close the connection at once; return whether it was open."""
        is_open = self._transport is not None and not self._transport.is_closing()
        if is_open and self._transport is not None:
            self._transport.abort()
        return is_open
