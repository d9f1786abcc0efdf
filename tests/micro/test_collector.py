"""The collector's routes, answers and cookies are those of the real one."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from snowplow_aio.micro import Micro

from .wire import TP2, envelope, page_view, post, send, stage

pytestmark = pytest.mark.anyio

USER_ID = "11111111-2222-4333-8444-555555555555"
NOBODY = "00000000-0000-0000-0000-000000000000"


async def test_a_post_is_answered_ok(micro: Micro) -> None:
    answer = await post(micro, page_view())
    assert (answer.status, answer.text) == (200, "ok")
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/i", "/ice.png", TP2])
async def test_a_get_is_answered_with_a_pixel(micro: Micro, path: str) -> None:
    answer = await send(micro, "GET", f"{path}?e=pv")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/gif"
    assert answer.headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
    assert answer.body.startswith(b"GIF89a")
    assert len(answer.body) == 43


async def test_a_head_counts_as_an_event_and_has_no_body(micro: Micro) -> None:
    answer = await send(micro, "HEAD", "/i?e=pv&aid=head")
    assert (answer.status, answer.body) == (200, b"")
    assert micro.good[0]["event"]["app_id"] == "head"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/i"),
        ("POST", "/ice.png"),
        ("POST", f"{TP2}/"),
        ("POST", "/a/b/c"),
        ("GET", "/"),
        ("GET", "/a"),
        ("GET", "/a//b"),
        ("GET", "/crossdomain.xml"),
        ("GET", "/r/tp2?u=http://example.com"),
        ("PUT", TP2),
        ("DELETE", TP2),
        ("POST", "/health"),
    ],
)
async def test_other_routes_are_not_found(micro: Micro, method: str, path: str) -> None:
    body = envelope(page_view()) if method in {"POST", "PUT"} else None
    answer = await send(micro, method, path, headers={"Content-Type": "application/json"}, body=body)
    assert answer.status == 404
    assert micro.counts()["total"] == 0


@pytest.mark.parametrize("path", ["/health", "/sink-health", "/robots.txt"])
async def test_the_routes_of_operators_answer_200(micro: Micro, path: str) -> None:
    assert (await send(micro, "GET", path)).status == 200
    assert micro.counts()["total"] == 0


async def test_a_preflight_allows_what_a_browser_asks_for(micro: Micro) -> None:
    answer = await send(micro, "OPTIONS", TP2, headers={"Origin": "https://shop.example"})
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type, SP-Anonymous"
    assert answer.headers["Access-Control-Max-Age"] == "3600"


async def test_an_answer_without_an_origin_is_for_everybody(micro: Micro) -> None:
    assert (await post(micro, page_view())).headers["Access-Control-Allow-Origin"] == "*"


async def test_each_request_without_a_cookie_gets_a_new_network_user_id(micro: Micro) -> None:
    cookies = [(await post(micro, page_view())).headers["Set-Cookie"] for _ in range(2)]
    ids = [re.match(r"sp=([0-9a-f-]{36}); Expires=", cookie) for cookie in cookies]
    assert all("Path=/; Secure; HttpOnly; SameSite=None" in cookie for cookie in cookies)
    assert [found[1] for found in ids if found] == [good["event"]["network_userid"] for good in micro.good]
    assert cookies[0] != cookies[1]


async def test_a_cookie_brings_the_network_user_id(micro: Micro) -> None:
    answer = await post(micro, page_view(), headers={"Cookie": f"a=b; sp={USER_ID}"})
    assert answer.headers["Set-Cookie"].startswith(f"sp={USER_ID};")
    assert micro.good[0]["event"]["network_userid"] == USER_ID


async def test_tnuid_wins_over_nuid_and_the_cookie(micro: Micro) -> None:
    await post(
        micro, page_view(nuid="n", tnuid="t"), page_view(nuid="n"), headers={"Cookie": f"sp={USER_ID}"}
    )
    assert [good["event"]["network_userid"] for good in micro.good] == ["t", "n"]


async def test_a_nuid_in_the_query_string_must_be_a_uuid(micro: Micro) -> None:
    await send(micro, "GET", "/i?e=pv&nuid=abc")
    await send(micro, "GET", f"/i?e=pv&nuid={USER_ID}")
    assert stage(micro.bad[0]) == "collector_payload_format_violation"
    assert micro.bad[0]["collectorPayload"] is None
    assert micro.good[0]["event"]["network_userid"] == USER_ID


async def test_an_anonymous_request_leaves_no_trace_of_its_sender(micro: Micro) -> None:
    headers = {"SP-Anonymous": "*", "Cookie": f"sp={USER_ID}", "X-Forwarded-For": "5.6.7.8"}
    answer = await post(micro, page_view(), headers=headers)
    event, context = micro.good[0]["event"], micro.good[0]["rawEvent"]["context"]
    assert (event["network_userid"], event["user_ipaddress"]) == (NOBODY, "unknown")
    assert not [header for header in context["headers"] if header.startswith(("Cookie", "X-Forwarded-For"))]
    assert answer.headers["Set-Cookie"].startswith("sp=; Expires=Thu, 01 Jan 1970 00:00:00 GMT")


async def test_an_anonymous_request_without_a_cookie_gets_none(micro: Micro) -> None:
    assert "Set-Cookie" not in (await post(micro, page_view(), headers={"SP-Anonymous": "*"})).headers


async def test_the_first_forwarded_address_is_the_visitors(micro: Micro) -> None:
    await post(micro, page_view(), headers={"X-Forwarded-For": "5.6.7.8, 10.0.0.1"})
    await post(micro, page_view())
    assert [good["event"]["user_ipaddress"] for good in micro.good] == ["5.6.7.8", "127.0.0.1"]


async def test_a_compressed_body_is_stored_as_it_is_and_lost(micro: Micro) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await send(
        micro, "POST", TP2, headers=headers, body=gzip.compress(envelope(page_view()).encode())
    )
    assert answer.status == 200
    assert stage(micro.bad[0]) == "tracker_protocol_violations"


async def test_a_body_in_chunks_is_read_whole(micro: Micro) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in envelope(page_view(aid="chunked")).partition("data"):
            yield piece.encode()

    headers = {"Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(micro.url + TP2, data=chunks(), headers=headers),
    ):
        pass
    assert micro.good[0]["event"]["app_id"] == "chunked"


async def test_any_two_segments_are_collected_and_refused_later(micro: Micro) -> None:
    answer = await send(
        micro, "POST", "/com.acme/track", headers={"Content-Type": "application/json"}, body="{}"
    )
    assert answer.status == 200
    assert stage(micro.bad[0]) == "adapter_failures"
    assert micro.bad[0]["collectorPayload"]["api"] == {"vendor": "com.acme", "version": "track"}


async def test_a_network_user_id_cannot_break_out_of_its_cookie(micro: Micro) -> None:
    answer = await send(micro, "GET", "/i?e=pv&nuid=a%0D%0AX:%201;b%3B")
    assert answer.status == 200
    assert answer.headers["Set-Cookie"].startswith("sp=aX:1; Expires=")
