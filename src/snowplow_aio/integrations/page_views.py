"""A page view for each request that shows a page."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from snowplow_aio.events.page import PageView
from snowplow_aio.integrations.visitor import Visitor
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.tracking.tracker import Tracker

log: logging.Logger = logging.getLogger("snowplow_aio.integrations")

_GET = frozenset({"GET"})
_HTML = frozenset({"text/html"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PageViews:
    """
    Which requests are page views: those that all of this is true of.

    Each is tracked when its response has been sent. Its title is the template of the route,
    like ``/users/{user_id}``, so that the views of one kind of page can be counted; a
    request without a route has none. Its address is that of the request.

    Args:
        include: Patterns of paths, of which one must match; ``*`` stands for any characters.

        exclude: Patterns of paths, of which none may match.

        methods: Methods of requests.

        statuses: Status codes of responses.

        content_types: Media types of responses, in lower case and without parameters; None for any.

    Raises ConfigurationError when one of these is none.
    """

    include: Iterable[str] = ("*",)
    exclude: Iterable[str] = ()
    methods: Collection[str] = _GET
    statuses: Collection[int] = range(200, 300)
    content_types: Collection[str] | None = _HTML
    _included: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _excluded: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_included", _pattern("include", self.include))
        object.__setattr__(self, "_excluded", _pattern("exclude", self.exclude))
        _require_collection("methods", self.methods)
        _require_collection("statuses", self.statuses)
        if self.content_types is not None:
            _require_collection("content_types", self.content_types)

    def match(self, path: str, method: str, status: int, content_type: str) -> bool:
        """
        Return whether a request was a page view.

        Args:
            path: Its path, decoded, without a query.

            method: Its method.

            status: The status of its response.

            content_type: The response's header of that name, or an empty string.
        """
        if method not in self.methods or status not in self.statuses:
            return False
        media_type = content_type.partition(";")[0].strip().lower()
        if self.content_types is not None and media_type not in self.content_types:
            return False
        return self._included.fullmatch(path) is not None and self._excluded.fullmatch(path) is None


def _pattern(name: str, patterns: Iterable[str]) -> re.Pattern[str]:
    is_list = isinstance(patterns, Iterable) and not isinstance(patterns, str | bytes)
    given = list(patterns) if is_list else []
    is_text = is_list and all(isinstance(pattern, str) for pattern in given)
    check_argument(is_text, name, patterns, "must be a list of patterns like '/admin/*'")
    return re.compile("|".join(map(translate, given)) or r"(?!)")


def _require_collection(name: str, value: object) -> None:
    is_collection = isinstance(value, Collection) and not isinstance(value, str | bytes)
    check_argument(is_collection, name, value, "must be a set or a list")


async def track_page_view(tracker: Tracker, visitor: Visitor, title: str | None) -> None:
    """
    Track that *visitor* has seen the page of their request. Whatever fails is logged.

    It waits for nothing but for global contexts and enrichers that are coroutine functions.
    """
    try:
        url = visitor.page().get("url")
        # None where it breaks a rule, and the event would be lost.
        if url is not None:
            await tracker.track(PageView(page_url=url, page_title=title))
    except Exception:
        log.exception("a page view could not be tracked")


# ``{name}``, with what a converter may say after a colon.
_PARAMETER = re.compile(r"\{\s*([^}:]+?)\s*(?::[^}]*)?\}")


def template_of(template: str) -> str:
    """Return *template* without the converters of its parameters."""
    return _PARAMETER.sub(r"{\1}", template)


def template_behind_prefix(route: str, path: str, parameters: Any) -> str:
    """
    Return the template of the whole *path*, of which *route* is that of the end.

    Frameworks tell the route of the innermost router, and the values of the
    *parameters* of all of them. Where the two do not explain the path, the answer is
    *route* alone: nothing that a parameter has may show.
    """
    template = template_of(route)
    values = {str(name): str(value) for name, value in dict(parameters).items()}
    outer = {name: value for name, value in values.items() if f"{{{name}}}" not in template}
    end = _PARAMETER.sub(lambda match: values.get(match[1], match[0]), template)
    if not path.endswith(end):
        return template
    prefix = path[: len(path) - len(end)].split("/")
    for name, value in outer.items():
        if value not in prefix:
            return template
        prefix[prefix.index(value)] = f"{{{name}}}"
    return "/".join(prefix) + template
