"""Entities for single headers and cookies of a request."""

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
        name: The name; at most 4,096 characters.

        value: The value; at most 4,096 characters.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Send the id of a request::

            await tracker.track(event, context=HttpHeader.pick(request.headers, "X-Request-Id"))
    """

    name: _Text
    value: _Text

    @classmethod
    def pick(cls, headers: Mapping[str, str], *names: str) -> list[Self]:
        """
        Return some headers of a request, by name.

        A header that is missing, or that cannot be sent (too long, no Unicode), is left out.

        Args:
            headers: The headers of the request.

            *names: The names, in any case. The entities get them as they are written here.
        """
        wanted = {name.lower(): name for name in names}
        values = {name.lower(): value for name, value in headers.items() if name.lower() in wanted}
        found = ((name, values[lower]) for lower, name in wanted.items() if lower in values)
        return [cls(name=name, value=value) for name, value in _sendable(found)]


class HttpCookie(SelfDescribing, schema="iglu:org.ietf/http_cookie/jsonschema/1-0-0"):
    """
    One cookie of a request.

    Args:
        name: The name; at most 4,096 characters.

        value: The value, or None; at most 4,096 characters.

    Raises:
        pydantic.ValidationError: If a value breaks one of these rules.

    Example:
        Send the variant of an experiment::

            await tracker.track(event, context=HttpCookie.pick(request.cookies, "variant"))
    """

    name: _Text
    value: _Text | None

    @classmethod
    def pick(cls, cookies: Mapping[str, str], *names: str) -> list[Self]:
        """
        Return some cookies of a request, by name.

        A cookie that is missing, or that cannot be sent (too long, no Unicode), is left out.

        Args:
            cookies: The cookies of the request.

            *names: The names.
        """
        found = ((name, cookies[name]) for name in names if name in cookies)
        return [cls(name=name, value=value) for name, value in _sendable(found)]


def _sendable(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the pairs that can be sent: a visitor can send anything."""
    return ((name, value) for name, value in pairs if len(value) <= _LIMIT and is_unicode(value))
