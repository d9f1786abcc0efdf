"""The report: what was tracked against what arrived."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from snowplow_aio.demo.display import Display, summary, table
from snowplow_aio.demo.report import METHODS, Report, compare
from snowplow_aio.demo.visitors import VISITORS, Visit

EVENT, OTHER = "5cea9899-10df-4ccf-bf66-8c36f4a4bba2", "0e5f0b7a-5a8a-4a2c-9d3a-3c8f0c6a1b11"


def good(method: str, event_id: str = EVENT, user: str | None = "ada") -> dict[str, Any]:
    parameters = {"e": "pv", "eid": event_id, "url": "https://shop.example/lamp?colour=red"}
    return {
        "rawEvent": {
            "api": {
                "vendor": "com.snowplowanalytics.snowplow",
                "version": {"GET": "tp1", "POST": "tp2"}[method],
            },
            "parameters": parameters if user is None else {**parameters, "uid": user},
        },
        "eventType": "page_view",
        "schema": "iglu:com.snowplowanalytics.snowplow/page_view/jsonschema/1-0-0",
        "contexts": ["iglu:com.example.shop/product/jsonschema/1-0-0"] * 2,
    }


def bad(method: str, message: str) -> dict[str, Any]:
    record = good(method)
    failure = {"messages": [{"expectation": message}]}
    return {
        "rawEvent": record["rawEvent"],
        "collectorPayload": None,
        "errors": ["Error while validating the event.", json.dumps({"data": {"failure": failure}})],
    }


def unreadable(method: str, message: str) -> dict[str, Any]:
    record = bad(method, message)
    return {**record, "rawEvent": None, "collectorPayload": {"api": record["rawEvent"]["api"]}}


def visit(*tracked: str, user: str | None = "ada", failure: str | None = None) -> Visit:
    return Visit("ada", "GET /lamp", user, tracked, failure)


def report_on(*records: dict[str, Any]) -> Report:
    return compare([visit(EVENT)], records)


def words(report: Report) -> list[str]:
    return [row.verdicts[method].word for row in report.rows for method in METHODS]


def test_an_event_that_arrives_once_by_each_method_is_fine() -> None:
    report = report_on(good("POST"), good("GET"))
    assert (report.exit_code, report.problems, report.valid) == (0, [], 1)
    assert words(report) == ["valid", "valid"]


def test_a_missing_event_is_named() -> None:
    report = report_on(good("POST"))
    assert report.exit_code == 1
    assert report.problems == [f"page_view {EVENT} (ada, GET /lamp) by GET: did not arrive"]
    assert words(report) == ["valid", "missing"]


def test_an_event_that_never_arrived_is_named_by_what_is_known() -> None:
    report = report_on()
    assert report.exit_code == 1
    assert report.problems == [
        f"event {EVENT} (ada, GET /lamp) by {method}: did not arrive" for method in ("POST", "GET")
    ]


def test_a_duplicated_event_is_named() -> None:
    report = report_on(good("POST"), good("GET"), good("GET"))
    assert report.exit_code == 1
    assert report.problems == [f"page_view {EVENT} (ada, GET /lamp) by GET: arrived 2 times"]
    assert words(report) == ["valid", "2 times"]


def test_an_invalid_event_is_named_with_the_message_of_the_collector() -> None:
    report = report_on(bad("POST", "$.price: is no number"), good("GET"))
    assert report.exit_code == 1
    assert report.problems == [
        f"page_view {EVENT} (ada, GET /lamp) by POST: is invalid: $.price: is no number"
    ]
    assert words(report) == ["invalid", "valid"]


@pytest.mark.parametrize(("user", "arrived"), [("ada", "bela"), ("ada", None), (None, "bela")])
def test_an_event_about_another_user_is_named(user: str | None, arrived: str | None) -> None:
    records = [good("POST", user=arrived), good("GET", user=user)]
    report = compare([visit(EVENT, user=user)], records)
    assert report.exit_code == 1
    assert report.problems == [
        f"page_view {EVENT} (ada, GET /lamp) by POST: is about the user {arrived}, not {user}"
    ]


def test_an_event_that_nobody_tracked_is_named() -> None:
    report = report_on(good("POST"), good("GET"), good("GET", OTHER))
    assert report.exit_code == 1
    assert report.problems == [f"page_view {OTHER} by GET: arrived, but nobody tracked it"]


def test_a_request_that_cannot_be_read_is_named() -> None:
    report = report_on(good("POST"), good("GET"), unreadable("POST", "no JSON"))
    assert report.exit_code == 1
    assert report.problems == ["a request by POST without events that can be read: no JSON"]


@pytest.mark.parametrize(
    ("failed", "said"),
    [(visit(failure="answered 500"), "answered 500"), (visit(), "tracked nothing")],
)
def test_a_visit_that_failed_is_named(failed: Visit, said: str) -> None:
    report = compare([visit(EVENT), failed], [good("POST"), good("GET")])
    assert report.exit_code == 1
    assert report.problems == [f"ada, GET /lamp: the shop {said}"]


def test_a_run_without_events_is_no_success() -> None:
    assert compare([], []).exit_code == 1


def test_the_summary_counts() -> None:
    report = compare([visit(EVENT, OTHER)], [good("POST"), good("GET"), good("POST", OTHER)])
    assert summary(report, 1.25) == (
        "2 events tracked, 2 arrived by POST, 1 arrived by GET, 1 valid, 1.2 seconds"
    )


def test_a_row_has_what_arrived() -> None:
    output = io.StringIO()
    report = report_on(good("GET"), bad("POST", "no"))
    Console(file=output, width=100).print(table(report.rows))
    line = output.getvalue().splitlines()[-1]
    assert line.split() == [
        EVENT[:8], "page_view", "ada", "/lamp?colour=red", "product", "x2", "invalid", "valid",
    ]  # fmt: skip


def test_problems_are_printed_between_the_table_and_the_summary() -> None:
    output = io.StringIO()
    Display(Console(file=output, width=100), VISITORS).finish(report_on(good("POST")), 0.5)
    *_, problem, last = output.getvalue().splitlines()
    assert problem.startswith(f"PROBLEM: page_view {EVENT}")
    assert last.startswith("1 events tracked, 1 arrived by POST, 0 arrived by GET, 0 valid")
