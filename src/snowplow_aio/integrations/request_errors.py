"""The errors of requests, tracked as events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from snowplow_aio.events.error import ApplicationError
from snowplow_aio.integrations.failures import is_error, within
from snowplow_aio.integrations.request_scope import RequestScope
from snowplow_aio.integrations.untracked import Untracked
from snowplow_aio.tracking.scope import Permission, TrackingScope
from snowplow_aio.tracking.scoped import scoped
from snowplow_aio.tracking.tracker import Tracker

Found = Callable[[], tuple[Any, str | None]]
"""Returns the tracker of the application, async or blocking, and the template of the route or None."""


class RequestErrors:
    """
    Tracks the errors of requests, for an integration of any kind. No method of it raises.

    An exception becomes an `ApplicationError` about the visitor and the page of its request, as far
    as the permission allows; the title of the page is the template of the route. However many layers see
    an exception, it is tracked once. Two exceptions of one request are two events.

    An integration calls `track` for an exception that nobody answers. For one that the application may
    answer, it calls `note`, and `answered` when it knows the status.
    """

    def __init__(self) -> None:
        self._untracked = Untracked("an error of a request")

    @property
    def untracked(self) -> int:
        """The number of errors that could not be tracked, in this process."""
        return self._untracked.count

    def track(
        self, request_scope: RequestScope, found: Found, error: BaseException
    ) -> Awaitable[object] | None:
        """
        Track an exception, unless it is no error or was tracked before.

        Args:
            request_scope: The request.

            found: Returns the tracker and the template of the route.

            error: The exception.

        Returns:
            What is left to await of an async tracker: global contexts and enrichers that are
            coroutine functions. None of a blocking one.
        """
        error = within(error)
        try:
            is_new = is_error(error) and request_scope.failures().is_new(error)
            if not is_new or request_scope.permission() == "nothing":
                return None
            tracker, route = found()
            about: Any = scoped(tracker, _Page(request_scope, route))
            event = ApplicationError.from_exception(error)
            if isinstance(about, Tracker):
                return self._waited_for(about.track(event))
            about.track_nowait(event)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the request goes on
            self._untracked.add("an error", fault)
        return None

    async def _waited_for(self, tracked: Awaitable[object]) -> None:
        try:
            await tracked
        except Exception as fault:  # noqa: BLE001 - likewise
            self._untracked.add("an error", fault)

    def note(self, request_scope: RequestScope, error: BaseException) -> None:
        """Remember an exception that the application may answer, until `answered` is called."""
        request_scope.failures().note(error)

    def answered(
        self, request_scope: RequestScope, found: Found, *, has_failed: bool
    ) -> Awaitable[object] | None:
        """
        Track the exceptions that were noted, if the answer says that the server *has_failed*.

        They are forgotten in any case. The other arguments and the result are those of `track`.
        """
        noted = request_scope.failures().take()
        tracked = (self.track(request_scope, found, error) for error in noted if has_failed)
        return _in_turn([rest for rest in tracked if rest is not None])


async def rest_of(tracked: Awaitable[object] | None) -> None:
    """Await what `RequestErrors.track` or `RequestErrors.answered` has returned."""
    if tracked is not None:
        await tracked


def _in_turn(rests: Sequence[Awaitable[object]]) -> Awaitable[object] | None:
    async def in_turn() -> None:
        for rest in rests:
            await rest

    return in_turn() if rests else None


class _Page(TrackingScope):
    """The scope of a request, with the template of its route as the title of the page."""

    __slots__ = ("_request_scope", "_route")

    def __init__(self, request_scope: RequestScope, route: str | None) -> None:
        self._request_scope = request_scope
        self._route = route

    def is_about(self, other: TrackingScope) -> bool:
        return self._request_scope.is_about(other)

    def permission(self) -> Permission:
        return self._request_scope.permission()

    def fields(self) -> Mapping[str, str]:
        return self._request_scope.fields()

    def page(self) -> Mapping[str, str]:
        page = self._request_scope.page()
        return {**page, "page": self._route} if self._route else page
