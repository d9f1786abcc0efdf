"""Why a request had no answer, in plain words, and whether trying again could help."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from snowplow_aio.http.sessions import Progress
from snowplow_aio.runtime.foreign_text import shown

# Of the proxy, as of the collector: these pass by themselves.
_PASSING = frozenset([HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS])

# How the faults of OpenSSL that no time mends are called, by parts of their names.
_TLS_FAULTS = (
    ("WRONG_VERSION_NUMBER|HTTP_REQUEST", "the port does not speak TLS: https to a port for http"),
    (
        "PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|NO_PROTOCOLS|WRONG_SSL_VERSION|VERSION_TOO_LOW",
        "the two sides have no TLS version in common",
    ),
    ("CERTIFICATE_REQUIRED|PEER_DID_NOT_RETURN", "a client certificate is missing, which ssl= must have"),
    (
        "ALERT_BAD_CERTIFICATE|ALERT_UNKNOWN_CA|ALERT_CERTIFICATE|ALERT_UNSUPPORTED_CERT|ACCESS_DENIED",
        "the server does not take the client certificate",
    ),
    (
        "HANDSHAKE_FAILURE|NO_SHARED_CIPHER|NO_CIPHERS|INSUFFICIENT_SECURITY",
        "the server refuses the TLS handshake: no cipher in common, or a client certificate is missing",
    ),
    ("UNRECOGNIZED_NAME", "the server does not know the name that TLS asks for"),
)

# How servers say with status 400 that the request came to the wrong port, or without a client certificate.
_WRONG_PORT = re.compile(rb"(?i)HTTP request was sent to HTTPS|HTTP request to an HTTPS|to an SSL-enabled")
_NO_CERTIFICATE = re.compile(rb"(?i)No required SSL certificate|The SSL certificate error")

# The first bytes of a record of TLS, as errors show them.
_TLS_RECORD = re.compile(r"b'\\x1[56]\\x03")

# A server that never answers, and closes so many connections in a row as soon as TLS is spoken, refuses them.
_MOST_CLOSED = 3
_CLOSED = "the connection was closed without an answer"


@dataclass(frozen=True, slots=True)
class Failure:
    """
    A failed request.

    Attributes:
        detail: Why there was no answer, without any part of the request.

        is_lasting: Whether it stays so until somebody changes a setting.
    """

    detail: str
    is_lasting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """
    The circumstances of a failed request.

    Attributes:
        progress: How far it had come.

        seconds: How long it took.

        host: The host of the collector.

        is_tls: Whether TLS was to be spoken.

        proxy: The host of the proxy, or None.

        closed: How many connections in a row were closed without an answer, if there never was one; else 0.
    """

    progress: Progress
    seconds: float
    host: str
    is_tls: bool
    proxy: str | None
    closed: int


def failure_of(error: Exception, at: Circumstances) -> Failure:  # noqa: PLR0911 - a table of errors
    """Return why a request failed with *error*."""
    if (fault := _tls_fault(error)) is not None:
        return _of_tls(error, fault)
    match error:
        case aiohttp.ClientHttpProxyError():
            return _of_proxy(error.status)
        case aiohttp.ClientResponseError():
            return _unreadable(error.message)
        case aiohttp.ServerFingerprintMismatch():
            return Failure("the certificate is not the one that ssl= asks for", is_lasting=True)
        case aiohttp.ClientConnectorDNSError():
            return _unknown_name(error, at)
        case aiohttp.ClientConnectorError() if error.errno:
            whose = "the proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
            return Failure(f"no connection to {whose}{_address(error)}: {os.strerror(error.errno)}")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Failure("an address that cannot be used", is_lasting=True)
        case aiohttp.ConnectionTimeoutError() if at.progress.waits_for == "answer":
            # A session of the application's does not tell how far it has come.
            at.progress.waits_for = "connection"
            return Failure(_late(at))
        case TimeoutError():
            return Failure(_late(at))
        case _:
            return _closed(error, at)


def is_closed_connection(error: BaseException) -> bool:
    """Return whether *error* says that the other side has closed the connection, and nothing more."""
    closed = (aiohttp.ServerDisconnectedError, ConnectionError, ssl.SSLEOFError)
    return any(isinstance(cause, closed) for cause in _causes(error))


def complaint_in(page: bytes) -> Failure | None:
    """Return what *page*, the body of an answer with status 400, says of the connection; or None."""
    if _WRONG_PORT.search(page):
        return Failure("the port speaks TLS: http to a port for https", is_lasting=True)
    if _NO_CERTIFICATE.search(page):
        return Failure("a client certificate is missing, which ssl= must have", is_lasting=True)
    return None


def _of_proxy(status: int) -> Failure:
    """Return why the proxy has not opened a connection to the collector."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Failure("the proxy asks for credentials (status 407)", is_lasting=True)
    passes = status in _PASSING or not 300 <= status < 500
    what = "has no connection to the collector" if passes else "refuses to connect to the collector"
    return Failure(f"the proxy {what} (status {status})", is_lasting=not passes)


def _unreadable(message: str) -> Failure:
    if _TLS_RECORD.search(message):
        return Failure("the port speaks TLS: http to a port for https", is_lasting=True)
    return Failure(f"an answer that cannot be read: {shown(' '.join(message.split()))}", is_lasting=True)


def _unknown_name(error: aiohttp.ClientConnectorDNSError, at: Circumstances) -> Failure:
    if error.host != at.proxy:
        return Failure(f"the name {shown(error.host)} is not known")
    is_certain = isinstance(error.os_error, socket.gaierror) and error.errno == socket.EAI_NONAME
    return Failure(f"the name of the proxy, {shown(error.host)}, is not known", is_lasting=is_certain)


def _late(at: Circumstances) -> str:
    """Return what a request waited for in vain, and how long."""
    return f"no {waited_for(at.progress, at.host, at.proxy)} within {round(at.seconds, 1):g} s"


def waited_for(progress: Progress, host: str, proxy: str | None) -> str:
    """Return what a request to *host* waits for."""
    whose = f"the proxy {proxy}" if proxy else host
    match progress.waits_for:
        case "name":
            return f"address of {whose} from the name service"
        case "connection":
            return f"connection to {whose}"
        case _:
            return "answer"


def _closed(error: Exception, at: Circumstances) -> Failure:
    """Return what it means that the connection was closed, or broke."""
    if not is_closed_connection(error):
        return Failure("no answer from the collector")
    if not at.is_tls:
        return Failure(_CLOSED)
    is_lasting = at.closed >= _MOST_CLOSED
    if isinstance(error, aiohttp.ClientConnectorError):
        reasons = "no TLS version or cipher in common, or a client certificate is missing"
        return Failure(f"the connection was closed during the TLS handshake ({reasons}?)", is_lasting)
    hint = " (a client certificate is missing?)" if at.closed else ""
    return Failure(_CLOSED + hint, is_lasting)


# --- TLS


def _tls_fault(error: BaseException) -> ssl.SSLError | None:
    """Return the error of OpenSSL that is behind *error*, or None."""
    found = [fault for fault in _causes(error) if isinstance(fault, ssl.SSLError)]
    # The last one is OpenSSL's own, the others are aiohttp's. A closed connection is no fault of TLS.
    is_fault = found and getattr(found[-1], "reason", None) and not isinstance(found[-1], ssl.SSLEOFError)
    return found[-1] if is_fault else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _of_tls(error: Exception, fault: ssl.SSLError) -> Failure:
    if isinstance(fault, ssl.SSLCertVerificationError):
        reason = shown(fault.verify_message)
        return Failure(f"the certificate is not trusted: {reason}", is_lasting=True)
    for names, words in _TLS_FAULTS:
        if re.search(names, fault.reason):
            where = f"{_address(error)}: " if isinstance(error, aiohttp.ClientConnectorError) else ""
            return Failure(f"{where}{words}", is_lasting=True)
    return Failure(f"TLS failed: {shown(fault.reason)}")


def _address(error: aiohttp.ClientConnectorError) -> str:
    return f"{shown(error.host)}:{error.port}"
