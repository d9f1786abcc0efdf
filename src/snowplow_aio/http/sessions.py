"""The transport's own aiohttp session: one for the event loop in which it is used, and none after a fork."""

from __future__ import annotations

import asyncio
import atexit
import os
import re
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from snowplow_aio.http.names import new_resolver
from snowplow_aio.runtime import fork
from snowplow_aio.runtime.copies import NeverCopied
from snowplow_aio.runtime.tasks import start_task

# Below the idle time-out of the usual load balancers (60 s) and servers.
_KEEPALIVE_SECONDS = 15

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})[ \r\n]")
_STATUS_LINE_BYTES = len(b"HTTP/1.1 200 ")


class Progress:
    """
    How far a request has come.

    Attributes:
        waits_for: ``name``, ``connection`` or ``answer``.

        is_reused: Whether it went over a connection that had been used before.
    """

    __slots__ = ("is_reused", "waits_for")

    def __init__(self) -> None:
        self.waits_for: str = "answer"
        self.is_reused: bool = False


class Sessions(NeverCopied):
    """
    Makes a session for each event loop, and closes it there.

    Args:
        connections: Most connections of one session, from 1.
    """

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        _all_sessions.add(self)

    def current(self) -> aiohttp.ClientSession:
        """Return the session of the running loop."""
        loop = asyncio.get_running_loop()
        if self._session is not None and (self._loop is not loop or self._session.closed):
            self.abandon()
        if self._session is None:
            self._session = new_session(limit=self._connections, keepalive_timeout=_KEEPALIVE_SECONDS)
            self._loop, self._process = loop, os.getpid()
        return self._session

    def has(self, session: aiohttp.ClientSession) -> bool:
        """Return whether *session* is the one that was made last and is still in use."""
        return session is self._session

    def abandon(self) -> None:
        """Leave the session to its own loop, or to the parent process."""
        session, self._session = self._session, None
        if session is None or self._loop is None:
            return
        if self._process == os.getpid() and not self._loop.is_closed():
            _abandoned.add(session)
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_close_in, self._loop, session)
            return
        connector = session.connector
        # A session without a connector counts as closed, and says nothing when it goes.
        session.detach()
        if isinstance(connector, _Connector):
            fork.never_finalize(connector)
            if self._process == os.getpid():
                connector.drop()

    async def aclose(self) -> None:
        """Close the session; one of another loop is left to that loop."""
        if self._session is None or self._loop is not asyncio.get_running_loop():
            self.abandon()
            return
        session, self._session = self._session, None
        await session.close()


_all_sessions: WeakSet[Sessions] = WeakSet()


# Those that wait for a turn of their loop, which may never come.
_abandoned: set[aiohttp.ClientSession] = set()
_closing: set[asyncio.Task[None]] = set()


def _close_in(loop: asyncio.AbstractEventLoop, session: aiohttp.ClientSession) -> None:
    _abandoned.discard(session)
    _closing.add(closing := start_task(loop, session.close()))
    closing.add_done_callback(_closing.discard)


@atexit.register
def _end_silently() -> None:
    for session in _abandoned:
        session.detach()


def new_session(**options: Any) -> aiohttp.ClientSession:
    """Return a session of our own; *options* are those of its connector."""
    return aiohttp.ClientSession(
        connector=_Connector(resolver=new_resolver(), **options),
        cookie_jar=aiohttp.DummyCookieJar(),
        raise_for_status=False,
        trace_configs=[_trace()],
    )


def _trace() -> aiohttp.TraceConfig:
    """Return a trace that keeps the `Progress` of each request."""

    def now_waits_for(thing: str, *, is_reused: bool = False) -> Any:
        async def note(_session: aiohttp.ClientSession, context: Any, _params: object) -> None:
            context.trace_request_ctx.waits_for = thing
            context.trace_request_ctx.is_reused = is_reused

        return note

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(now_waits_for("connection"))
    trace.on_connection_create_start.append(now_waits_for("connection"))
    trace.on_dns_resolvehost_start.append(now_waits_for("name"))
    trace.on_dns_resolvehost_end.append(now_waits_for("connection"))
    trace.on_connection_create_end.append(now_waits_for("answer"))
    trace.on_connection_reuseconn.append(now_waits_for("answer", is_reused=True))
    return trace


def status_of(error: BaseException) -> int | None:
    """Return the status of an answer that broke off after its status line with *error*, or None."""
    broken: BaseException | None = error
    while broken is not None:
        status: int | None = getattr(broken, "snowplow_status", None)
        if status is not None:
            return status
        broken = broken.__cause__
    return None


class _Protocol(ResponseHandler):
    """
    aiohttp's protocol, which also reads the status line by itself.

    The parser gives no answer at all where it cannot read the headers or the first
    piece of the body, though the collector has said before whether it takes the events.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: WeakSet[ResponseHandler]) -> None:
        super().__init__(loop)
        self._line = b""
        connections.add(self)

    def set_response_params(self, **params: Any) -> None:
        self._line = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if len(self._line) < _STATUS_LINE_BYTES:
            self._line += data[: _STATUS_LINE_BYTES - len(self._line)]
        super().data_received(data)

    # The default of the second argument is aiohttp's own object.
    def set_exception(self, exc: Any, *cause: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        line = _STATUS_LINE.match(self._line)
        if line is not None and isinstance(exc, HttpProcessingError | aiohttp.ClientConnectionError):
            vars(exc)["snowplow_status"] = int(line[1])
        super().set_exception(exc, *cause)


class _Connector(aiohttp.TCPConnector):
    """A connector that can leave its connections alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._connections: WeakSet[ResponseHandler] = WeakSet()
        self._factory: Any = partial(_Protocol, loop=self._loop, connections=self._connections)
        _all_connectors.add(self)

    def _transports(self) -> list[asyncio.BaseTransport]:
        made = [connection.transport for connection in list(self._connections)]
        return [transport for transport in made if transport is not None]

    def leave_to_parent(self) -> None:
        """
        Have nothing that this process does reach the connections, which are the parent's.

        The end of the interpreter, or of a loop that was forked while it ran, would end
        them for the other side with a last word, and take them out of the selector that
        the two processes share. So another file takes the place of each socket here.
        """
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in map(_file_number, self._transports()):
            if number >= 0:
                os.dup2(nothing, number, inheritable=False)
        os.close(nothing)

    def drop(self) -> None:
        """Close the connections without their loop, which is closed."""
        for transport in self._transports():
            connection = transport.get_extra_info("socket")
            # It has no method for this: it belongs to a loop.
            own = getattr(connection, "_sock", None)
            if own is not None:
                own.close()
            fork.never_finalize(transport)

    def __del__(self, _warnings: object = None) -> None:
        # An emitter that is dropped without a close says by itself what was lost.
        if not self._closed and not self._loop.is_closed():
            for transport in self._transports():
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(transport.close)


def _file_number(transport: asyncio.BaseTransport) -> int:
    connection = transport.get_extra_info("socket")
    number: int = -1 if connection is None else connection.fileno()
    return number


_all_connectors: WeakSet[_Connector] = WeakSet()


def _leave_all_to_parent() -> None:
    for connector in list(_all_connectors):
        connector.leave_to_parent()
    for sessions in list(_all_sessions):
        sessions.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
