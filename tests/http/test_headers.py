"""A header that would break a request is refused where it is given."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import aiohttp
import pytest

from snowplow_aio import ConfigurationError, HttpEmitter, PageView, Tracker
from tests.collector import OK, Answer, Collector, Request

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")

OF_THE_CONNECTION = [
    "Connection", "Content-Encoding", "Content-Length", "Content-Range", "Expect", "HTTP2-Settings",
    "Keep-Alive",    "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
]  # fmt: skip


@pytest.mark.parametrize("name", [*OF_THE_CONNECTION, "content-length", "Content-Type", "CONTENT-TYPE"])
def test_a_header_that_says_how_a_request_travels_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^headers: must not set ") as caught:
        HttpEmitter("h", headers={name: "5"})
    assert name.lower() in str(caught.value).lower()


@pytest.mark.parametrize(
    "name", ["", " ", "X Y", "X:", "X-Ü", "X\n", "X\r\nY", "X\x00", "X(Y)", "X/Y", "X,Y", " X", 'X"', "X\x7f"]
)
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^headers: must have names that are tokens"):
        HttpEmitter("h", headers={name: "secret"})


@pytest.mark.parametrize(
    "value", ["secret\n", "secret\r\nX: y", "\x00", " secret", "secret\t", "\x1b", "\x7f", "\u2028", "\ud800"]
)
def test_a_value_with_control_characters_or_blanks_around_it_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^headers: must have values without ") as caught:
        HttpEmitter("h", headers={"Authorization": value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("headers", [["X"], "X: y", {"X": 1}, {1: "y"}, {"X": None}, {b"X": b"y"}])
def test_what_maps_no_strings_to_strings_is_refused(headers: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^headers: must map strings to strings"):
        HttpEmitter("h", headers=headers)


async def test_all_others_travel_as_they_are(collector: Collector) -> None:
    headers = {"X-Plain": "a b\tc", "X-Empty": "", "x!#$%&'*+.^_`|~9": "token", "X-Name": "Größe"}
    async with Tracker(HttpEmitter(collector.url, headers=headers)) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush()).delivered == 1
    sent = collector.requests[0].headers
    assert {name: sent[name.lower()] for name in headers if name != "X-Empty"} == {
        name: value for name, value in headers.items() if name != "X-Empty"
    }


async def test_a_user_agent_in_small_letters_takes_the_place_of_ours(collector: Collector) -> None:
    received: list[str] = []

    def look(request: Request) -> Answer:
        received.append(request.headers["user-agent"])
        return OK

    collector.rule = look
    async with Tracker(HttpEmitter(collector.url, headers={"user-agent": "shop/1"})) as tracker:
        await tracker.track(PAGE)
    assert received == ["shop/1"]


@pytest.mark.parametrize("name", ["Transfer-Encoding", "content-length"])
async def test_a_session_that_would_add_such_a_header_is_refused(name: str) -> None:
    async with aiohttp.ClientSession(headers={name: "5"}) as session:
        with pytest.raises(ConfigurationError, match=r"^session: must not set "):
            HttpEmitter("h", session=session)


async def test_a_session_with_credentials_that_contradict_a_header_is_refused() -> None:
    with pytest.warns(DeprecationWarning, match="auth") if _auth_is_deprecated() else nullcontext():
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("ada", "secret"))
    async with session:
        with pytest.raises(ConfigurationError, match=r"^session: must not have credentials") as caught:
            HttpEmitter("h", session=session, headers={"Authorization": "Bearer x"})
    assert "secret" not in str(caught.value)


def _auth_is_deprecated() -> bool:
    return hasattr(aiohttp, "encode_basic_auth")
