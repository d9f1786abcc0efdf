"""
The URL of a Redis, read with redis-py's own parser and checked before it.

redis-py takes port 0 and the name of a database for nothing said, and connects to another place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import ParseResult, parse_qs, unquote, urlparse

from redis.asyncio.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.atomic import INT32_MAX

_SCHEMES = ("redis://", "rediss://", "unix://")
_RULE = "must be a URL like 'redis://host:6379/0', 'rediss://...' or 'unix:///path'"
_DATABASE_RULE = "with a number from 0 as its database"
_PORT_RULE = "with a port from 1 to 65535"

# redis-py takes these from a URL, too, though they are no texts or stand elsewhere in it.
_NO_TEXTS = frozenset(
    {
        "host", "port", "path", "connection_class", "socket_type", "socket_keepalive_options", "retry",
        "retry_on_error", "parser_class", "encoder_class", "credential_provider", "redis_connect_func",
    }
)  # fmt: skip
_YES_AND_NO = frozenset(["0", "1", "f", "t", "n", "y", "no", "yes", "false", "true"])
_SECRET = "***"  # noqa: S105 - what stands in the place of one


def settings_of_url(url: str) -> Mapping[str, Any]:
    """
    Return the settings of a connection that *url* says.

    Raises:
        ConfigurationError: If it is no URL of a Redis, or a part of it has no meaning. The error shows
            that part, or ``***`` where it may be a part of a password.
    """
    # redis-py accepts a scheme without slashes, and then connects to the default host.
    fault = _Fault() if not url.lower().startswith(_SCHEMES) or not url.isprintable() else _fault_of(url)
    if fault is None:
        try:
            return parse_url(url)
        except (ValueError, TypeError):
            # Not the text of the error, which can have a part of the URL in it.
            fault = _Fault()
    rule = f"{_RULE}, {fault.rule}" if fault.rule else _RULE
    # A password with a sign in it that has a meaning in a URL may stand anywhere.
    has_password = "@" in url or "password" in url
    raise ConfigurationError.about("client", _SECRET if has_password else fault.value, rule) from None


def check_place(settings: Mapping[str, Any]) -> None:
    """
    Check the port and the database in *settings*, those of a URL or of a user's client.

    Raises:
        ConfigurationError: If one is out of range.
    """
    for name, least, most, rule in (("port", 1, 65_535, _PORT_RULE), ("db", 0, INT32_MAX, _DATABASE_RULE)):
        value = settings.get(name)
        is_number = isinstance(value, int) or (isinstance(value, str) and _is_number(value))
        if value is not None and not (is_number and least <= int(value) <= most):
            raise ConfigurationError.about("client", value, f"must be for a server {rule}")


class _Fault(NamedTuple):
    """What is wrong with a URL."""

    value: object = _SECRET
    """The part that is wrong, as it may be shown."""

    rule: str = ""
    """The rule for this part; empty where it is no URL of a Redis at all."""


def _fault_of(url: str) -> _Fault | None:
    """Return what is wrong with *url*, which redis-py may take all the same, or None."""
    try:
        parts = urlparse(url)
        return _fault_of_address(parts) or _fault_of_parameters(parse_qs(parts.query, keep_blank_values=True))
    except ValueError:
        return _Fault()


def _fault_of_address(parts: ParseResult) -> _Fault | None:
    if parts.fragment:
        return _Fault(rule="without a '#', which is written '%23' in a password")
    path = unquote(parts.path)
    if parts.scheme == "unix":
        has_path = not parts.hostname and path.strip("/")
        return None if has_path else _Fault(rule="with the path of a socket, like 'unix:///run/redis.sock'")
    if any(character.isspace() for character in parts.netloc):
        return _Fault(rule="without spaces")
    if not _has_good_port(parts):
        said = parts.netloc.rpartition(":")[2]
        # Without a host it is a password, and not followed by an `@`.
        return _Fault(said if parts.hostname and _is_number(said) else _SECRET, _PORT_RULE)
    # A URL with a slash at its end may have got another one before the database.
    database = path.strip("/")
    is_right = not database or (_is_number(database) and int(database) <= INT32_MAX)
    return None if is_right else _Fault(database, _DATABASE_RULE)


def _has_good_port(parts: ParseResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _fault_of_parameters(parameters: Mapping[str, Sequence[str]]) -> _Fault | None:
    for name, values in parameters.items():
        parser = URL_QUERY_ARGUMENT_PARSERS.get(name)
        if name in _NO_TEXTS:
            return _Fault(name, "without this parameter")
        if parser is not None and (len(values) > 1 or not _is_read(parser, values[0])):
            rule = _DATABASE_RULE if name == "db" else f"with one {name} that redis-py can read"
            return _Fault(", ".join(values), rule)
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_read(parser: Any, text: str) -> bool:
    """Return whether *text* is what *parser* is for; redis-py takes every text for a yes."""
    if parser.__name__ == "to_bool":
        return text.lower() in _YES_AND_NO
    try:
        value = parser(text)
    except (ValueError, TypeError):
        return False
    return not isinstance(value, int | float) or (math.isfinite(value) and value >= 0)
