"""The headers that an application may add to every request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.version import __version__

# Headers count towards what the collector stores of a request; the rest of
# RECORD_OVERHEAD_BYTES is for the wrapper, our own headers and the collector's.
MAX_HEADERS_BYTES = 4_096

# The tokens of RFC 9110, section 5.6.2.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# These say how a body travels over a connection, which is the HTTP library's to say. With a wrong one
# the collector takes the request for another one, waits for more of it, or takes it and loses the events.
_OF_THE_CONNECTION = frozenset(
    [
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """
    Return the headers of each request: *headers* and our own.

    Raises:
        ConfigurationError: If a header is malformed or not allowed, or they are more than
            `MAX_HEADERS_BYTES` in all. It shows names only: some values are secrets.
    """
    given = {} if headers is None else headers
    rule = "must map strings to strings"
    check_argument(isinstance(given, Mapping), "headers", type(given).__name__, rule)
    size = 0
    for name, value in given.items():
        is_text = isinstance(name, str) and isinstance(value, str)
        check_argument(is_text, "headers", name if isinstance(name, str) else type(name).__name__, rule)
        check_argument(_NAME.fullmatch(name) is not None, "headers", name, "must have names that are tokens")
        rule_of_values = "must have values without line breaks, control characters and blanks around them"
        check_argument(_is_field_value(value), "headers", name, rule_of_values)
        size += len(name.encode()) + len(value.encode()) + len(": \r\n")
    names = {name.lower() for name in given}
    is_json = "must not set Content-Type: the collector needs JSON"
    check_argument("content-type" not in names, "headers", "Content-Type", is_json)
    check_names("headers", given)
    rule = f"must have at most {MAX_HEADERS_BYTES} bytes in all"
    check_argument(size <= MAX_HEADERS_BYTES, "headers", size, rule)
    ours = {} if "user-agent" in names else {"User-Agent": f"snowplow-aio/{__version__}"}
    return {**ours, **given}


def check_names(argument: str, names: Iterable[str]) -> None:
    """Raise ConfigurationError if one of the *names* of headers in *argument* is the connection's own."""
    for name in names:
        if name.lower() in _OF_THE_CONNECTION:
            rule = "must not set headers that say how a request travels"
            raise ConfigurationError.about(argument, name, rule)


def _is_field_value(value: str) -> bool:
    return value == value.strip() and value.replace("\t", " ").isprintable()
