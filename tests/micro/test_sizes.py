"""What is too large is refused, or shown as the loss that a production sink would have."""

from __future__ import annotations

import pytest

from snowplow_aio.micro import Micro

from .wire import TP2, bad_row, envelope, page_view, post, send, stage

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


def pixel_target(line_bytes: int) -> str:
    """Return a target whose request line has *line_bytes*."""
    fixed = len("GET /i?e=pv&page= HTTP/1.1")
    return "/i?e=pv&page=" + "a" * (line_bytes - fixed)


async def test_a_request_line_of_20480_bytes_is_accepted(micro: Micro) -> None:
    assert (await send(micro, "GET", pixel_target(20_480))).status == 200
    assert micro.counts()["total"] == 1


async def test_a_longer_request_line_is_answered_400(micro: Micro) -> None:
    assert (await send(micro, "GET", pixel_target(20_481))).status == 400
    assert micro.counts()["total"] == 0


@pytest.mark.parametrize(("filler", "status"), [(40_000, 200), (41_000, 400)])
async def test_headers_beyond_40960_bytes_are_answered_400(micro: Micro, filler: int, status: int) -> None:
    # Many headers, each of a usual length.
    headers = {f"X-{number:03}": "v" * 91 for number in range(filler // 100)}
    assert (await send(micro, "GET", "/i?e=pv", headers=headers)).status == status


async def test_one_long_header_is_accepted(micro: Micro) -> None:
    assert (await send(micro, "GET", "/i?e=pv", headers={"X-Long": "v" * 39_000})).status == 200


async def test_a_body_of_two_mebibytes_is_answered_200(micro: Micro) -> None:
    assert (await send(micro, "POST", TP2, headers=JSON, body=b" " * 2_097_152)).status == 200


async def test_a_body_over_two_mebibytes_is_answered_413(micro: Micro) -> None:
    assert (await send(micro, "POST", TP2, headers=JSON, body=b" " * 2_097_153)).status == 413
    assert micro.counts()["total"] == 0


async def test_a_request_over_one_mebibyte_is_lost_whole(micro: Micro) -> None:
    answer = await post(micro, *[page_view(page="p" * 2000)] * 550)
    assert answer.status == 200
    assert micro.counts() == {"total": 1, "good": 0, "bad": 1}
    assert stage(micro.bad[0]) == "size_violation"
    failure = bad_row(micro.bad[0])["data"]["failure"]
    assert failure["actualSizeBytes"] > 1_048_576
    assert len(bad_row(micro.bad[0])["data"]["payload"]) == 100_000


async def test_a_request_of_a_megabyte_is_split_by_its_events(micro: Micro) -> None:
    events = [page_view(page="p" * 1950)] * 500
    assert 1_000_000 < len(envelope(*events)) < 1_040_000
    await post(micro, *events)
    assert micro.counts() == {"total": 500, "good": 500, "bad": 0}


async def test_only_the_event_that_is_too_large_alone_is_lost_of_a_split_request(micro: Micro) -> None:
    await post(micro, page_view(aid="small"), page_view(aid="large", se_la="x" * 1_000_000))
    assert [good["event"]["app_id"] for good in micro.good] == ["small"]
    assert stage(micro.bad[0]) == "size_violation"


@pytest.mark.parametrize("body", [b" " * 1_000_000, b'{"schema":"x","data":[]}' + b" " * 1_000_000])
async def test_a_body_that_cannot_be_split_is_lost(micro: Micro, body: bytes) -> None:
    assert (await send(micro, "POST", TP2, headers=JSON, body=body)).status == 200
    assert stage(micro.bad[0]) == "size_violation"


async def test_an_event_just_below_the_sinks_limit_arrives(micro: Micro) -> None:
    event = page_view(ue_na="x" * (1_000_000 - 8192))
    await post(micro, event)
    assert micro.counts()["good"] == 1
