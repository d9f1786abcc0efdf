"""
HTTP to a Snowplow collector, by POST or by GET.

The collector sets the rules (docs/explanation/protocol.md, "The collector:
requests, sizes and answers"). The pipeline reads a body only if its content
type is right. A redirect would turn a POST into an empty GET. A cookie that is
kept would give all users one network user id.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import math
import re
import ssl as ssl_module
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractCookieJar
from yarl import URL

from snowplow_aio.abc import Clock, Response, Transport
from snowplow_aio.exceptions import ConfigurationError, TransportError
from snowplow_aio.http import failures
from snowplow_aio.http.collector import Collector, is_http_url, split_url
from snowplow_aio.http.environment_proxies import proxy_for
from snowplow_aio.http.headers import check_names, checked_headers
from snowplow_aio.http.sessions import Progress, Sessions, new_session, status_of
from snowplow_aio.model.arguments import check_argument, check_seconds
from snowplow_aio.model.payload import PAYLOAD_DATA, Payload
from snowplow_aio.runtime.foreign_text import shown

# Longest first line of a GET that the collector reads, with method and version
# (docs/explanation/protocol.md, "The collector: requests, sizes and answers").
MAX_REQUEST_LINE = 20_480

# A longer answer is not read to its end: the status line has decided already.
_MAX_ANSWER_BYTES = 65_536

# What goes before a body on its way through proxies and firewalls may be long. aiohttp
# takes 8 KiB and 128 headers, and calls a longer answer none.
_ANSWER_LIMITS = {"max_line_size": 2**20, "max_field_size": 2**20}
if "max_headers" in inspect.signature(aiohttp.ClientSession._request).parameters:  # noqa: SLF001 - newer versions have it
    _ANSWER_LIMITS["max_headers"] = 10_000

# Of a page about an error so much is searched for the reason.
_MAX_PAGE_BYTES = 4_096
# And so many characters of an address are shown.
_MAX_TARGET = 100

# Long enough for one lost packet, which TCP repeats after a second.
_CONNECT_SECONDS = 3.0

_UNSAFE = re.compile("[^A-Za-z0-9_.~-]+")

_HEAD = b'{"schema":"%b","data":[' % PAYLOAD_DATA.encode()
_TAIL = b"]}"
_SENT = b'{"stm":"%d",'


# How often the loop runs on after the end of a request's time. Where the loop or the process
# stood still until then, the answer waits in the socket: reading it takes a turn, and a
# turn each for the response, the request and the session that wait for it, on any loop.
_LAST_TURNS = 6


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

        headers: Headers for every request, at most 4,096 bytes in all. ``Content-Type`` and those
            that say how a request travels are not allowed.

        session: The application's own aiohttp session, which stays open; None to make one.

        ssl: True, False or an `ssl.SSLContext`, as in aiohttp.

        proxy: The URL of an HTTP proxy.

        trust_env: Whether a session that the transport makes uses the proxies that the environment names.

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
        trust_env: bool = True,
        request_timeout: float = 10.0,
        connections: int = 16,
        clock: Clock = time.time_ns,
    ) -> None:
        check_argument(method in ("post", "get"), "method", method, "must be 'post' or 'get'")
        check_seconds("request_timeout", request_timeout)
        is_ssl = isinstance(ssl, bool | ssl_module.SSLContext | aiohttp.Fingerprint | None)
        check_argument(is_ssl, "ssl", ssl, "must be True, False or an ssl.SSLContext")
        _check_proxy(proxy)
        check_argument(isinstance(trust_env, bool), "trust_env", trust_env, "must be True or False")
        self._collector = collector
        self._url = split_url(collector.post_url)
        self._headers = checked_headers(headers)
        _check_session(session, self._headers)
        if method == "get":
            self.max_events = 1
        self._given_session = session
        # The application's session belongs to its loop.
        self.needs_its_loop: bool = session is not None
        self._sessions = Sessions(connections)
        self._proxy = proxy
        self._reads_environment = trust_env and proxy is None and session is None
        self._options: dict[str, Any] = {
            "allow_redirects": False,
            "auto_decompress": False,
            "raise_for_status": False,
            "ssl": ssl,
            **_ANSWER_LIMITS,
            # Without a limit for the whole: ours waits for an answer that has come already.
            "timeout": aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, ceil_threshold=math.inf
            ),
        }
        self._request_timeout = request_timeout
        self._clock = clock
        self._latest: tuple[Progress, str | None] | None = None
        self._was_answered = False
        # Connections in a row that were closed without an answer, as long as there never was one.
        self._closed = 0

    @property
    def waits_for(self) -> str:
        """The thing that the latest request waits or waited for, in words; empty if there was none."""
        if self._latest is None:
            return ""
        progress, proxy = self._latest
        return failures.waited_for(progress, self._url.hostname or "", _host_of(proxy))

    async def send(self, payloads: Sequence[Payload]) -> Response:
        milliseconds = self._clock() // 1_000_000
        headers = dict(self._headers)
        if payloads[0].anonymous:
            headers["SP-Anonymous"] = "*"
        if self.max_events == 1 and len(payloads) == 1:
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
        if self._given_session is not None and (fault := _fault_of(self._given_session)):
            return _misconfigured("ClientSession", fault)
        proxy = proxy_for(self._url) if self._reads_environment else self._proxy
        if proxy is not None and not is_http_url(split_url(proxy)):
            return _misconfigured("InvalidProxy", "the proxy that the environment names is no HTTP proxy")
        attempt = _Attempt(asyncio.get_running_loop().time(), Progress(), proxy)
        self._latest = (attempt.progress, proxy)
        try:
            response = await self._send_or_resend(request, attempt)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._explained(error, attempt)
        except Exception as error:
            if self._given_session is None:
                raise
            # Its own middleware or traces, or arguments that contradict ours.
            return _misconfigured(
                type(error).__name__, f"the session that was passed in raised: {shown(error) or 'no reason'}"
            )
        self._was_answered = True
        return response

    def _explained(self, error: Exception, attempt: _Attempt) -> Response:
        """Return the status that came before *error*, or why trying again is of no use; else raise."""
        self._was_answered = self._was_answered or status_of(error) is not None
        if (status := status_of(error)) is not None:
            return Response(status=status, reason=f"status {status}", detail="the answer broke off")
        is_closed = failures.is_closed_connection(error) and not self._was_answered
        self._closed = self._closed + 1 if is_closed else 0
        failure = failures.failure_of(
            error,
            failures.Circumstances(
                progress=attempt.progress,
                seconds=asyncio.get_running_loop().time() - attempt.started,
                host=self._url.hostname or "",
                is_tls=self._url.scheme == "https",
                proxy=_host_of(attempt.proxy),
                closed=self._closed,
            ),
        )
        if failure.is_lasting:
            return _misconfigured(type(error).__name__, failure.detail)
        raise TransportError(failure.detail) from error

    async def _send_or_resend(self, request: _Request, attempt: _Attempt) -> Response:
        """Send *request*, and once more if it went over a pooled connection that turns out to be dead."""
        session = self._given_session or self._sessions.current()
        try:
            return await self._send_once(session, request, attempt)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # The events of a session that was abandoned meanwhile are sent elsewhere.
            if not self._sessions.has(session) or not _is_stale(attempt.progress, error):
                raise
        # The other pooled connections were idle for as long, so a new one is made.
        async with new_session(force_close=True) as session:
            return await self._send_once(session, request, attempt)

    async def _send_once(
        self, session: aiohttp.ClientSession, request: _Request, attempt: _Attempt
    ) -> Response:
        options: dict[str, Any] = {**self._options, "proxy": attempt.proxy}
        if session is not self._given_session:
            # The traces of another session would not know what this is.
            options["trace_request_ctx"] = attempt.progress
        response = None
        try:
            async with (
                _within(self._request_timeout),
                session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=request.headers,
                    data=request.data,
                    **options,
                ) as answer,
            ):
                response = self._read(answer)
                _forget_cookies(session.cookie_jar, answer)
                page = await _finish(answer)
        except (aiohttp.ClientError, TimeoutError, OSError):
            # Nothing in the body changes the result.
            if response is None:
                raise
            return response
        return _with_complaint(response, page)

    def _read(self, answer: aiohttp.ClientResponse) -> Response:
        return Response(
            status=answer.status,
            reason=f"status {answer.status}",
            detail=_target(answer.headers.get("Location")),
            retry_after=retry_after_seconds(answer.headers.get("Retry-After"), self._clock() / 1e9),
        )

    def abandon(self) -> None:
        self._sessions.abandon()

    def discard(self) -> None:
        self._sessions.abandon()

    async def aclose(self) -> None:
        await self._sessions.aclose()


class _Attempt(NamedTuple):
    """
    One attempt to send a request.

    Attributes:
        started: When, in seconds of the loop's clock.

        progress: How far it has come.

        proxy: The URL of the proxy, or None.
    """

    started: float
    progress: Progress
    proxy: str | None


@asynccontextmanager
async def _within(seconds: float) -> AsyncGenerator[None, None]:
    """
    Raise TimeoutError if the block takes longer than *seconds*.

    A loop that stood still, or a process that was stopped, is late itself: then the
    answer may have come and nobody has read it. So the block gets some turns of the
    loop more, and fails only if it still waits afterwards.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as timeout:
        timer: asyncio.Handle = loop.call_later(seconds, lambda: wait(_LAST_TURNS))

        def wait(turns: int) -> None:
            nonlocal timer
            if turns:
                timer = loop.call_soon(wait, turns - 1)
            else:
                timeout.reschedule(loop.time())

        try:
            yield
        finally:
            timer.cancel()


def _misconfigured(reason: str, detail: str) -> Response:
    return Response(status=0, reason=reason, detail=detail, is_misconfigured=True)


def _is_stale(progress: Progress, error: Exception) -> bool:
    """
    Return whether *error* means no more than that a pooled connection had been closed.

    Servers close idle connections whenever they like. That says nothing about their health.
    """
    is_new = isinstance(error, aiohttp.ClientConnectorError) or status_of(error) is not None
    return progress.is_reused and not is_new


async def _finish(answer: aiohttp.ClientResponse) -> bytes:
    """Read the body, so that the connection can be reused; return its beginning."""
    page = b""
    left = _MAX_ANSWER_BYTES
    while left > 0 and (chunk := await answer.content.read(left)):
        left -= len(chunk)
        page += chunk[: _MAX_PAGE_BYTES - len(page)]
    if left <= 0:
        answer.close()
    return page


def _with_complaint(response: Response, page: bytes) -> Response:
    """Return *response*, and why where its *page* says that the connection is wrong, not the events."""
    if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return dataclasses.replace(response, detail="the proxy asks for credentials", is_misconfigured=True)
    failure = failures.complaint_in(page) if response.status == HTTPStatus.BAD_REQUEST else None
    if failure is None:
        return response
    return dataclasses.replace(response, detail=failure.detail, is_misconfigured=True)


def _forget_cookies(jar: AbstractCookieJar, answer: aiohttp.ClientResponse) -> None:
    """Take out of *jar*, which may be the application's, the cookies that the collector has just set."""
    if answer.cookies:
        host = answer.url.host or ""
        jar.clear(lambda cookie: cookie.key in answer.cookies and host.endswith(cookie["domain"].lstrip(".")))


def _target(location: str | None) -> str:
    """Return the host that a redirect leads to. Its path and query are left out: they may have the event."""
    url = split_url(location or "")
    host = url.netloc.rpartition("@")[2]
    return f"a redirect to {shown(f'{url.scheme}://{host}', _MAX_TARGET)}" if host else ""


def _host_of(proxy: str | None) -> str | None:
    return None if proxy is None else split_url(str(proxy)).hostname


# --- arguments


def _check_proxy(proxy: object) -> None:
    if proxy is None:
        return
    # The URL may have credentials in it.
    shown = "***" if "@" in str(proxy) else proxy
    is_url = isinstance(proxy, str | URL) and is_http_url(split_url(str(proxy)))
    rule = "must be the URL of an HTTP proxy, like 'http://proxy.example.com:3128'"
    check_argument(is_url, "proxy", shown, rule)


def _check_session(session: object, headers: Mapping[str, str]) -> None:
    """Check what an application's session would add to every request."""
    if session is None:
        return
    if not isinstance(session, aiohttp.ClientSession):
        rule = "must be an aiohttp.ClientSession or None"
        raise ConfigurationError.about("session", session, rule)
    check_names("session", session.headers)
    names = {name.lower() for name in (*headers, *session.headers)}
    rule = "must not have credentials of its own besides the header Authorization"
    check_argument(session.auth is None or "authorization" not in names, "session", "***", rule)


def _fault_of(session: aiohttp.ClientSession) -> str | None:
    """Return why *session* cannot be used in the running loop, or None."""
    if session.closed:
        return "the session that was passed in is closed"
    # The public attribute is deprecated.
    if getattr(session, "_loop", None) not in (None, asyncio.get_running_loop()):
        return "the session that was passed in belongs to another event loop"
    return None
