"""The addresses of a collector, read from what a user says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from yarl import URL

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_count

POST_PATH = "/com.snowplowanalytics.snowplow/tp2"
GET_PATH = "/i"

_ENDPOINT_RULE = (
    "must be a host or an http(s) URL, like 'collector.example.com' or 'https://collector.example.com'"
)
_PREFIX_RULE = "must have a path without empty segments, blanks and dots, whose other characters are escaped"
_POST_PATH_RULE = "must be two path segments, like 'com.acme/track': the collector has no route for others"

# What a shell, a template or a program puts where it knows no value.
_UNKNOWN_VALUE = re.compile(r"\$\{?\w|\{\{|%\w+%(?![0-9A-Fa-f])")
_NO_HOSTS = frozenset(["none", "null", "undefined", "http", "https"])
_HOST_AND_PORT = re.compile(r"(\[[^][]+\]|[^:][^:[\]]*)(:[0-9]{1,5})?")
# Underscores are against the rules of names, and some private names have them.
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_SEGMENT = re.compile(r"(?!\.{1,2}$)([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Collector:
    """
    The addresses of a collector.

    Attributes:
        post_url: Where batches go.

        get_url: Where single events go.

    Example:
        >>> Collector.at("collector.example.com", protocol=None, port=None, post_path=None).get_url
        'https://collector.example.com/i'
    """

    post_url: str
    get_url: str

    @classmethod
    def at(cls, endpoint: str, *, protocol: str | None, port: int | None, post_path: str | None) -> Collector:
        """
        Return the addresses of the collector at *endpoint*.

        Args:
            endpoint: A host, or an ``http`` or ``https`` URL. Either may have a port and a path
                prefix, and the collector's own path for batches or single events, which counts as none.

            protocol: ``http`` or ``https``, for an endpoint that is a host; None for ``https``.

            port: The port, 1 to 65535, for an endpoint that has none; None for that of the endpoint.

            post_path: The path for batches, which has two segments, as the collector routes them;
                None for the collector's own.

        Raises:
            ConfigurationError: If an argument is malformed or two of them contradict each other.
        """
        is_text = isinstance(endpoint, str) and endpoint != "" and _is_visible(endpoint)
        check_argument(is_text, "endpoint", endpoint, _ENDPOINT_RULE)
        check_argument(protocol in (None, "http", "https"), "protocol", protocol, "must be 'http' or 'https'")
        if port is not None:
            check_count("port", port, most=65_535)
        url = _endpoint_url(endpoint, protocol or "https")
        if protocol not in (None, url.scheme):
            raise ConfigurationError.about("protocol", protocol, f"contradicts {url.scheme}://")
        if port is not None and url.port not in (None, port):
            raise ConfigurationError.about("port", port, f"contradicts the port of {endpoint!r}")
        host = url.netloc if url.netloc.isascii() else _in_ascii(url)
        host = host if port is None or url.port is not None else f"{host}:{port}"
        path = _two_segments(post_path)
        base = f"{url.scheme}://{host}{_prefix(url.path, path, endpoint)}"
        return cls(post_url=base + path, get_url=base + GET_PATH)


def _endpoint_url(endpoint: str, protocol: str) -> SplitResult:
    """Return *endpoint* as a URL that has a host; *protocol* is its scheme if it has none of its own."""
    url = split_url(endpoint if "://" in endpoint else f"{protocol}://{endpoint}")
    if "@" in url.netloc:
        raise ConfigurationError.about("endpoint", "***", "must not have credentials in it; use headers")
    # An address that cannot be read may have credentials in it too.
    shown = "***" if "@" in endpoint else endpoint
    rule = "must be the address itself, not a variable that nobody has replaced"
    check_argument(_UNKNOWN_VALUE.search(endpoint) is None, "endpoint", shown, rule)
    check_argument(is_http_url(url), "endpoint", shown, _ENDPOINT_RULE)
    if url.query or url.fragment:
        raise ConfigurationError.about("endpoint", endpoint, "must not have a query or a fragment")
    return url


def _in_ascii(url: SplitResult) -> str:
    host = _ascii(url.hostname or "")
    return host if url.port is None else f"{host}:{url.port}"


def _prefix(path: str, post_path: str, endpoint: str) -> str:
    """Return what of *path* comes before the collector's own paths."""
    prefix = path.rstrip("/")
    for own in (post_path, POST_PATH, GET_PATH):
        if prefix.endswith(own):
            prefix = prefix.removesuffix(own).rstrip("/")
            break
    segments = prefix.split("/")[1:]
    check_argument(all(map(_SEGMENT.fullmatch, segments)), "endpoint", endpoint, _PREFIX_RULE)
    return prefix


def _two_segments(path: str | None) -> str:
    if path is None:
        return POST_PATH
    check_argument(isinstance(path, str), "post_path", path, _POST_PATH_RULE)
    segments = path.removeprefix("/").split("/")
    valid = len(segments) == 2 and all(map(_SEGMENT.fullmatch, segments))
    check_argument(valid and _UNKNOWN_VALUE.search(path) is None, "post_path", path, _POST_PATH_RULE)
    return "/" + "/".join(segments)


def _is_visible(text: str) -> bool:
    """Return whether *text* has neither blanks nor characters that cannot be printed."""
    return text.isprintable() and " " not in text


def split_url(url: str) -> SplitResult:
    """Return the parts of *url*; all are empty if it cannot be read."""
    try:
        return urlsplit(url)
    except ValueError:
        # Brackets around something that is no address.
        return SplitResult("", "", "", "", "")


def is_http_url(url: SplitResult) -> bool:
    """Return whether *url* is ``http`` or ``https`` and has a host, and a port that exists if it has any."""
    authority = url.netloc.rpartition("@")[2]
    if url.scheme not in ("http", "https") or _HOST_AND_PORT.fullmatch(authority) is None:
        return False
    try:
        return _is_host(url.hostname or "") and (url.port is None or url.port > 0)
    except ValueError:
        return False


def _is_host(host: str) -> bool:
    """Return whether *host* is an IP address or a name as the name service may know one."""
    name = _ascii(host.removesuffix("."))
    if ":" in name or name.rpartition(".")[2].isdigit():
        return _is_ip_address(name)
    labels = name.split(".")
    return name.lower() not in _NO_HOSTS and len(name) <= 253 and all(map(_LABEL.fullmatch, labels))


def _ascii(name: str) -> str:
    """
    Return *name*, which may be in any script, as the name service knows it.

    Raises:
        ValueError: If there is no such name.
    """
    return name if name.isascii() else URL.build(scheme="http", host=name).raw_host or ""


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
