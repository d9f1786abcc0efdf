"""Nothing that a visitor sends is kept beyond the request, or read beyond a bound."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from snowplow_aio.integrations.asgi import SnowplowMiddleware, tracker_of
from tests.integrations.made import LOOK, Trackers, http_scope, request, tracked

pytestmark = pytest.mark.anyio

LARGE = 300_000

Value = Callable[[int], str]
HEADERS: dict[str, Value] = {
    "User-Agent": lambda number: f"{number}" + "x" * LARGE,
    "Accept-Language": lambda number: f"en-{number}," + "x" * LARGE,
    "Accept-Language, of many": lambda number: f"en-{number};q=0.5," * (LARGE // 12),
    "X-Forwarded-For": lambda number: f"{number}" + "x" * LARGE,
    "X-Forwarded-For, of many": lambda number: f"{number}.1.1.1," * (LARGE // 9),
    "X-Forwarded-Host": lambda number: f"{number}" + "x" * LARGE,
    "Forwarded": lambda number: f"for={number}" + "x" * LARGE,
    "Forwarded, of commas": lambda number: f'for="{number}' + "," * LARGE,
    "Cookie": lambda number: f"_sp_id.1={number}" + "x" * LARGE,
    "Cookie, of many": lambda number: f"c{number}=x;" * (LARGE // 6),
    "Referer": lambda number: f"https://a.example/?{number}" + "x" * LARGE,
    "Host": lambda number: f"{number}" + "x" * LARGE,
}


async def look(scope: Any, _receive: Any, _send: Any) -> None:
    await tracker_of(scope).track(LOOK)


@pytest.mark.parametrize("name", HEADERS)
async def test_a_header_of_any_size_leaves_nothing_behind(trackers: Trackers, name: str) -> None:
    middleware = SnowplowMiddleware(look, trackers, trusted_proxies=["10.0.0.0/8"], opt_out_cookie="no")

    async def ask(number: int) -> None:
        headers = {name.partition(",")[0]: HEADERS[name](number)}
        await asyncio.create_task(
            request(middleware, http_scope("/", headers=headers, client=("10.0.0.1", 1)))
        )

    await ask(0)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(1, 6):
            await ask(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Five requests have sent five times as much.
    assert kept < LARGE / 2


async def test_of_a_long_list_of_languages_the_first_count() -> None:
    sent = "en;q=0.5," + "da;q=0.8," * 20 + "nb;q=0.9," * 10_000
    (event,) = await tracked(http_scope(headers={"Accept-Language": sent}))
    assert event["lang"] == "nb"
    (event,) = await tracked(http_scope(headers={"Accept-Language": "*," * 300 + "nb"}))
    assert "lang" not in event


async def test_an_opt_out_cookie_may_stand_behind_any_number_of_others() -> None:
    others = "; ".join(f"c{number}=x" for number in range(10_000))
    cookies = f"sp=ecdff4d0; {others}; no_thanks=1"
    assert await tracked(http_scope(headers={"Cookie": cookies}), opt_out_cookie="no_thanks") == []
    # Without the option, nobody looks for it. What is read is the beginning.
    (event,) = await tracked(http_scope(headers={"Cookie": cookies}))
    assert event["tnuid"] == "ecdff4d0"
