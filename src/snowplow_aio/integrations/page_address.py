"""
The addresses that a visitor has chosen, as far as the pipeline takes them.

A request may ask for any path and any query. The pipeline loses an event whose
address breaks a rule, so the address is cut until it breaks none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_plus

from snowplow_aio.integrations.request_head import RequestHead
from snowplow_aio.model.atomic import TEXT_LIMITS, exceeds, is_usual_url, url_fault

_ORIGIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?(?://[^/]*)?")
# With another character in it, a host would end early or begin late.
_HOST = re.compile(r"[^\s/?#@\\]+")
_PAIR = re.compile(r"[^&;]+[&;]?|[&;]")
_TORN_ESCAPE = re.compile(r"%[0-9A-Fa-f]?$")


def page_address(head: RequestHead, scheme: str, host: str) -> str | None:
    """
    Return the address of the page that a request asks for, or None if the pipeline takes none.

    Args:
        head: The head of the request.

        scheme: The scheme that the visitor used.

        host: The host that the visitor asked, with its port.
    """
    target = local_target(head.target)
    if target is None or _HOST.fullmatch(host) is None:
        return None
    return mended("url", f"{scheme}://{host}{target}")


def local_target(target: str) -> str | None:
    """Return the path and query of the target of a request; None if it has none, like ``OPTIONS *``."""
    if target.startswith("/"):
        return target
    # A proxy is asked with the whole address.
    _, colon, rest = target.partition("://")
    return f"/{rest.partition('/')[2]}" if colon else None


def mended(key: str, url: str) -> str | None:
    """
    Return as much of *url* as the pipeline takes, or None if it takes nothing of it.

    An ``_sp`` parameter that cannot be read is left out. A path or query that is
    too long is cut at its end, a query behind a whole parameter if possible.

    Args:
        key: ``url`` or ``refr``.

        url: The address.
    """
    if _is_taken(key, url):
        return url
    address, mark, query = url.partition("#")[0].partition("?")
    split = _ORIGIN.match(address)
    origin = split[0] if split else ""
    if not _is_taken(key, origin):
        return None
    address = origin + _longest(address[len(origin) :], lambda path: _is_taken(key, origin + path))
    query = _without_unreadable(query[: TEXT_LIMITS[key]], lambda pair: _is_taken(key, f"{origin}/?{pair}"))
    cut = _longest(query, lambda query: _is_taken(key, f"{address}?{query}"))
    if cut != query:
        cut = cut.rpartition("&")[0] or cut
    return address + mark + cut if cut else address


def _is_taken(key: str, url: str) -> bool:
    if is_usual_url(url):
        return True
    return not exceeds(url, TEXT_LIMITS[key]) and url_fault(key, url) is None


def _without_unreadable(query: str, is_taken: Callable[[str], bool]) -> str:
    """Return *query* without its ``_sp`` parameters that are not taken."""
    if "sp" not in unquote_plus(query):
        return query
    pairs = _PAIR.findall(query)
    kept = [pair for pair in pairs if not _is_cross_domain(pair) or is_taken(pair.rstrip("&;"))]
    return query if len(kept) == len(pairs) else "".join(kept).rstrip("&;")


def _is_cross_domain(pair: str) -> bool:
    return unquote_plus(pair.partition("=")[0]) == "_sp"


def _longest(text: str, is_taken: Callable[[str], bool]) -> str:
    """Return the longest beginning of *text* that is taken; the empty one is."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if is_taken(_beginning(text, middle)):
            low = middle
        else:
            high = middle - 1
    return _beginning(text, low)


def _beginning(text: str, length: int) -> str:
    """Return at most *length* characters of *text*, and no half of an escape like ``%20``."""
    return text if length == len(text) else _TORN_ESCAPE.sub("", text[:length])
