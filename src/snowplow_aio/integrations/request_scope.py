"""One request as a tracking scope: its visitor, its page, and what may be tracked during it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from snowplow_aio.integrations.failures import Failures
from snowplow_aio.integrations.page_address import local_target, mended, page_address
from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.integrations.visitor import VisitorPolicy, as_user_id, strictest
from snowplow_aio.tracking.scope import Permission, TrackingScope, current_scope
from snowplow_aio.tracking.scoped import scoped

_Tracker = TypeVar("_Tracker")


class RequestScope(TrackingScope):
    """
    The visitor and the page of one request, for the events that are tracked during it.

    An integration binds it while the request is answered. Headers and cookies are
    read when the first event is tracked.

    Args:
        policy: How visitors are recognised.

        head: The head of the request.

        request: The request as the hooks get it. It is forgotten when the request ends.

        outer: The scope of the same request in the application that this one is mounted in.
            What may not be tracked there may not be tracked here.

    Attributes:
        policy: How visitors are recognised.
    """

    __slots__ = (
        "_failures",
        "_fields",
        "_has_view",
        "_head",
        "_origin",
        "_outer",
        "_page",
        "_permission",
        "_request",
        "_user_id",
        "policy",
    )

    def __init__(
        self, policy: VisitorPolicy, head: RequestHead, request: Any, outer: RequestScope | None = None
    ) -> None:
        self.policy: VisitorPolicy = policy
        self._outer: RequestScope | None = outer
        self._failures: Failures | None = None
        self._has_view: bool = False
        self._head: RequestHead = head
        self._request: Any = request
        self._origin: tuple[str | None, str, str] | None = None
        self._permission: Permission | None = None
        self._user_id: str | None = None
        self._fields: Mapping[str, str] | None = None
        self._page: Mapping[str, str] | None = None

    def claim_view(self) -> bool:
        """Return whether the page of the request is not tracked yet, in no application that it passes."""
        if self._outer is not None:
            return self._outer.claim_view()
        is_first, self._has_view = not self._has_view, True
        return is_first

    def is_in(self, other: RequestScope) -> bool:
        """Return whether this is *other*, or the same request in an application that is mounted there."""
        return self is other or (self._outer is not None and self._outer.is_in(other))

    def failures(self) -> Failures:
        """Return the exceptions of the request, in all applications that it passes; none after its end."""
        if self._outer is not None:
            return self._outer.failures()
        if self._failures is None:
            self._failures = Failures()
        return self._failures

    def is_about(self, other: TrackingScope) -> bool:  # noqa: D102 - see TrackingScope
        return isinstance(other, RequestScope) and (self.is_in(other) or other.is_in(self))

    async def prefetch(self) -> None:
        """Ask the hooks that are coroutine functions, before the application sees the request."""
        consent, user_id = self.policy.consent, self.policy.user_id
        if consent is not None and consent.is_async:
            answer = await consent.ask_and_wait(self._request)
            self._permission = self._permission_with(has_consent=bool(answer))
        # If nothing is tracked, or anonymous events only, no user id is needed.
        if user_id is not None and user_id.is_async and self._permission in (None, "all"):
            self._user_id = as_user_id(user_id, await user_id.ask_and_wait(self._request))

    def close(self) -> None:
        """
        End the request: `forget_request`, and forget its errors.

        Tasks that go on keep this scope, perhaps for as long as the process lives.
        """
        self.forget_request()
        self._failures = None

    def forget_request(self) -> None:
        """Ask the hooks that have not been asked, and forget the request that they get."""
        if self._request is not None and self.policy.hooks and self.permission() == "all":
            self._ask_user_id()
        self._request = None

    def permission(self) -> Permission:  # noqa: D102 - see TrackingScope
        permission = self._permission
        if permission is None:
            consent = self.policy.consent
            if consent is not None and consent.is_async:
                # Asked by nobody yet: this is a middleware outside of ours, which asks.
                return self._permission_with(has_consent=False)
            has_consent = consent is None or bool(consent.ask(self._request))
            permission = self._permission = self._permission_with(has_consent=has_consent)
        return permission

    def _permission_with(self, *, has_consent: bool) -> Permission:
        own = self.policy.permission(self._head, has_consent=has_consent)
        return own if self._outer is None else strictest(own, self._outer.permission())

    def fields(self) -> Mapping[str, str]:  # noqa: D102 - see TrackingScope
        user_id = self._ask_user_id()
        fields = self._fields
        # Two threads may do this at the same time. If one leaves a value without the user id here,
        # the next call replaces it.
        if fields is None or fields.get("uid") != user_id:
            fields = self._fields = self.policy.fields(self._head, self._seen_outside()[0], user_id)
        return fields

    def page(self) -> Mapping[str, str]:  # noqa: D102 - see TrackingScope
        if self._page is None:
            self._page = _page(self._head, *self._seen_outside()[1:])
        return self._page

    def page_url(self) -> str:
        """Return the address of the page; the path alone if the host is unknown."""
        if url := self.page().get("url"):
            return url
        path = (local_target(self._head.target) or "").lstrip("/")
        return mended("url", f"/{path}") or "/"

    def _ask_user_id(self) -> str | None:
        hook, request = self.policy.user_id, self._request
        if self._user_id is None and hook is not None and not hook.is_async and request is not None:
            self._user_id = as_user_id(hook, hook.ask(request))
        return self._user_id

    def _seen_outside(self) -> tuple[str | None, str, str]:
        """Return address, scheme and host as the outermost proxy saw them."""
        if self._origin is None:
            self._origin = self.policy.proxies.seen_by(self._head)
        return self._origin


def view_for(scope: RequestScope | None, tracker: _Tracker) -> _Tracker:
    """Return *tracker* for the request of *scope*, wherever it is kept and whenever it tracks."""
    here = current_scope()
    # In an application that is mounted, what holds there.
    near = here if isinstance(here, RequestScope) and scope is not None and here.is_in(scope) else scope
    return tracker if near is None else scoped(tracker, near)


def tracker_for(scope: RequestScope | None, tracker: _Tracker) -> _Tracker:
    """Return *tracker* for the request of *scope*, whatever request the caller's task belongs to."""
    here = current_scope()
    if scope is None or here is scope or (isinstance(here, RequestScope) and here.is_in(scope)):
        return tracker
    return scoped(tracker, scope)


def _page(head: RequestHead, scheme: str, host: str) -> Mapping[str, str]:
    """Return the URL of a request and its referrer, as far as the pipeline takes them."""
    referrer = head.value(b"referer")
    found = {"refr": referrer and mended("refr", referrer), "url": page_address(head, scheme, host)}
    return {key: url for key, url in found.items() if url}
