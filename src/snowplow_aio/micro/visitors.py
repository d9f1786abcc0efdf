"""
The rule for who may use the REST API.

A developer's events are nobody else's business, and every web page that the
developer opens can send requests to this machine. So a browser gets answers only
on pages of the collector itself, and on those of trusted origins. Programs that
are not browsers get answers always.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from snowplow_aio.model.arguments import check_argument

# Names that no public name server knows, so that nobody can point one of them at this machine from outside.
_PRIVATE_ENDINGS = (".localhost", ".local", ".internal", ".test", ".example", ".invalid", ".home.arpa")

_OWN_SITES = frozenset({"same-origin", "none"})


class Visitors:
    """
    Decides about requests to the REST API.

    Args:
        host: The name or address that the collector listens on.

        origins: More origins that are trusted, like ``https://staging.example.com``:
            the collector may be reached by their names, and their pages may use the API.

    Raises:
        ConfigurationError: If one of *origins* is not an origin.
    """

    def __init__(self, host: str, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(_checked_origin(origin) for origin in origins)
        self._hosts = {host.lower(), *(urlsplit(origin).hostname for origin in self._origins)}

    def trusts(self, origin: str) -> bool:
        """Return whether pages of *origin* may read answers of the API."""
        return origin.lower() in self._origins

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> str | None:
        """Return why a request gets no answer; None when it gets one."""
        host = headers.get("Host", "")
        if not self._is_known(host):
            # A page of that name would count as a page of the collector (DNS rebinding).
            return "the collector is not known by this host name: add its origin to the trusted origins"
        origin = headers.get("Origin")
        if origin is not None and self.trusts(origin):
            return None
        if not _is_own(host, headers):
            return "pages of another origin get no answer: add the origin to the trusted origins"
        if path == "/micro/reset" and method != "POST" and _is_browser(headers):
            return "a browser resets by POST"
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self._hosts or "." not in name or name.endswith(_PRIVATE_ENDINGS) or _is_address(name)


def _checked_origin(origin: str) -> str:
    rule = "must be an origin like https://staging.example.com"
    check_argument(isinstance(origin, str), "origins", origin, rule)
    try:
        parts = urlsplit(origin)
        is_origin = parts.scheme in {"http", "https"} and bool(parts.hostname) and origin.count("/") == 2
    except ValueError:
        is_origin = False
    check_argument(is_origin and origin.isprintable() and "@" not in origin, "origins", origin, rule)
    return origin.lower()


def _is_own(host: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from a page of the collector, or from no page."""
    if headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES:
        return False
    origin, referer = headers.get("Origin"), headers.get("Referer")
    # Without the scheme: in front of the collector may be a server that speaks TLS.
    return all(page is None or _host_of(page) == host.lower() for page in (origin, referer))


def _is_browser(headers: Mapping[str, str]) -> bool:
    return any(name in headers for name in ("Origin", "Sec-Fetch-Site", "Referer"))


def _host_of(page: str) -> str | None:
    try:
        return urlsplit(page).netloc.rpartition("@")[2].lower()
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
