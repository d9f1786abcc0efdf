"""What a visitor's browser sent with a request: single headers and cookies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field

from snowplow_aio.model.atomic import is_unicode
from snowplow_aio.model.self_describing import SelfDescribing

_LIMIT = 4096

_Text = Annotated[str, Field(max_length=_LIMIT)]


class HttpHeader(SelfDescribing, schema="iglu:org.ietf/http_header/jsonschema/1-0-0"):
    """
    One header of a request.

    Args:
        name: Its name; at most 4,096 characters.

        value: Its value; at most 4,096 characters.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    name: _Text
    value: _Text

    @classmethod
    def pick(cls, headers: Mapping[str, str], *names: str) -> list[Self]:
        """
        Return the headers of these *names*, of those that are in *headers*.

        A header is told by its name in any case, and has the name that is given
        here. One that cannot be sent (too long, no Unicode) is left out.
        """
        wanted = {name.lower(): name for name in names}
        values = {name.lower(): value for name, value in headers.items() if name.lower() in wanted}
        found = ((name, values[lower]) for lower, name in wanted.items() if lower in values)
        return [cls(name=name, value=value) for name, value in _sendable(found)]


class HttpCookie(SelfDescribing, schema="iglu:org.ietf/http_cookie/jsonschema/1-0-0"):
    """
    One cookie of a request.

    Args:
        name: Its name; at most 4,096 characters.

        value: Its value, or None; at most 4,096 characters.

    Raises pydantic.ValidationError when a value breaks one of these rules.
    """

    name: _Text
    value: _Text | None

    @classmethod
    def pick(cls, cookies: Mapping[str, str], *names: str) -> list[Self]:
        """Return the cookies of these *names*, of those that are in *cookies* and can be sent."""
        found = ((name, cookies[name]) for name in names if name in cookies)
        return [cls(name=name, value=value) for name, value in _sendable(found)]


def _sendable(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the pairs that make no event invalid: a visitor can send anything."""
    return ((name, value) for name, value in pairs if len(value) <= _LIMIT and is_unicode(value))
