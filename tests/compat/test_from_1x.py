"""The guide for programs of the official tracker 1.x: each old name, and a program before and after."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
import snowplow_tracker

import snowplow_aio
from snowplow_aio import HttpEmitter, MemoryEmitter, registry, sync
from tests.collector import Answer, Collector, Request, collector_in_a_thread

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/howto/migrate-from-1x.md").read_text("utf-8")
BEFORE, AFTER = (ROOT / "docs/examples" / name for name in ("shop_on_1x.py", "shop_ported.py"))

# The package and the modules for calls that a type checker would refuse.
UNTYPED: Any = snowplow_aio
REGISTRY: Any = registry
SYNC: Any = sync


# --- names


def rows() -> dict[str, str]:
    """Return the table of old names: in its order, the old name and the first name here."""
    section = GUIDE.partition("\n## Old names\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)`[^|]*\| [^`|]*`([^`|]+)`", section, re.MULTILINE)
    assert len(found) == section.count("\n|") - 2, "a row without two names"
    return dict(found)


def imported(name: str) -> Callable[[], object]:
    return lambda: exec(f"from snowplow_aio import {name}")


def emitter(**options: Any) -> Callable[[], object]:
    return lambda: UNTYPED.HttpEmitter("collector.example.com", **options)


def tracker(**options: Any) -> Any:
    return SYNC.Tracker(MemoryEmitter(), **options)


def call(method: str, *args: Any, **options: Any) -> Callable[[], object]:
    return lambda: getattr(tracker(), method)(*args, **options)


# Its names are not exported for type checkers.
ORIGINAL: Any = snowplow_tracker
THEIRS = ORIGINAL.SelfDescribingJson("iglu:com.acme/a/jsonschema/1-0-0", {})

CALLS: Mapping[str, Callable[[], object]] = {
    **{
        name: imported(name)
        for name in (
            "Snowplow", "TrackerConfiguration", "EmitterConfiguration", "AsyncEmitter", "Event", "EventStore",
            "InMemoryEventStore", "disable_contracts", "enable_contracts", "logger",
        )
    },
    "Emitter(endpoint)": lambda: UNTYPED.Emitter("collector.example.com"),
    "Tracker(namespace, emitters)": lambda: SYNC.Tracker("shop", MemoryEmitter()),
    "create_tracker(endpoint)": lambda: REGISTRY.create_tracker("shop", endpoint="c.example", method="post"),
    "json_encoder": lambda: tracker(json_encoder=str),
    "tracker_config": lambda: tracker(tracker_config=None),
    "emitter_config": lambda: tracker(emitter_config=None),
    "buffer_capacity": emitter(buffer_capacity=10_000),
    "event_store": emitter(event_store=None),
    "custom_retry_codes": emitter(custom_retry_codes={403: True}),
    "max_retry_delay_seconds": emitter(max_retry_delay_seconds=60),
    "request_timeout=(connect, read)": emitter(request_timeout=(3.05, 10)),
    "session=requests.Session()": emitter(session=requests.Session()),
    "thread_count": emitter(thread_count=2),
    **{
        name: lambda name=name: getattr(HttpEmitter("collector.example.com"), name)  # type: ignore[misc]
        for name in ("set_retry_code", "http_post", "sync_flush", "async_flush")
    },
    **{
        f"{name} of an event": lambda name=name: UNTYPED.PageView(page_url="u", **{name: None})  # type: ignore[misc]
        for name in ("event_subject", "context", "true_timestamp")
    },
    "PageView(url)": lambda: UNTYPED.PageView("https://shop.example/"),
    "StructuredEvent(category, action)": lambda: UNTYPED.StructuredEvent("shop", "add"),
    "SelfDescribing(event_json)": lambda: UNTYPED.SelfDescribing(event_json=THEIRS),
    "ScreenView(type)": lambda: UNTYPED.ScreenView(name="cart", type="list"),
    "track_page_view(event_subject)": call("track_page_view", "u", event_subject=None),
    "track_ecommerce_transaction_item(order_id)": call(
        "track_ecommerce_transaction_item", sku="s", price=1, quantity=1, order_id="o"
    ),
    "track_mobile_screen_view(type)": call("track_mobile_screen_view", "cart", type="list"),
    "flush(is_async=True)": call("flush", is_async=True),
    **{name: call(name) for name in ("get_namespace", "get_uuid", "get_timestamp", "complete_payload")},
    "combine_subject": lambda: UNTYPED.Subject().combine_subject(None),
}  # fmt: skip


def name_of(row: str) -> str:
    """Return the key in `CALLS` of *row*, which some rows complete with words."""
    return row if row in CALLS else f"{row} of an event"


@pytest.mark.parametrize(("old", "new"), rows().items(), ids=rows())
def test_an_old_name_raises_and_the_error_says_the_name_of_the_guide(old: str, new: str) -> None:
    with pytest.raises((ImportError, TypeError, AttributeError, ValueError)) as caught:
        CALLS[name_of(old)]()
    assert new in str(caught.value), str(caught.value)


def test_the_table_has_every_old_name() -> None:
    assert {name_of(row) for row in rows()} == CALLS.keys()
    public = {name for name in vars(snowplow_tracker) if name[0] != "_" and name[0].isupper()}
    known = set(snowplow_aio.__all__) | {"Tracker", "Snowplow"}
    assert public - known <= {row.partition("(")[0] for row in rows()}


def test_values_of_the_other_tracker_are_refused_by_name() -> None:
    subject = ORIGINAL.Subject()
    event = ORIGINAL.PageView("https://shop.example/")
    with pytest.raises(ValueError, match=r"^subject: must be a Subject"):
        tracker(subject=subject)
    with pytest.raises(ValueError, match=r"^event: must be an event"):
        tracker().track(event)
    with pytest.raises(ValueError, match=r"^context\[0\]: must be a SelfDescribingJson"):
        tracker().track_page_view("u", context=[THEIRS])


# --- the program


def run(program: Path, collector: Collector, visits: int = 7) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "COLLECTOR": collector.url,
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT / "src"),
    }
    command = [sys.executable, str(program), str(visits)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)


def told(collector: Collector) -> list[dict[str, Any]]:
    """Return the accepted events in the order of their making, without what differs from run to run."""
    events = [event for request in collector.requests for event in request.events]
    kept = [{k: v for k, v in event.items() if k not in {"eid", "dtm", "stm", "tv"}} for event in events]
    return sorted(
        ({k: read(v) for k, v in event.items()} for event in kept),
        key=lambda e: json.dumps(e, sort_keys=True),
    )


def read(value: str) -> Any:
    return json.loads(value) if value.startswith("{") else value


def test_the_program_and_its_port_send_the_same() -> None:
    sent: list[Sequence[Any]] = []
    for program in (BEFORE, AFTER):
        with collector_in_a_thread() as collector:
            run(program, collector)
            sent.append(told(collector))
    assert len(sent[0]) == 21
    assert sent[0] == sent[1]


def test_the_port_loses_nothing_where_the_original_does() -> None:
    taken: list[int] = []
    for program in (BEFORE, AFTER):
        with collector_in_a_thread() as collector:
            collector.answer_next(503, 403, 500)
            ended = run(program, collector)
            taken.append(len(collector.accepted))
            assert collector.duplicates == 0
            assert "events were not sent: HTTP status 503" in ended.stderr
    assert taken[0] < 21
    assert taken[1] == 21


def test_the_port_says_what_it_loses_to_a_collector_that_stays_down_and_the_original_does_not() -> None:
    def refuses(_request: Request) -> Answer:
        return Answer(503)

    said: list[str] = []
    for program in (BEFORE, AFTER):
        with collector_in_a_thread() as collector:
            collector.rule = refuses
            said.append(run(program, collector).stderr)
    assert "undelivered" not in said[0]
    assert re.search(r"\b21 events undelivered", said[1]), said[1]


def lines_of(program: Path) -> int:
    """Return how many lines of code *program* has, however it is laid out."""
    return len(ast.unparse(ast.parse(program.read_text("utf-8"))).splitlines())


def test_the_port_is_shorter() -> None:
    assert lines_of(AFTER) < lines_of(BEFORE)
    # One of the size that the guide is about.
    assert 50 <= lines_of(BEFORE) <= 75


@pytest.mark.parametrize("program", [BEFORE, AFTER], ids=["before", "after"])
def test_the_guide_shows_the_program(program: Path) -> None:
    assert f"{{literalinclude}} ../examples/{program.name}\n" in GUIDE
