"""The addresses of a collector, read from what a user says of it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument, check_count

POST_PATH = "/com.snowplowanalytics.snowplow/tp2"
GET_PATH = "/i"

_ENDPOINT_RULE = (
    "must be a host or an http(s) URL, like 'collector.example.com' or 'https://collector.example.com'"
)
_POST_PATH_RULE = "must be two path segments, like 'com.acme/track': the collector has no route for others"

# Characters that no host has.
_NOT_IN_HOSTS = frozenset(' \\^`{|}<>"')


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
            endpoint: A host, or an ``http`` or ``https`` URL. Either may have a port and a path prefix.

            protocol: ``http`` or ``https``, for an endpoint that is a host; None for ``https``.

            port: The port, 1 to 65535, for an endpoint that has none; None for that of the endpoint.

            post_path: The path for batches, which has two segments, as the collector routes them;
                None for the collector's own.

        Raises:
            ConfigurationError: If an argument is malformed or two of them contradict each other.
        """
        is_text = isinstance(endpoint, str) and endpoint != "" and endpoint == endpoint.strip()
        check_argument(is_text, "endpoint", endpoint, _ENDPOINT_RULE)
        check_argument(protocol in (None, "http", "https"), "protocol", protocol, "must be 'http' or 'https'")
        if port is not None:
            check_count("port", port, most=65_535)
        url = _endpoint_url(endpoint, protocol or "https")
        if protocol not in (None, url.scheme):
            raise ConfigurationError.about("protocol", protocol, f"contradicts {url.scheme}://")
        if port is not None and url.port not in (None, port):
            raise ConfigurationError.about("port", port, f"contradicts the port of {endpoint!r}")
        host = url.netloc if port is None or url.port is not None else f"{url.netloc}:{port}"
        base = f"{url.scheme}://{host}{url.path.rstrip('/')}"
        return cls(post_url=base + _two_segments(post_path), get_url=base + GET_PATH)


def _endpoint_url(endpoint: str, protocol: str) -> SplitResult:
    """Return *endpoint* as a URL that has a host; *protocol* is its scheme if it has none of its own."""
    url = split_url(endpoint if "://" in endpoint else f"{protocol}://{endpoint}")
    if "@" in url.netloc:
        raise ConfigurationError.about("endpoint", "***", "must not have credentials in it; use headers")
    if not is_http_url(url):
        # An address that cannot be read may have credentials in it too.
        shown = "***" if "@" in endpoint else endpoint
        raise ConfigurationError.about("endpoint", shown, _ENDPOINT_RULE)
    if url.query or url.fragment:
        raise ConfigurationError.about("endpoint", endpoint, "must not have a query or a fragment")
    return url


def _two_segments(path: str | None) -> str:
    if path is None:
        return POST_PATH
    check_argument(isinstance(path, str), "post_path", path, _POST_PATH_RULE)
    segments = path.removeprefix("/").split("/")
    has_two = len(segments) == 2 and all(segments)
    check_argument(has_two and not set("?# ") & set(path), "post_path", path, _POST_PATH_RULE)
    return "/" + "/".join(segments)


def split_url(url: str) -> SplitResult:
    """Return the parts of *url*; all are empty if it cannot be read."""
    try:
        return urlsplit(url)
    except ValueError:
        # Brackets around something that is no address.
        return SplitResult("", "", "", "", "")


def is_http_url(url: SplitResult) -> bool:
    """Return whether *url* is ``http`` or ``https`` and has a host, and a port that exists if it has any."""
    if url.scheme not in ("http", "https") or _NOT_IN_HOSTS & set(url.netloc):
        return False
    try:
        return bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False
