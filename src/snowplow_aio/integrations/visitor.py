"""
How a service recognises its visitors, and what may be tracked of them.

It knows no framework: an integration makes one `VisitorPolicy`, and a scope of
each request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypedDict
from uuid import UUID

from snowplow_aio.integrations.proxies import ForwardedHeader, Proxies
from snowplow_aio.integrations.request_head import RequestHead, preferred_language
from snowplow_aio.integrations.request_hook import RequestHook
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.atomic import TEXT_LIMITS, exceeds, is_unicode, stored_length
from snowplow_aio.model.cookies import cookie_fields
from snowplow_aio.model.subject import valid_fields
from snowplow_aio.tracking.scope import Permission

UNKNOWN = "unknown"
"""The address or user agent of a visitor who has none. It is the collector's own word for an address."""

_MAX_USERAGENT: int = TEXT_LIMITS["ua"]

UserId = str | int | UUID | None
UserIdHook = Callable[[Any], UserId | Awaitable[UserId]]
ConsentHook = Callable[[Any], bool | Awaitable[bool]]
WithoutConsent = Literal["nothing", "anonymous"]


class VisitorOptions(TypedDict, total=False):
    """
    How an integration recognises visitors, and what it may track of them.

    A hook is a function, or a coroutine function, of the request: of the scope in an
    ASGI application, of the `aiohttp.web.Request` in aiohttp, of the `flask.Request` in
    Flask, of the environ in another WSGI application. A plain function is
    called when the first event is tracked, or at the end of the request. A coroutine
    function is called before the application sees the request. If a hook raises, the
    error is logged and the request goes on.

    Args:
        trusted_proxies: Addresses and networks of the proxies in front of the service;
            ``unix`` for a proxy that connects by a Unix socket. Without them, ``Forwarded``
            and similar headers are ignored.

        forwarded_header: The header that these proxies write, ``forwarded`` or
            ``x-forwarded-for``. None for either: if a request has both, the one counts that
            has come without the other before; ``X-Forwarded-For`` until that is known.

        user_id: A hook that returns the application's id of the user, or None. A plain
            function that has returned None is called again for the next event.

        consent: A hook that returns whether the visitor may be tracked. If it raises, the
            visitor may not be tracked.

        privacy_signals: Whether ``DNT: 1`` and ``Sec-GPC: 1`` mean that the visitor may not
            be tracked. The default is True.

        opt_out_cookie: The name of a cookie with the same meaning.

        without_consent: What is tracked of a visitor who may not be tracked: ``nothing``, the
            default, or ``anonymous`` events. It holds for all that is tracked during the request.

        anonymous: Whether all events that are tracked during requests are anonymous.
            The default is False.

        cookie_prefix: The ``cookieName`` of the JavaScript tracker. The default is ``_sp_``.

        network_cookie: The name of the collector's cookie. The default is ``sp``.

    Example:
        >>> app.add_middleware(SnowplowMiddleware, trusted_proxies=["10.0.0.0/8"], opt_out_cookie="no")
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


_FROM_STRICT: tuple[Permission, ...] = ("nothing", "anonymous", "all")


def strictest(*permissions: Permission) -> Permission:
    """Return the one of *permissions* that allows least."""
    return min(permissions, key=_FROM_STRICT.index)


class VisitorPolicy:
    """
    How the visitors of a service are recognised. `VisitorOptions` describes the arguments.

    Attributes:
        proxies: The trusted proxies.

        user_id: The hook for the user's id, or None.

        consent: The hook for consent, or None.

        hooks: Those of the two that there are.

        has_async_hooks: Whether one of them is a coroutine function.

    Raises:
        ConfigurationError: If an argument has the wrong type or an unknown value.
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
        self._privacy_signals: bool = privacy_signals
        self._opt_out_cookie: str | None = opt_out_cookie
        self._refused: Permission = without_consent
        self._granted: Permission = "anonymous" if anonymous else "all"
        self.user_id: RequestHook | None = None if user_id is None else RequestHook("user_id", user_id)
        self.consent: RequestHook | None = None if consent is None else RequestHook("consent", consent)
        self.hooks: list[RequestHook] = [hook for hook in (self.user_id, self.consent) if hook is not None]
        self.has_async_hooks: bool = any(hook.is_async for hook in self.hooks)

    def permission(self, head: RequestHead, *, has_consent: bool) -> Permission:
        """Return what may be tracked during a request whose visitor has, or has not, given consent."""
        return self._granted if has_consent and not self._has_objection(head) else self._refused

    def _has_objection(self, head: RequestHead) -> bool:
        if self._privacy_signals and (_says_yes(head.value(b"dnt")) or _says_yes(head.value(b"sec-gpc"))):
            return True
        return self._opt_out_cookie is not None and head.may_have_cookie(self._opt_out_cookie)

    def fields(self, head: RequestHead, address: str | None, user_id: str | None) -> dict[str, str]:
        """
        Return the protocol fields of the visitor; a value that breaks a rule is left out.

        Address and user agent are always there: in place of one that is missing, the collector
        would record those of this service.
        """
        fields = dict(_browser(head.value(b"user-agent")[:_MAX_USERAGENT], head.languages()))
        fields["ip"] = UNKNOWN if address is None else address
        if user_id is not None:
            fields["uid"] = user_id
        if cookies := head.cookies():
            fields |= valid_fields(cookie_fields(cookies, self._cookie_prefix, self._network_cookie))
        return fields


def _says_yes(signal: str) -> bool:
    # WSGI servers join headers that come twice.
    return "1" in map(str.strip, signal.split(","))


# Many visitors have the same values. They are cut before they are kept here.
@lru_cache(maxsize=1024)
def _browser(useragent: str, languages: str) -> Mapping[str, str]:
    return valid_fields({"useragent": _fitting(useragent) or UNKNOWN, "lang": preferred_language(languages)})


def _fitting(useragent: str) -> str:
    """Return as much of *useragent* as the pipeline takes; empty if nothing of it would be stored."""
    # A tab counts as four, so this takes a few turns at most.
    while (surplus := stored_length(useragent) - _MAX_USERAGENT) > 0:
        useragent = useragent[: -surplus // 4]
    return useragent if stored_length(useragent) > 0 else ""


def as_user_id(hook: RequestHook, answer: Any) -> str | None:
    """Return the answer of the hook `user_id` as text, or None if it is no user id."""
    if answer is None or answer == "":
        return None
    text = str(answer) if isinstance(answer, str | int | UUID) and not isinstance(answer, bool) else ""
    if not text or not is_unicode(text) or exceeds(text, TEXT_LIMITS["uid"]):
        hook.complain("returned no user id: it must be a string of at most 255 characters")
        return None
    return text
