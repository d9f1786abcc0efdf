"""The REST API has Snowplow Micro's paths, shapes and filters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from snowplow_aio.micro import Micro
from snowplow_aio.micro.columns import COLUMNS

from .wire import TP2, Answer, page_view, post, send

pytestmark = pytest.mark.anyio

SNOWPLOW = "iglu:com.snowplowanalytics.snowplow"
LINK_CLICK = f"{SNOWPLOW}/link_click/jsonschema/1-0-1"
FORM = f"{SNOWPLOW}/change_form/jsonschema/1-0-0"


def described(schema: str, data: Any) -> dict[str, Any]:
    return {"schema": schema, "data": data}


def click(**keys: Any) -> dict[str, Any]:
    """Return a link click with one entity."""
    inner = described(LINK_CLICK, {"targetUrl": "https://example.com/x"})
    entities = [described(LINK_CLICK, {"targetUrl": "https://example.com/entity"})]
    return {
        **page_view(**keys),
        "e": "ue",
        "ue_pr": json.dumps(described(f"{SNOWPLOW}/unstruct_event/jsonschema/1-0-0", inner)),
        "co": json.dumps(described(f"{SNOWPLOW}/contexts/jsonschema/1-0-1", entities)),
    }


async def query(micro: Micro, name: str, filters: Any) -> Answer:
    headers = {"Content-Type": "application/json"}
    return await send(micro, "POST", f"/micro/{name}", headers=headers, body=json.dumps(filters))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_all_counts_the_events(micro: Micro, method: str) -> None:
    await post(micro, page_view(), page_view(vid="x"), page_view())
    answer = await send(micro, method, "/micro/all")
    assert answer.json() == {"total": 3, "good": 2, "bad": 1} == micro.counts()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_reset_forgets_the_events_and_answers_with_the_summary(micro: Micro, method: str) -> None:
    await post(micro, page_view(), page_view(vid="x"))
    assert (await send(micro, method, "/micro/reset")).json() == {"total": 0, "good": 0, "bad": 0}
    assert micro.good == micro.bad == []


async def test_good_shows_the_newest_event_first(micro: Micro) -> None:
    for app in ("first", "second", "third"):
        await post(micro, page_view(aid=app))
    answer = await send(micro, "GET", "/micro/good")
    assert [good["event"]["app_id"] for good in answer.json()] == ["third", "second", "first"]
    assert [good["event"]["app_id"] for good in micro.good] == ["first", "second", "third"]


async def test_a_good_event_has_microns_shape(micro: Micro) -> None:
    await post(micro, click(aid="shop", eid="5628C4C6-3f8a-43f8-a09f-6ff68f68dfb6"), query="uid=u-1")
    (good,) = (await send(micro, "GET", "/micro/good")).json()
    assert list(good) == ["rawEvent", "eventType", "schema", "contexts", "event", "incomplete"]
    assert (good["eventType"], good["schema"], good["contexts"]) == ("unstruct", LINK_CLICK, [LINK_CLICK])
    assert good["incomplete"] is False
    raw = good["rawEvent"]
    assert raw["api"] == {"vendor": "com.snowplowanalytics.snowplow", "version": "tp2"}
    assert raw["parameters"]["uid"] == "u-1"
    assert raw["contentType"] == "application/json"
    assert raw["source"] == {"name": raw["source"]["name"], "encoding": "UTF-8", "hostname": "micro.test"}
    assert raw["context"]["headers"][0] == "Host: micro.test"
    assert raw["context"]["headers"][-1] == "application/json"
    assert raw["context"]["timestamp"].endswith("Z")
    event = good["event"]
    assert list(event) == list(COLUMNS)
    assert event["event_id"] == "5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6"
    assert event["event_name"] == "link_click"
    assert event["unstruct_event"]["data"] == described(LINK_CLICK, {"targetUrl": "https://example.com/x"})
    assert event["contexts"]["data"][0]["schema"] == LINK_CLICK
    assert event["collector_tstamp"] == raw["context"]["timestamp"]
    assert event["page_title"] is None


async def test_the_enriched_columns_have_their_types(micro: Micro) -> None:
    keys = {
        "cookie": "1",
        "vid": "7",
        "se_va": "13.99",
        "res": "1920x1080",
        "dtm": "1700000000000",
        "tz": "UTC",
    }
    await post(micro, page_view(url="https://example.com:8443/a b?q=1#f", refr="http://x.org/", **keys))
    event = micro.good[0]["event"]
    columns = {
        "br_cookies": True,
        "domain_sessionidx": 7,
        "se_value": 13.99,
        "dvce_screenwidth": 1920,
        "dvce_screenheight": 1080,
        "dvce_created_tstamp": "2023-11-14T22:13:20.000Z",
        "page_url": "https://example.com:8443/a%20b?q=1#f",
        "page_urlscheme": "https",
        "page_urlhost": "example.com",
        "page_urlport": 8443,
        "page_urlpath": "/a%20b",
        "page_urlquery": "q=1",
        "page_urlfragment": "f",
        "refr_urlhost": "x.org",
        "refr_urlport": 80,
    }
    assert {name: event[name] for name in columns} == columns


async def test_the_derived_time_stamp_corrects_the_devices_clock(micro: Micro) -> None:
    await post(
        micro,
        page_view(ttm="1000", dtm="1", stm="2"),
        page_view(dtm="1000000", stm="4600000"),
        page_view(dtm="2", stm="1"),
    )
    true, corrected, unusable = (good["event"] for good in micro.good)
    assert true["derived_tstamp"] == true["true_tstamp"] == "1970-01-01T00:00:01.000Z"
    assert corrected["derived_tstamp"] < corrected["collector_tstamp"]
    assert unusable["derived_tstamp"] == unusable["collector_tstamp"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["click", "page 2", "page 1"]),
        ({"event_type": "page_view"}, ["page 2", "page 1"]),
        ({"event_type": "pv"}, []),
        ({"schema": LINK_CLICK}, ["click"]),
        ({"contexts": [LINK_CLICK]}, ["click"]),
        ({"contexts": [LINK_CLICK, FORM]}, []),
        ({"limit": 2}, ["click", "page 2"]),
        ({"limit": 0}, []),
        ({"event_type": "page_view", "limit": 1}, ["page 2"]),
        ({"unknown": 1, "schema": None}, ["click", "page 2", "page 1"]),
    ],
)
async def test_good_events_are_filtered(micro: Micro, filters: Any, expected: list[str]) -> None:
    await post(micro, page_view(aid="page 1"), page_view(aid="page 2"), click(aid="click"))
    answer = await query(micro, "good", filters)
    assert [good["event"]["app_id"] for good in answer.json()] == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["vid", "/i", None]),
        ({"vendor": "com.snowplowanalytics.snowplow"}, ["vid", "/i", None]),
        ({"version": "tp1"}, ["/i", None]),
        ({"vendor": "com.acme"}, [None]),
        ({"version": "tp2", "limit": 1}, ["vid"]),
    ],
)
async def test_bad_events_are_filtered(micro: Micro, filters: Any, expected: list[str | None]) -> None:
    await send(micro, "GET", "/i?{}")
    await send(micro, "GET", "/i?e=xx&aid=/i")
    await post(micro, page_view(vid="x", aid="vid"))
    found = (await query(micro, "bad", filters)).json()
    assert [bad["rawEvent"] and bad["rawEvent"]["parameters"]["aid"] for bad in found] == expected


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("good", "nonsense"),
        ("good", "[]"),
        ("good", '{"limit":"1"}'),
        ("good", '{"limit":-1}'),
        ("good", '{"contexts":"x"}'),
        ("good", '{"schema":1}'),
        ("bad", '{"vendor":1}'),
        ("bad", '{"limit":true}'),
    ],
)
async def test_a_filter_that_cannot_be_read_is_answered_400(micro: Micro, name: str, body: str) -> None:
    answer = await send(micro, "POST", f"/micro/{name}", body=body)
    assert answer.status == 400
    assert answer.text


@pytest.mark.parametrize("path", ["/micro/", "/micro/nothing", "/micro/good/x", "/micro/events"])
async def test_other_paths_say_what_there_is(micro: Micro, path: str) -> None:
    answer = await send(micro, "GET", path)
    assert answer.status == 404
    assert answer.text.startswith("Supported endpoints")
    assert (await send(micro, "PUT", "/micro/all")).status == 404


async def test_a_bad_event_has_microns_shape(micro: Micro) -> None:
    await post(micro, page_view(), page_view(vid="1.0"))
    (bad,) = (await send(micro, "GET", "/micro/bad")).json()
    assert list(bad) == ["collectorPayload", "rawEvent", "errors"]
    assert bad["rawEvent"]["parameters"]["vid"] == "1.0"
    payload = bad["collectorPayload"]
    assert list(payload) == ["api", "querystring", "contentType", "body", "source", "context"]
    assert len(json.loads(payload["body"])["data"]) == 2
    sentence, row = bad["errors"][0], json.loads(bad["errors"][1])
    assert sentence == "Error while validating the event."
    assert row["schema"] == "iglu:com.snowplowanalytics.snowplow.badrows/schema_violations/jsonschema/2-0-1"
    assert set(row["data"]) == {"processor", "failure", "payload"}
    assert row["data"]["payload"]["enriched"]["page_urlhost"] == "example.com"
    assert row["data"]["processor"]["artifact"] == "snowplow-aio-micro"


async def test_a_request_that_cannot_be_read_is_one_bad_event(micro: Micro) -> None:
    await send(micro, "POST", f"{TP2}?a=1&b", headers={"Content-Type": "text/plain"}, body="{}")
    (bad,) = (await send(micro, "GET", "/micro/bad")).json()
    assert bad["rawEvent"] is None
    assert bad["collectorPayload"]["querystring"] == ["a=1", "b"]
    assert bad["collectorPayload"]["contentType"] == "text/plain"
    sentence = "Error while extracting event(s) from collector payload and validating it/them."
    assert bad["errors"][0] == sentence
