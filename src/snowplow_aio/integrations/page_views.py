"""Page views for the requests that show a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any, TypeVar

from snowplow_aio.abc import BlockingTracker
from snowplow_aio.events.page import PageView
from snowplow_aio.integrations.request_scope import RequestScope
from snowplow_aio.integrations.untracked import Untracked
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.tracking.tracker import Tracker

_Tracker = TypeVar("_Tracker")

_GET = frozenset({"GET"})
_HTML = frozenset({"text/html"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PageViews:
    """
    Which requests are tracked as page views: those that meet all of these conditions.

    A page view is tracked when the response has been sent. Its address is that of the
    request. Its title is the template of the route, like ``/users/{user_id}``, so that the
    views of one kind of page can be counted; a request without a route has no title.

    An address that the pipeline does not take is cut, as `page_url_of` does. A request that has
    none, because it names no host, is counted in `untracked` and logged once a minute.

    Args:
        include: Patterns of paths, of which one must match; ``*`` stands for any characters.

        exclude: Patterns of paths, of which none may match.

        methods: Methods of requests.

        statuses: Status codes of responses.

        content_types: Media types of responses, in lower case and without parameters; None for any.

    Raises:
        ConfigurationError: If an argument has the wrong type.

    Example:
        >>> page_views = PageViews(exclude=["/admin/*", "/health"])
    """

    include: Iterable[str] = ("*",)
    exclude: Iterable[str] = ()
    methods: Collection[str] = _GET
    statuses: Collection[int] = range(200, 300)
    content_types: Collection[str] | None = _HTML
    _included: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _excluded: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _untracked: Untracked = field(
        init=False, repr=False, compare=False, default_factory=lambda: Untracked("a page view")
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "_included", _pattern("include", self.include))
        object.__setattr__(self, "_excluded", _pattern("exclude", self.exclude))
        _check_collection("methods", self.methods)
        _check_collection("statuses", self.statuses)
        if self.content_types is not None:
            _check_collection("content_types", self.content_types)

    def match(self, path: str, method: str, status: int, content_type: str) -> bool:
        """
        Return whether a request was a page view.

        Args:
            path: The path of the request, decoded and without a query.

            method: The method of the request.

            status: The status of the response.

            content_type: The ``Content-Type`` of the response, or an empty string.
        """
        if method not in self.methods or status not in self.statuses:
            return False
        media_type = content_type.partition(";")[0].strip().lower()
        if self.content_types is not None and media_type not in self.content_types:
            return False
        return self._included.fullmatch(path) is not None and self._excluded.fullmatch(path) is None

    @property
    def untracked(self) -> int:
        """The number of page views that could not be tracked, in this process."""
        return self._untracked.count

    def complain(self, reason: str, error: BaseException | None = None) -> None:
        """Count a page view that could not be tracked, and log its reason once a minute."""
        self._untracked.add(reason, error)


def _pattern(name: str, patterns: Iterable[str]) -> re.Pattern[str]:
    is_list = isinstance(patterns, Iterable) and not isinstance(patterns, str | bytes)
    given = list(patterns) if is_list else []
    is_text = is_list and all(isinstance(pattern, str) for pattern in given)
    check_argument(is_text, name, patterns, "must be a list of patterns like '/admin/*'")
    return re.compile("|".join(map(translate, given)) or r"(?!)")


def _check_collection(name: str, value: object) -> None:
    is_collection = isinstance(value, Collection) and not isinstance(value, str | bytes)
    check_argument(is_collection, name, value, "must be a set or a list")


async def track_page_view(
    page_views: PageViews, request_scope: RequestScope, found: Callable[[], tuple[Tracker, str | None]]
) -> None:
    """
    Track the page of a request as viewed. An error is counted and logged, not raised.

    It waits for nothing but global contexts and enrichers that are coroutine functions.

    Args:
        page_views: Counts what cannot be tracked.

        request_scope: The request.

        found: Returns the tracker, and the title of the page.
    """
    try:
        if (view := _view(page_views, request_scope, found)) is not None:
            await view[0].track(view[1])
    except Exception as error:  # noqa: BLE001 - whatever it is, the request goes on
        page_views.complain("an error", error)


def track_page_view_now(
    page_views: PageViews,
    request_scope: RequestScope,
    found: Callable[[], tuple[BlockingTracker, str | None]],
) -> None:
    """Track the page of a request as viewed, as `track_page_view` does, with a blocking tracker."""
    try:
        if (view := _view(page_views, request_scope, found)) is not None:
            view[0].track(view[1])
    except Exception as error:  # noqa: BLE001 - likewise
        page_views.complain("an error", error)


def _view(
    page_views: PageViews, request_scope: RequestScope, found: Callable[[], tuple[_Tracker, str | None]]
) -> tuple[_Tracker, PageView] | None:
    """Return the tracker and the event; None if the request may not, or cannot, be tracked."""
    tracker, title = found()
    if request_scope.permission() == "nothing" or not request_scope.claim_view():
        return None
    url = request_scope.page().get("url")
    if url is None:
        page_views.complain("the request has no host that can be read")
        return None
    return tracker, PageView(page_url=url, page_title=title)


# ``{name}`` or ``{name:converter}``.
_PARAMETER = re.compile(r"\{\s*([^}:]+?)\s*(?::[^}]*)?\}")


def template_of(template: str) -> str:
    """Return *template* without the converters of its parameters."""
    return _PARAMETER.sub(r"{\1}", template)


def template_behind_prefix(route: str, path: str, parameters: Any) -> str:
    """
    Return the template of the whole *path*, whose end has the template *route*.

    Frameworks have the route of the innermost router, but the values of the
    *parameters* of all routers. If the two do not explain the whole path, the result
    is *route* alone, so that it never shows the value of a parameter.
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
