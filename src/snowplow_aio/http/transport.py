"""
HTTP to a Snowplow collector, by POST or by GET.

The collector sets the rules (docs/explanation/protocol.md, "The collector:
requests, sizes and answers"). The pipeline reads a body only if its content
type is right. A redirect would turn a POST into an empty GET. A cookie that is
kept would give all users one network user id.
"""

from __future__ import annotations

import math
import re
import ssl as ssl_module
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
from yarl import URL

from snowplow_aio.abc import Clock, Response, Transport
from snowplow_aio.exceptions import TransportError
from snowplow_aio.http.collector import Collector, is_http_url, split_url
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.payload import PAYLOAD_DATA, Payload
from snowplow_aio.runtime import fork
from snowplow_aio.version import __version__

# Longest first line of a GET that the collector reads, with method and version
# (docs/explanation/protocol.md, "The collector: requests, sizes and answers").
MAX_REQUEST_LINE = 20_480

# Headers count towards what the collector stores of a request; the rest of
# RECORD_OVERHEAD_BYTES is for the wrapper, our own headers and the collector's.
MAX_HEADERS_BYTES = 4_096

# A longer answer is not read to its end: the status line has decided already.
_MAX_ANSWER_BYTES = 65_536

# Below the idle time-out of the usual load balancers (60 s) and servers.
_KEEPALIVE_SECONDS = 15
# Long enough for one lost packet, which TCP repeats after a second.
_CONNECT_SECONDS = 3.0

_UNSAFE = re.compile("[^A-Za-z0-9_.~-]+")

_HEAD = b'{"schema":"%b","data":[' % PAYLOAD_DATA.encode()
_TAIL = b"]}"
_SENT = b'{"stm":"%d",'


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """
    Return the seconds that a ``Retry-After`` header asks for, or None if it is absent or makes no sense.

    Args:
        value: The header, which has seconds or an HTTP date; None if there is none.

        now: The wall clock in seconds since the epoch.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def body(payloads: Sequence[Payload], milliseconds: int) -> bytes:
    """Return the body of a POST of *payloads*, sent at *milliseconds* since the epoch."""
    # The events are ready. The time of sending becomes the first member of each.
    sent = _SENT % milliseconds
    events = [payload.tail for payload in payloads]
    # Half a megabyte is copied once only: the kernel has to find pages for each copy.
    events[0] = b"".join((_HEAD, sent, events[0]))
    events[-1] += _TAIL
    return (b"," + sent).join(events)


def query(payload: Payload, milliseconds: int) -> str:
    """Return the query string of a GET; everything but letters, digits and ``_.-~`` is escaped."""
    fields = payload.fields()
    fields["stm"] = str(milliseconds)
    # Most of an event is base64, so searching for unsafe characters is faster than escaping everything.
    return "&".join([f"{key}={_UNSAFE.sub(_escape, value)}" for key, value in fields.items()])


def _escape(unsafe: re.Match[str]) -> str:
    return _escaped(unsafe[0])


@lru_cache(maxsize=1024)
def _escaped(text: str) -> str:
    # Nearly all texts are one of a few: "://", "=", "&", " ".
    return quote(text, safe="")


class _Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    data: bytes | None


class HttpTransport(Transport):
    """
    Sends events to a collector.

    Args:
        collector: The addresses of the collector.

        method: ``post``, or ``get`` for one event per request.

        headers: Headers for every request, at most 4,096 bytes in all. ``Content-Type`` is not allowed.

        session: The application's own aiohttp session, which stays open; None to make one.

        ssl: True, False or an `ssl.SSLContext`, as in aiohttp.

        proxy: The URL of an HTTP proxy.

        request_timeout: Seconds for a whole request, above 0.

        connections: Most connections of a session that the transport makes, from 1.

        clock: Returns the wall clock in nanoseconds.

    Raises:
        ConfigurationError: If an argument has the wrong type or is out of range.

    Example:
        >>> collector = Collector.at("collector.example.com", protocol=None, port=None, post_path=None)
        >>> transport = HttpTransport(collector, request_timeout=5)
    """

    request_bytes: int = len(_HEAD) + len(_TAIL) - 1
    event_bytes: int = len(_SENT % 1_700_000_000_000)

    def __init__(
        self,
        collector: Collector,
        *,
        method: str = "post",
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        ssl: bool | ssl_module.SSLContext = True,
        proxy: str | None = None,
        request_timeout: float = 10.0,
        connections: int = 16,
        clock: Clock = time.time_ns,
    ) -> None:
        check_argument(method in ("post", "get"), "method", method, "must be 'post' or 'get'")
        check_seconds("request_timeout", request_timeout)
        is_session = session is None or isinstance(session, aiohttp.ClientSession)
        check_argument(is_session, "session", session, "must be an aiohttp.ClientSession or None")
        is_ssl = isinstance(ssl, bool | ssl_module.SSLContext | aiohttp.Fingerprint | None)
        check_argument(is_ssl, "ssl", ssl, "must be True, False or an ssl.SSLContext")
        _check_proxy(proxy)
        self._collector = collector
        self._is_get = method == "get"
        self._headers = _checked_headers({} if headers is None else headers)
        self._given_session = session
        self._session: aiohttp.ClientSession | None = None
        self._options: dict[str, Any] = {"allow_redirects": False, "proxy": proxy, "ssl": ssl}
        self._request_timeout = request_timeout
        self._connections = connections
        self._clock = clock

    async def send(self, payloads: Sequence[Payload]) -> Response:
        milliseconds = self._clock() // 1_000_000
        headers = dict(self._headers)
        if payloads[0].anonymous:
            headers["SP-Anonymous"] = "*"
        if self._is_get and len(payloads) == 1:
            url = f"{self._collector.get_url}?{query(payloads[0], milliseconds)}"
            if len(f"GET {url} HTTP/1.1") <= MAX_REQUEST_LINE:
                response = await self._request(_Request("GET", url, headers, None))
                # A proxy on the way may accept only shorter lines than the collector.
                if response.status != HTTPStatus.REQUEST_URI_TOO_LONG:
                    return response
        headers["Content-Type"] = "application/json; charset=utf-8"
        data = body(payloads, milliseconds)
        return await self._request(_Request("POST", self._collector.post_url, headers, data))

    async def _request(self, request: _Request) -> Response:
        """Return the answer to *request*, or why there is none that could come by trying again."""
        try:
            return await self._send_or_resend(request)
        except aiohttp.ClientConnectorCertificateError as error:
            reason, detail = type(error).__name__, _explain(error, self._request_timeout)
            return Response(status=0, reason=reason, detail=detail, is_misconfigured=True)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransportError(_explain(error, self._request_timeout)) from error

    async def _send_or_resend(self, request: _Request) -> Response:
        """Send *request*, and once more if it went over a pooled connection that turns out to be dead."""
        connection = SimpleNamespace(is_reused=False)
        session = self._given_session or self._own_session()
        try:
            return await self._send_once(session, request, connection)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not _is_stale(connection, error):
                raise
        # The other pooled connections were idle for as long, so a new one is made.
        async with _new_session(aiohttp.TCPConnector(force_close=True)) as session:
            return await self._send_once(session, request, connection)

    async def _send_once(
        self, session: aiohttp.ClientSession, request: _Request, connection: SimpleNamespace
    ) -> Response:
        timeout = aiohttp.ClientTimeout(
            total=self._request_timeout,
            sock_connect=_CONNECT_SECONDS,
            # Not rounded up to whole seconds.
            ceil_threshold=math.inf,
        )
        async with session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=request.headers,
            data=request.data,
            timeout=timeout,
            trace_request_ctx=connection,
            **self._options,
        ) as answer:
            response = Response(
                status=answer.status,
                reason=f"status {answer.status}",
                detail=_target(answer.headers.get("Location")),
                retry_after=retry_after_seconds(answer.headers.get("Retry-After"), self._clock() / 1e9),
            )
            await _finish(answer)
        return response

    def _own_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = _new_session(
                aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEPALIVE_SECONDS)
            )
        return self._session

    def abandon(self) -> None:
        if self._session is not None:
            fork.never_finalize(self._session)
            self._session = None

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _is_stale(connection: SimpleNamespace, error: Exception) -> bool:
    """
    Return whether *error* means no more than that a pooled connection had been closed.

    Servers close idle connections whenever they like. That says nothing about their health.
    """
    return connection.is_reused and not isinstance(error, aiohttp.ClientConnectorError)


async def _finish(answer: aiohttp.ClientResponse) -> None:
    """Read the body, so that the connection can be reused. Nothing in the body changes the result."""
    try:
        left = _MAX_ANSWER_BYTES
        while left > 0 and (chunk := await answer.content.read(left)):
            left -= len(chunk)
        if left <= 0:
            answer.close()
    except (aiohttp.ClientError, TimeoutError, OSError):
        answer.close()


def _target(location: str | None) -> str:
    """Return the host that a redirect leads to. Its path and query are left out: they may have the event."""
    url = split_url(location or "")
    host = url.netloc.rpartition("@")[2]
    return f"a redirect to {url.scheme}://{host}" if host else ""


def _explain(error: BaseException, seconds: float) -> str:
    """Return why there was no answer, without any part of the request."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            verification = error.certificate_error
            return f"the certificate is not trusted: {getattr(verification, 'verify_message', verification)}"
        case aiohttp.ClientConnectorDNSError():
            return f"the name {error.host} is not known"
        case aiohttp.ClientConnectorError():
            return f"no connection to {error.host}:{error.port}: {error.os_error.strerror or 'failed'}"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case TimeoutError():
            return f"no answer within {seconds:g} s"
        case _:
            return "no answer from the collector"


def _new_session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        raise_for_status=False,
        trace_configs=[_reuse_trace()],
    )


def _reuse_trace() -> aiohttp.TraceConfig:
    """Return a trace that sets `is_reused` on its context if a pooled connection was used."""

    async def reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.is_reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    return trace


def _check_proxy(proxy: object) -> None:
    if proxy is None:
        return
    # The URL may have credentials in it.
    shown = "***" if "@" in str(proxy) else proxy
    is_url = isinstance(proxy, str | URL) and is_http_url(split_url(str(proxy)))
    rule = "must be the URL of an HTTP proxy, like 'http://proxy.example.com:3128'"
    check_argument(is_url, "proxy", shown, rule)


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    # Messages show names only: some values are secrets.
    rule = "must map strings to strings without line breaks"
    check_argument(isinstance(headers, Mapping), "headers", type(headers).__name__, rule)
    size = 0
    for name, value in headers.items():
        valid = isinstance(name, str) and isinstance(value, str) and not set("\r\n\0") & set(name + value)
        check_argument(valid, "headers", name, rule)
        is_ours = name.lower() == "content-type"
        check_argument(not is_ours, "headers", name, "must not set Content-Type: the collector needs JSON")
        size += len(name.encode()) + len(value.encode()) + len(": \r\n")
    rule = f"must have at most {MAX_HEADERS_BYTES} bytes in all"
    check_argument(size <= MAX_HEADERS_BYTES, "headers", size, rule)
    return {"User-Agent": f"snowplow-aio/{__version__}", **headers}
