"""
Who a visitor of a service is, as far as a request tells, and what may be tracked of them.

Without a framework: an integration makes a `Visitor` of each request and binds
it while the request is answered. Nothing is read before an event is tracked.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypedDict
from uuid import UUID

from snowplow_aio.integrations.proxies import ForwardedHeader, Proxies
from snowplow_aio.integrations.request_head import RequestHead, preferred_language
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.atomic import TEXT_LIMITS, exceeds, is_unicode, is_usual_url, url_fault
from snowplow_aio.model.cookies import cookie_fields
from snowplow_aio.model.subject import valid_fields
from snowplow_aio.runtime.throttled_log import QuietLogger, ThrottledLog, quiet_logger
from snowplow_aio.tracking.scope import Permission, TrackingScope

log: QuietLogger = quiet_logger("snowplow_aio.integrations")

UserId = str | int | UUID | None
UserIdHook = Callable[[Any], UserId | Awaitable[UserId]]
ConsentHook = Callable[[Any], bool | Awaitable[bool]]
WithoutConsent = Literal["nothing", "anonymous"]


class VisitorOptions(TypedDict, total=False):
    """
    What an integration may be told about visitors and their privacy.

    A hook is a function, or a coroutine function, of the request: of its scope in an
    ASGI application, of the `aiohttp.web.Request` in aiohttp. A function is called when the
    first event is tracked, and at the latest when the request ends; a coroutine
    function before the application sees the request. One that raises is logged.

    Args:
        trusted_proxies: Addresses and networks of the proxies before the service; ``unix`` for one
            that connects by a Unix socket. Without them, ``Forwarded`` and its kin are ignored.

        forwarded_header: Which header these proxies write, ``forwarded`` or ``x-forwarded-for``. None for
            either; where a request has both, they must then agree on the client.

        user_id: A hook that returns the application's id of the user, or None. A function
            that has returned None is called again for the next event.

        consent: A hook that returns whether the visitor may be tracked. Where it raises, they may not.

        privacy_signals: Whether ``DNT: 1`` and ``Sec-GPC: 1`` mean that the visitor may not be tracked.

        opt_out_cookie: The name of a cookie that means the same.

        without_consent: What is tracked of a visitor who may not be tracked: ``nothing``, or
            ``anonymous`` events. That holds for everything that is tracked during the request.

        anonymous: Whether all events that are tracked during requests are anonymous.

        cookie_prefix: What the JavaScript tracker's ``cookieName`` is.

        network_cookie: The name of the collector's cookie.
    """

    trusted_proxies: Iterable[str]
    forwarded_header: ForwardedHeader | None
    user_id: UserIdHook | None
    consent: ConsentHook | None
    privacy_signals: bool
    opt_out_cookie: str | None
    without_consent: WithoutConsent
    anonymous: bool
    cookie_prefix: str
    network_cookie: str


class Visitors:
    """
    How the visitors of a service are recognised; `VisitorOptions` says what the arguments mean.

    Raises ConfigurationError when one of these is none.
    """

    def __init__(
        self,
        *,
        trusted_proxies: Iterable[str] = (),
        forwarded_header: ForwardedHeader | None = None,
        user_id: UserIdHook | None = None,
        consent: ConsentHook | None = None,
        privacy_signals: bool = True,
        opt_out_cookie: str | None = None,
        without_consent: WithoutConsent = "nothing",
        anonymous: bool = False,
        cookie_prefix: str = "_sp_",
        network_cookie: str = "sp",
    ) -> None:
        for name, flag in {"privacy_signals": privacy_signals, "anonymous": anonymous}.items():
            check_argument(isinstance(flag, bool), name, flag, "must be True or False")
        cookies = {"cookie_prefix": cookie_prefix, "network_cookie": network_cookie}
        for name, text in cookies.items():
            check_argument(isinstance(text, str), name, text, "must be a string")
        is_name = opt_out_cookie is None or (isinstance(opt_out_cookie, str) and opt_out_cookie != "")
        check_argument(is_name, "opt_out_cookie", opt_out_cookie, "must be the name of a cookie, or None")
        is_choice = without_consent in ("nothing", "anonymous")
        check_argument(is_choice, "without_consent", without_consent, "must be 'nothing' or 'anonymous'")
        self.proxies: Proxies = Proxies(trusted_proxies, forwarded_header)
        self._cookie_prefix: str = cookie_prefix
        self._network_cookie: str = network_cookie
        self._heeds_signals: bool = privacy_signals
        self._opt_out: str | None = opt_out_cookie
        self._refused: Permission = without_consent
        self._granted: Permission = "anonymous" if anonymous else "all"
        self.user_id: Hook | None = None if user_id is None else Hook("user_id", user_id)
        self.consent: Hook | None = None if consent is None else Hook("consent", consent)
        self.hooks: list[Hook] = [hook for hook in (self.user_id, self.consent) if hook is not None]
        self.has_async_hooks: bool = any(hook.is_async for hook in self.hooks)

    def permission(self, head: RequestHead) -> Permission:
        """Return what the request permits to be tracked, whatever the `consent` hook says."""
        has_signal = self._heeds_signals and (head.value(b"dnt") == "1" or head.value(b"sec-gpc") == "1")
        if has_signal or (self._opt_out is not None and self._opt_out in head.cookies()):
            return self._refused
        return self._granted

    @property
    def refused(self) -> Permission:
        """What may be tracked of somebody who may not be."""
        return self._refused

    def fields(self, head: RequestHead, address: str | None, user_id: str | None) -> dict[str, str]:
        """Return whom the events of the request are about; what breaks a rule is left out."""
        fields = dict(_browser(head.value(b"user-agent"), head.value(b"accept-language")))
        if address is not None:
            fields["ip"] = address
        if user_id is not None:
            fields["uid"] = user_id
        if cookies := head.cookies():
            fields |= valid_fields(cookie_fields(cookies, self._cookie_prefix, self._network_cookie))
        return fields


# Many visitors have the same; of a single one it tells next to nothing.
@lru_cache(maxsize=1024)
def _browser(useragent: str, languages: str) -> Mapping[str, str]:
    return valid_fields({"useragent": useragent, "lang": preferred_language(languages)})


def _page(head: RequestHead, scheme: str, host: str) -> Mapping[str, str]:
    """Return the address of a request, and what it was linked from; what breaks a rule is left out."""
    found = {"refr": head.value(b"referer")}
    if host and head.target.startswith("/"):
        found["url"] = f"{scheme}://{host}{head.target}"
    return {key: url for key, url in found.items() if url and _is_address(key, url)}


def _is_address(key: str, url: str) -> bool:
    if is_usual_url(url):
        return True
    return not exceeds(url, TEXT_LIMITS[key]) and url_fault(key, url) is None


class Hook:
    """A function of the application's that is asked about a request, and that cannot make it fail."""

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        check_argument(callable(function), name, function, "must be a function of the request")
        self._name: str = name
        self._function: Callable[[Any], Any] = function
        # One that fails may do so at each request.
        self._throttled = ThrottledLog(log)
        self.is_async: bool = any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))

    def ask(self, request: Any) -> Any:
        """Return what the function says, or None where it fails."""
        try:
            answer = self._function(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request goes on
            self.complain("failed", error)
            return None
        if not inspect.isawaitable(answer):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
        self.complain("returned an awaitable: it must be a coroutine function itself")
        return None

    async def ask_and_wait(self, request: Any) -> Any:
        """Return the same for a coroutine function."""
        try:
            return await self._function(request)
        except Exception as error:  # noqa: BLE001 - likewise
            self.complain("failed", error)
            return None

    def complain(self, fault: str, error: BaseException | None = None) -> None:
        """Log what is wrong with the function, unless that was said a moment ago."""
        self._throttled.log(fault, logging.ERROR, f"the hook %s {fault}", self._name, error=error)


class Visitor(TrackingScope):
    """
    Whoever has sent one request.

    Args:
        visitors: How they are recognised.

        head: What the request says.

        request: What the hooks get; forgotten when the request ends.
    """

    __slots__ = ("_fields", "_head", "_page", "_permission", "_request", "_seen", "_user_id", "_visitors")

    def __init__(self, visitors: Visitors, head: RequestHead, request: Any) -> None:
        self._visitors: Visitors = visitors
        self._head: RequestHead = head
        self._request: Any = request
        self._seen: tuple[str | None, str, str] | None = None
        self._permission: Permission | None = None
        self._user_id: str | None = None
        self._fields: Mapping[str, str] | None = None
        self._page: Mapping[str, str] | None = None

    async def introduce(self) -> None:
        """Ask the hooks that are coroutine functions."""
        visitors = self._visitors
        if visitors.consent is not None and visitors.consent.is_async:
            self._decide(await visitors.consent.ask_and_wait(self._request))
        # Nobody is asked who it is when nothing will be said of them.
        is_asked = visitors.user_id is not None and visitors.user_id.is_async
        if is_asked and visitors.user_id is not None and self._permission in (None, "all"):
            answer = await visitors.user_id.ask_and_wait(self._request)
            self._user_id = _as_user_id(visitors.user_id, answer)

    def leave(self) -> None:
        """
        Ask what has not been asked, and forget the request.

        Tasks that go on have the visitor still, and perhaps for as long as the process lives.
        """
        if self._request is not None and self._visitors.hooks and self.permission() == "all":
            self._ask_user_id()
        self._request = None

    def permission(self) -> Permission:  # noqa: D102 - see Occasion
        if self._permission is None:
            consent = self._visitors.consent
            self._decide(consent is None or consent.ask(self._request))
        return self._permission or self._visitors.refused

    def _decide(self, has_consent: object) -> None:
        visitors = self._visitors
        self._permission = visitors.permission(self._head) if has_consent else visitors.refused

    def fields(self) -> Mapping[str, str]:  # noqa: D102 - see Occasion
        user_id = self._ask_user_id()
        fields = self._fields
        # Two threads may do this at the same time: whatever one leaves here, the next call makes good.
        if fields is None or fields.get("uid") != user_id:
            fields = self._fields = self._visitors.fields(self._head, self._outside()[0], user_id)
        return fields

    def _ask_user_id(self) -> str | None:
        hook, request = self._visitors.user_id, self._request
        if self._user_id is None and hook is not None and not hook.is_async and request is not None:
            self._user_id = _as_user_id(hook, hook.ask(request))
        return self._user_id

    def page(self) -> Mapping[str, str]:  # noqa: D102 - see Occasion
        if self._page is None:
            self._page = _page(self._head, *self._outside()[1:])
        return self._page

    def _outside(self) -> tuple[str | None, str, str]:
        """Return address, scheme and host as the outermost proxy saw them."""
        if self._seen is None:
            self._seen = self._visitors.proxies.seen_by(self._head)
        return self._seen


def _as_user_id(hook: Hook, answer: Any) -> str | None:
    """Return *answer*, that of *hook*, as the subject takes it, or None."""
    if answer is None or answer == "":
        return None
    text = str(answer) if isinstance(answer, str | int | UUID) and not isinstance(answer, bool) else ""
    if not text or not is_unicode(text) or exceeds(text, TEXT_LIMITS["uid"]):
        hook.complain("returned no user id: it must be a string of at most 255 characters")
        return None
    return text
