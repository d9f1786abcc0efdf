"""
HTTP to a Snowplow collector, by POST or by GET.

The rules are the collector's (PROTOCOL.md §2): the body's content type decides
whether the pipeline reads it, redirects would turn a POST into an empty GET,
and a cookie that is kept would give all users one network user id.
"""

from __future__ import annotations

import math
import re
import ssl as ssl_module
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import aiohttp
from yarl import URL

from snowplow_aio.abc import Clock, Response, Transport
from snowplow_aio.exceptions import TransportError
from snowplow_aio.model.arguments import check_argument, check_count, check_seconds
from snowplow_aio.model.payload import PAYLOAD_DATA, Payload
from snowplow_aio.runtime import fork
from snowplow_aio.version import __version__

POST_PATH = "/com.snowplowanalytics.snowplow/tp2"
GET_PATH = "/i"

# What the collector reads of a GET (PROTOCOL.md §2.2): method, address and version.
MAX_REQUEST_LINE = 20_480

# Headers count towards what the collector stores of a request; the rest of
# RECORD_OVERHEAD_BYTES is for the wrapper, our own headers and the collector's.
MAX_HEADERS_BYTES = 4_096

# An answer that is longer is not read to its end: the status line has decided.
_MAX_ANSWER_BYTES = 65_536

# Below the idle time-out of the usual load balancers (60 s) and servers.
_KEEPALIVE_SECONDS = 15
_CONNECT_SECONDS = 3.0

_UNSAFE = re.compile("[^A-Za-z0-9_.~-]+")

_HEAD = b'{"schema":"%b","data":[' % PAYLOAD_DATA.encode()
_TAIL = b"]}"
_SENT = b'{"stm":"%d",'


@dataclass(frozen=True, slots=True)
class Collector:
    """
    The addresses of a collector.

    Attributes:
        post_url: Where batches go.

        get_url: Where single events go.
    """

    post_url: str
    get_url: str

    @classmethod
    def at(cls, endpoint: str, *, protocol: str | None, port: int | None, post_path: str | None) -> Collector:
        """
        Return the addresses for what a user says of a collector.

        Args:
            endpoint: A host, or an ``http`` or ``https`` URL; either may have a
                port and a path prefix.

            protocol: ``http`` or ``https``, for a host; ``https`` where it is None.

            port: The port, for a host, 1 to 65535.

            post_path: The path for batches: two segments, as the collector routes them.

        Raises ConfigurationError when one of them is malformed or two contradict each other.
        """
        rule = "must be a host or an http(s) URL, like 'collector.example.com' or 'https://collector.example.com'"
        check_argument(
            isinstance(endpoint, str) and endpoint.strip() == endpoint != "", "endpoint", endpoint, rule
        )
        check_argument(protocol in (None, "http", "https"), "protocol", protocol, "must be 'http' or 'https'")
        if port is not None:
            check_count("port", port, most=65_535)
        has_scheme = "://" in endpoint
        url = _split(endpoint if has_scheme else f"{protocol or 'https'}://{endpoint}")
        check_argument(
            "@" not in url.netloc, "endpoint", "***", "must not have credentials in it; use headers"
        )
        # What cannot be read may have credentials in it as well.
        shown = "***" if "@" in endpoint else endpoint
        check_argument(url.scheme in ("http", "https") and _has_host(url.netloc), "endpoint", shown, rule)
        check_argument(
            not url.query and not url.fragment, "endpoint", endpoint, "must not have a query or a fragment"
        )
        check_argument(
            not has_scheme or protocol in (None, url.scheme),
            "protocol",
            protocol,
            f"contradicts {url.scheme}://",
        )
        check_argument(
            port is None or url.port in (None, port), "port", port, f"contradicts the port of {endpoint!r}"
        )
        host = url.netloc if port is None or url.port is not None else f"{url.netloc}:{port}"
        base = f"{url.scheme}://{host}{url.path.rstrip('/')}"
        return cls(post_url=base + _two_segments(post_path), get_url=base + GET_PATH)


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        # Brackets around what is no address.
        return SplitResult("", "", "", "", "")


def _has_host(netloc: str) -> bool:
    try:
        parts = urlsplit(f"//{netloc}")
        return (
            bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and not set(netloc) & set(' \\^`{|}<>"')
        )
    except ValueError:
        return False


def _two_segments(path: str | None) -> str:
    if path is None:
        return POST_PATH
    rule = "must be two path segments, like 'com.acme/track': the collector has no route for others"
    check_argument(isinstance(path, str), "post_path", path, rule)
    segments = path.removeprefix("/").split("/")
    check_argument(
        len(segments) == 2 and all(segments) and not set("?# ") & set(path), "post_path", path, rule
    )
    return "/" + "/".join(segments)


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """
    Return the seconds that a ``Retry-After`` header asks for, or None when it is absent or senseless.

    Args:
        value: The header: seconds, or an HTTP date.

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
    # The events are ready; the time of sending goes into each as its first member.
    sent = _SENT % milliseconds
    events = [payload.tail for payload in payloads]
    # One copy of all of it: half a megabyte, whose pages the kernel has to find each time.
    events[0] = b"".join((_HEAD, sent, events[0]))
    events[-1] += _TAIL
    return (b"," + sent).join(events)


def query(payload: Payload, milliseconds: int) -> str:
    """Return the query string of a GET; everything but letters, digits and ``_.-~`` is escaped."""
    fields = payload.fields()
    fields["stm"] = str(milliseconds)
    # Most of an event is base64: looking for what must be escaped is quicker than escaping all.
    return "&".join([f"{key}={_UNSAFE.sub(_escape, value)}" for key, value in fields.items()])


def _escape(unsafe: re.Match[str]) -> str:
    return _escaped(unsafe[0])


@lru_cache(maxsize=1024)
def _escaped(text: str) -> str:
    # Nearly all are the same few: "://", "=", "&", " ".
    return quote(text, safe="")


class HttpTransport(Transport):
    """
    Sends events to a collector.

    Args:
        collector: Its addresses.

        method: ``post``, or ``get`` for one event per request.

        headers: Headers for every request, at most 4,096 bytes; ``Content-Type`` is ours.

        session: The application's own aiohttp session, which stays open; None for one of ours.

        ssl: What aiohttp takes: True, False or an `ssl.SSLContext`.

        proxy: The URL of an HTTP proxy.

        request_timeout: Seconds for a whole request, above 0.

        connections: Most connections of our own session.

        clock: The wall clock in nanoseconds.

    Raises ConfigurationError when a value is out of range.
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
                response = await self._request("GET", url, headers, None)
                # A proxy on the way may take shorter lines than the collector.
                if response.status != HTTPStatus.REQUEST_URI_TOO_LONG:
                    return response
        headers["Content-Type"] = "application/json; charset=utf-8"
        return await self._request("POST", self._collector.post_url, headers, body(payloads, milliseconds))

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None
    ) -> Response:
        trace = SimpleNamespace(is_reused=False)
        try:
            try:
                session = self._given_session or self._own_session()
                return await self._attempt(session, method, url, headers, data, trace=trace)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                # The server closes idle connections whenever it likes. A pooled
                # one that was closed says nothing about the server's health.
                if not trace.is_reused or isinstance(error, aiohttp.ClientConnectorError):
                    raise
                # On a new connection: the others of the pool were idle as long.
                async with _new_session(aiohttp.TCPConnector(force_close=True)) as session:
                    return await self._attempt(session, method, url, headers, data, trace=trace)
        except aiohttp.ClientConnectorCertificateError as error:
            reason, detail = type(error).__name__, _explain(error, self._request_timeout)
            return Response(status=0, reason=reason, detail=detail, is_misconfigured=True)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransportError(_explain(error, self._request_timeout)) from error

    async def _attempt(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None,
        *,
        trace: SimpleNamespace,
    ) -> Response:
        timeout = aiohttp.ClientTimeout(
            total=self._request_timeout,
            sock_connect=_CONNECT_SECONDS,
            # Not rounded up to whole seconds.
            ceil_threshold=math.inf,
        )
        async with session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=data,
            timeout=timeout,
            trace_request_ctx=trace,
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


async def _finish(answer: aiohttp.ClientResponse) -> None:
    """Read the body, so that the connection can be used again; nothing in it changes the answer."""
    try:
        left = _MAX_ANSWER_BYTES
        while left > 0 and (chunk := await answer.content.read(left)):
            left -= len(chunk)
        if left <= 0:
            answer.close()
    except (aiohttp.ClientError, TimeoutError, OSError):
        answer.close()


def _target(location: str | None) -> str:
    """Return where a redirect leads, without its path and query, which may have the event in it."""
    url = _split(location or "")
    host = url.netloc.rpartition("@")[2]
    return f"a redirect to {url.scheme}://{host}" if host else ""


def _explain(error: BaseException, seconds: float) -> str:
    """Return why there was no answer, without anything of a request."""
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
    """Return a trace that notes on its context whether a pooled connection was used."""

    async def reused(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.is_reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    return trace


def _check_proxy(proxy: object) -> None:
    if proxy is None:
        return
    url = _split(str(proxy))
    valid = isinstance(proxy, str | URL) and url.scheme in ("http", "https") and _has_host(url.netloc)
    # It may have credentials in it.
    shown = "***" if "@" in str(proxy) else proxy
    check_argument(
        valid, "proxy", shown, "must be the URL of an HTTP proxy, like 'http://proxy.example.com:3128'"
    )


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    # Some values are secrets: they are not shown.
    rule = "must map strings to strings without line breaks"
    check_argument(isinstance(headers, Mapping), "headers", type(headers).__name__, rule)
    size = 0
    for name, value in headers.items():
        valid = isinstance(name, str) and isinstance(value, str) and not set("\r\n\0") & set(name + value)
        check_argument(valid, "headers", name, rule)
        check_argument(
            name.lower() != "content-type",
            "headers",
            name,
            "must not set Content-Type: the collector needs JSON",
        )
        size += len(name.encode()) + len(value.encode()) + 4
    check_argument(
        size <= MAX_HEADERS_BYTES, "headers", size, f"must have at most {MAX_HEADERS_BYTES} bytes in all"
    )
    return {"User-Agent": f"snowplow-aio/{__version__}", **headers}
