"""No web page but the collector's own reads or deletes a developer's events."""

from __future__ import annotations

from typing import Any

import pytest

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.micro import Micro

from .wire import TP2, Answer, page_view, post, send

pytestmark = pytest.mark.anyio

PATHS = ["/micro/all", "/micro/good", "/micro/bad", "/micro/reset", "/micro/nothing", "/%6dicro/good"]
EVIL = "https://evil.example.com"


def allowed(answer: Answer) -> str | None:
    return answer.headers.get("Access-Control-Allow-Origin")


def own(micro: Micro) -> dict[str, str]:
    """Return the headers of a request from a page of the collector."""
    return {"Host": f"127.0.0.1:{micro.port}", "Origin": micro.url, "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": EVIL}, id="a page, by fetch"),
        pytest.param({"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}, id="a page of today's browsers"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="an image of a page"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="a page of another port, by an image"),
        pytest.param({"Origin": "http://127.0.0.1:1"}, id="a page of another port"),
        pytest.param({"Referer": f"{EVIL}/page"}, id="an image, in an older browser"),
        pytest.param({"Origin": "null"}, id="a page in a sandbox"),
        pytest.param({"Origin": "http://[::1"}, id="nonsense"),
        pytest.param({"Host": "rebound.example.com:9090"}, id="a name that points here"),
        pytest.param(
            {"Host": "evil.com:9090", "Origin": "http://evil.com:9090", "Sec-Fetch-Site": "same-origin"},
            id="a page of a name that points here",
        ),
    ],
)
async def test_another_page_gets_no_answer(
    micro: Micro, path: str, method: str, headers: dict[str, str]
) -> None:
    headers = {"Host": "127.0.0.1", **headers}
    await post(micro, page_view())
    answer = await raw(micro, method, path, headers)
    assert answer.status == 403
    assert allowed(answer) is None
    assert micro.counts()["total"] == 1


async def raw(micro: Micro, method: str, path: str, headers: dict[str, str]) -> Answer:
    """Send a request with exactly these headers, the host among them."""
    host = headers.pop("Host", "127.0.0.1")
    return await send(micro, method, path, headers=headers, host=host)


@pytest.mark.parametrize("path", ["/micro/all", "/micro/good", "/micro/bad"])
async def test_a_page_of_the_collector_reads(micro: Micro, path: str) -> None:
    assert (await raw(micro, "GET", path, own(micro))).status == 200
    assert (await raw(micro, "POST", path, own(micro))).status == 400 - 200 * (path == "/micro/all")
    # Somebody types the address.
    assert (await raw(micro, "GET", path, {"Sec-Fetch-Site": "none"})).status == 200


async def test_a_page_of_the_collector_resets_by_post_only(micro: Micro) -> None:
    await post(micro, page_view())
    for headers in (own(micro), {"Sec-Fetch-Site": "none"}):
        answer = await raw(micro, "GET", "/micro/reset", headers)
        assert (answer.status, answer.text) == (403, "a browser resets by POST")
    assert micro.counts()["total"] == 1
    assert (await raw(micro, "POST", "/micro/reset", own(micro))).json()["total"] == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9090",
        "[::1]:9090",
        "localhost",
        "micro:9090",
        "micro.test",
        "m.svc.cluster.local.",
        "10.0.0.7",
    ],
)
async def test_programs_reset_as_before(micro: Micro, method: str, host: str) -> None:
    await post(micro, page_view())
    assert (await raw(micro, method, "/micro/reset", {"Host": host})).json()["total"] == 0


async def test_a_preflight_allows_no_other_page(micro: Micro) -> None:
    headers = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
    for path in PATHS:
        answer = await raw(micro, "OPTIONS", path, dict(headers))
        assert not [name for name in answer.headers if name.startswith("Access-Control-")]


async def test_events_come_from_pages_of_every_origin(micro: Micro) -> None:
    headers = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Host": "collector.example.com"}
    for method, path in (("OPTIONS", TP2), ("GET", "/i?e=pv&p=web&tv=t")):
        answer = await raw(micro, method, path, dict(headers))
        assert (answer.status, allowed(answer)) == (200, EVIL)
    assert micro.counts()["good"] == 1


async def test_a_trusted_origin_reads_and_its_name_is_known() -> None:
    async with Micro(origins=["http://localhost:3000", "https://Staging.example.com"]) as micro:
        await post(micro, page_view())
        for origin in ("http://localhost:3000", "https://staging.example.com"):
            headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
            answer = await raw(micro, "GET", "/micro/good", dict(headers))
            assert (answer.status, allowed(answer)) == (200, origin)
            assert "Access-Control-Allow-Credentials" not in answer.headers
            assert allowed(await raw(micro, "OPTIONS", "/micro/good", dict(headers))) == origin
        assert (await raw(micro, "GET", "/micro/all", {"Host": "staging.example.com"})).status == 200
        assert (await raw(micro, "GET", "/micro/all", {"Origin": EVIL})).status == 403


@pytest.mark.parametrize(
    "origin",
    ["localhost:3000", "http://a.example/", "http://u:p@a.example", "ftp://a.example", "", 1, "http://[a"],
)
def test_an_origin_is_a_scheme_and_a_host(origin: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^origins: must be an origin like"):
        Micro(origins=[origin])
