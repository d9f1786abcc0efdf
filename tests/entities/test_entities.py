"""The ready-made entities, as a service makes them of what it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from snowplow_aio import PageView, SelfDescribing
from snowplow_aio.entities.application import Application, MobileApplication
from snowplow_aio.entities.client_hints import Brand, HttpClientHints
from snowplow_aio.entities.geolocation import Geolocation
from snowplow_aio.entities.http import HttpCookie, HttpHeader
from snowplow_aio.entities.session import ClientSession
from snowplow_aio.entities.user import User
from snowplow_aio.entities.web_page import WebPage
from tests.conformance.oracle import Oracle
from tests.model.sent import data_of, sent

USER = "c7aadf5c60a5dff9"
SESSION = "5cea9899-10df-4ccf-bf66-8c36f4a4bba2"

CHROME = {
    "Sec-CH-UA": '"Not/A)Brand";v="8", "Chromium";v="126", "Google \\"Chrome\\"";v="126"',
    "Sec-CH-UA-Mobile": "?0",
    "Sec-CH-UA-Platform": '"Windows"',
    "Sec-CH-UA-Platform-Version": '"15.0.0"',
    "Sec-CH-UA-Arch": '"x86"',
    "Sec-CH-UA-Model": '""',
    "Sec-CH-UA-Full-Version": '"126.0.6478.127"',
}


def session(**fields: Any) -> ClientSession:
    given: dict[str, Any] = {
        "user_id": USER,
        "session_id": SESSION,
        "session_index": 1,
        "storage_mechanism": "COOKIE_1",
    }
    return ClientSession(**{**given, **fields})


def test_all_of_them_go_with_an_event_that_the_pipeline_takes(oracle: Oracle) -> None:
    hints = HttpClientHints.from_headers(CHROME)
    assert hints is not None
    entities: list[SelfDescribing] = [
        WebPage(),
        HttpHeader(name="X-Request-Id", value="1"),
        HttpCookie(name="plan", value=None),
        hints,
        Geolocation(latitude=Decimal("52.52"), longitude=13.405, altitude=34, timestamp=1_700_000_000_123),
        session(event_index=3, previous_session_id=uuid4(), first_event_timestamp=datetime.now(UTC)),
        Application(version="1.1.0"),
        MobileApplication(version="1.1.0", build="s9f2k2d"),
        User(id_="u-42", is_guest=False, email="ada@example.com"),
    ]

    event = sent(PageView(page_url="https://shop.example/"), tracker={"app_id": "shop"}, context=entities)
    assert oracle.complaints(event) == []


def test_each_view_of_a_page_has_an_id_of_its_own_unless_it_is_given_one() -> None:
    first, second = WebPage(), WebPage(id_=None)
    given = UUID(SESSION)

    assert UUID(first.id_) != UUID(second.id_)
    assert data_of(first) == {"id": first.id_}
    assert data_of(WebPage(id_=given)) == data_of(WebPage(id_=SESSION)) == {"id": SESSION}  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC), "2024-05-06T07:08:09+00:00"),
        (datetime(2024, 5, 6, tzinfo=timezone(timedelta(hours=-9.5))), "2024-05-06T00:00:00-09:30"),
        ("2024-05-06T07:08:09.123456789Z", "2024-05-06T07:08:09.123456789Z"),
    ],
)
def test_a_session_begins_at_a_datetime_or_its_text(moment: Any, text: str, oracle: Oracle) -> None:
    data = data_of(session(first_event_timestamp=moment))

    assert data["firstEventTimestamp"] == text
    assert oracle.errors(ClientSession.schema_uri, data) == []


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("first_event_timestamp", datetime(2024, 5, 6), "must be a datetime with a time zone"),  # noqa: DTZ001
        ("first_event_timestamp", "2024-05-06T07:08:09", "with a time zone"),
        ("first_event_timestamp", "2024-02-30T07:08:09Z", "must be like '2024-05-06T07:08:09Z'"),
        ("first_event_timestamp", "2024-05-06T07:08:09+18:01", "must be like"),
        ("first_event_timestamp", 1_700_000_000, "must be a datetime or its text"),
        ("user_id", USER.upper(), "16 hexadecimal digits in lower case"),
        ("user_id", f"{USER}\n", "16 hexadecimal digits in lower case"),
        ("user_id", SESSION.upper(), "must be a UUID in lower case"),
        ("session_id", "s-1", "must be a UUID in its canonical form"),
        ("storage_mechanism", "REDIS", "Input should be 'SQLITE', 'COOKIE_1'"),
    ],
)
def test_a_session_says_what_is_wrong_with_it(field: str, value: Any, rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        session(**{field: value})
    assert rule in str(caught.value)
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(90.01, 0), (0, Decimal("-180.0001")), (float("nan"), 0), (True, 0), ("1", 0)]
)
def test_a_place_is_on_earth(latitude: Any, longitude: Any) -> None:
    with pytest.raises(ValidationError, match="must be"):
        Geolocation(latitude=latitude, longitude=longitude)
    assert data_of(Geolocation(latitude=-90, longitude=180.0)) == {"latitude": -90, "longitude": Decimal(180)}


def test_client_hints_are_read_from_the_headers_of_a_request() -> None:
    hints = HttpClientHints.from_headers({name.lower(): value for name, value in CHROME.items()})

    assert hints == HttpClientHints(
        is_mobile=False,
        brands=[
            Brand(brand="Not/A)Brand", version="8"),
            Brand(brand="Chromium", version="126"),
            Brand(brand='Google "Chrome"', version="126"),
        ],
        architecture="x86",
        model="",
        platform="Windows",
        platform_version="15.0.0",
        ua_full_version="126.0.6478.127",
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"User-Agent": "Mozilla/5.0"},
        {"Sec-CH-UA-Mobile": "?1"},
        {"Sec-CH-UA": CHROME["Sec-CH-UA"]},
        {**CHROME, "Sec-CH-UA-Mobile": "yes"},
        {**CHROME, "Sec-CH-UA": "Chromium"},
        {**CHROME, "Sec-CH-UA": f'"{"x" * 5000}";v="1"'},
        {**CHROME, "Sec-CH-UA-Model": f'"{"x" * 5000}"'},
    ],
)
def test_a_request_without_hints_that_can_be_read_has_none(headers: dict[str, str]) -> None:
    assert HttpClientHints.from_headers(headers) is None


def test_what_nobody_can_read_in_a_hint_is_left_out(oracle: Oracle) -> None:
    odd = {
        **CHROME,
        "Sec-CH-UA": '"' * 10_000 + ', "Ch\udcffrome";v="1"' * 100,
        "Sec-CH-UA-Arch": "x86",
        "Sec-CH-UA-Model": '"\udcff"',
    }
    hints = HttpClientHints.from_headers(odd)

    assert hints is not None
    assert "architecture" not in hints.model_fields_set
    assert len(hints.brands) == 16
    assert oracle.errors(HttpClientHints.schema_uri, data_of(hints)) == []


def test_headers_are_picked_by_name_in_any_case_and_no_other_is_taken() -> None:
    headers = {
        "x-request-id": "7",
        "Authorization": "hush",
        "X-Long": "x" * 5000,
        "X-Odd": "\udcff",
        "ETag": "",
    }

    picked = HttpHeader.pick(headers, "X-Request-ID", "X-Long", "X-Odd", "X-Absent", "etag")

    assert [(header.name, header.value) for header in picked] == [("X-Request-ID", "7"), ("etag", "")]


def test_cookies_are_picked_by_their_exact_name() -> None:
    picked = HttpCookie.pick({"plan": "pro", "Plan": "free", "session": "hush"}, "plan", "theme")

    assert [data_of(cookie) for cookie in picked] == [{"name": "plan", "value": "pro"}]
