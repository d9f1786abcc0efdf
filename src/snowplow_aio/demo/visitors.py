"""The visitors of the shop, their requests, and the events that the shop tracked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

# The pause between two requests of a visitor, in seconds. It makes the visits overlap.
PAUSE = 0.05

_TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class Visitor:
    """
    A visitor of the shop.

    Args:
        name: The name of the user. The shop knows it after the sign-up.

        address: The IP address, which a proxy in front of the shop would send.

        steps: The requests: method, path and the JSON of the body.
    """

    name: str
    address: str
    language: str
    useragent: str
    steps: Sequence[tuple[str, str, Any]]


@dataclass(frozen=True, slots=True)
class Visit:
    """
    One request of a visitor and the answer of the shop.

    Args:
        visitor: The name of the visitor.

        request: Method and path.

        user: The user's name if the shop knew it then, or None.

        tracked: The ids of the events that the shop tracked.

        failure: The failure of the shop if it did not answer with ids, or None.
    """

    visitor: str
    request: str
    user: str | None
    tracked: Sequence[str]
    failure: str | None = None


OnVisit = Callable[[Visit], object]


def _page(path: str) -> tuple[str, str, Any]:
    return "GET", path, None


def _act(path: str, body: Any = None) -> tuple[str, str, Any]:
    return "POST", path, body


def _sign_up(name: str) -> tuple[str, str, Any]:
    return _act("/sign-up", {"name": name, "email": f"{name}@example.com"})


_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/18.5 Mobile/15E148 Safari/604.1"
)

# These addresses are reserved for documentation.
VISITORS = (
    Visitor(
        "ada", "192.0.2.17", "en-GB", _FIREFOX,
        [
            _page("/"),
            _page("/search?q=tea"),
            _page("/products/teapot"),
            _sign_up("ada"),
            _act("/cart/teapot?quantity=1"),
            _act("/cart/teacup?quantity=6"),
            _act("/checkout", {"teapot": 1, "teacup": 6}),
        ],
    ),
    Visitor(
        "bela", "198.51.100.4", "hu", _SAFARI,
        [_page("/products/lamp"), _act("/products/lamp/wish"), _page("/search?q=vase"), _page("/")],
    ),
    Visitor(
        "chen", "203.0.113.80", "zh-CN", _SAFARI,
        [
            _page("/"),
            _sign_up("chen"),
            _page("/products/lamp"),
            _act("/cart/lamp?quantity=1"),
            _act("/checkout", {"lamp": 1}),
            _page("/"),
        ],
    ),
    Visitor(
        "dora", "2001:db8::d0:2a", "es-419", _FIREFOX,
        [
            _page("/search?q=cup"),
            _page("/products/teacup"),
            _sign_up("dora"),
            _act("/products/teacup/review", {"stars": 5, "text": "¡Qué taza tan bonita! ☕"}),
        ],
    ),
)  # fmt: skip


async def send_visitors(
    visitors: Sequence[Visitor], shop: str, on_visit: OnVisit, *, pause: float | None = None
) -> list[Visit]:
    """
    Let all *visitors* walk through the *shop* at the same time.

    Args:
        visitors: The visitors.

        shop: The URL of the shop.

        on_visit: A function that is called after each request.

        pause: Seconds between two requests of a visitor; None means `PAUSE`.

    Returns:
        The visits, visitor by visitor.
    """
    waiting = PAUSE if pause is None else pause
    async with asyncio.TaskGroup() as group:
        walks = [group.create_task(_walk(visitor, shop, on_visit, waiting)) for visitor in visitors]
    return [visit for walk in walks for visit in walk.result()]


async def _walk(visitor: Visitor, shop: str, on_visit: OnVisit, pause: float) -> list[Visit]:
    headers = {
        "Accept-Language": f"{visitor.language}, *;q=0.5",
        "User-Agent": visitor.useragent,
        "X-Forwarded-For": visitor.address,
    }
    # Each visitor has a cookie jar, which takes cookies of bare IP addresses.
    jar = aiohttp.CookieJar(unsafe=True)
    visits: list[Visit] = []
    async with aiohttp.ClientSession(shop, headers=headers, cookie_jar=jar, timeout=_TIMEOUT) as session:
        for method, path, body in visitor.steps:
            visits.append(await _visit(session, visitor.name, method, path, body))
            on_visit(visits[-1])
            await asyncio.sleep(pause)
    return visits


async def _visit(session: aiohttp.ClientSession, name: str, method: str, path: str, body: Any) -> Visit:
    tracked, failure = [], None
    try:
        async with session.request(method, path, json=body) as answer:
            if answer.ok:
                tracked = await answer.json()
            else:
                failure = f"answered {answer.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        failure = f"did not answer: {error!r}"
    user = next((cookie.value for cookie in session.cookie_jar if cookie.key == "user"), None)
    return Visit(name, f"{method} {path}", user, tracked, failure)
