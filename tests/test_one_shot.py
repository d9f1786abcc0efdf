"""`track_once` delivers one event, or raises an error that says why not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from snowplow_aio import (
    ConfigurationError,
    DeliveryError,
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    PageView,
    Retry,
    Subject,
    track_once,
    use_subject,
)
from tests.collector import Answer, Request, running_collector
from tests.faults.conftest import internal_tasks

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")
EVENT_ID = "6e1ac2a8-9a5c-4bd5-9b8e-5d0c5cbd5c55"


def answering(answer: Answer) -> Callable[[Request], Answer]:
    return lambda _request: answer


async def test_the_event_is_delivered_before_it_returns_and_nothing_is_left() -> None:
    async with running_collector() as collector:
        event_id = await track_once(collector.url, PAGE)
        assert dict(collector.accepted) == {event_id: 1}
        assert internal_tasks() == []


async def test_names_subject_and_metadata_are_those_of_a_tracker() -> None:
    emitter = MemoryEmitter()
    with use_subject(lang="en"):
        event_id = await track_once(
            emitter, PAGE, namespace="cron", app_id="nightly", subject=Subject(user_id="ada"),
            tstamp=1_700_000_000_000, event_id=EVENT_ID,
        )  # fmt: skip
    (payload,) = emitter.payloads
    wanted = {
        "tna": "cron",
        "aid": "nightly",
        "uid": "ada",
        "lang": "en",
        "dtm": "1700000000000",
        "eid": EVENT_ID,
    }
    assert event_id == EVENT_ID
    assert {**wanted, "dtm": "1700000000000"}.items() <= dict(payload).items()


async def test_every_emitter_has_settled_it_and_is_closed_afterwards() -> None:
    async with running_collector() as collector:
        by_post, by_get = HttpEmitter(collector.url), HttpEmitter(collector.url, method="get", name="get")
        event_id = await track_once([by_post, by_get], PAGE)
        assert collector.accepted[event_id] == 2
    assert {by_post.stats().state, by_get.stats().state} == {"closed"}


async def test_a_short_outage_is_waited_out() -> None:
    async with running_collector() as collector:
        collector.answer_next(503, 503)
        emitter = HttpEmitter(collector.url, retry=Retry(initial_delay=0.001))
        assert collector.accepted[await track_once(emitter, PAGE)] == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(503), r"http: backing off \(status 503; next attempt in \d+ s\); 1 waiting"),
        (Answer(404), r"http: misconfigured \(status 404; "),
        (Answer(hangs=True), r"http: no answer yet; 1 waiting"),
    ],
    ids=["503", "404", "hangs"],
)
async def test_what_is_not_delivered_in_time_is_given_up_and_the_error_says_why(
    answer: Answer, reason: str
) -> None:
    async with running_collector() as collector:
        collector.rule = answering(answer)
        emitter = HttpEmitter(collector.url)
        with pytest.raises(TimeoutError, match=rf"the event was not delivered within 2 s \({reason}"):
            await track_once(emitter, PAGE, timeout=2)
    assert dict(emitter.stats().dropped) == {"closed": 1}


async def test_an_event_that_is_refused_raises_with_the_reason() -> None:
    async with running_collector() as collector:
        collector.rule = answering(Answer(422))
        with pytest.raises(DeliveryError, match=r"was not delivered by http \(refused\)"):
            await track_once(collector.url, PAGE)


async def test_cancelled_it_ends_at_once_and_leaves_nothing() -> None:
    async with running_collector() as collector:
        collector.rule = answering(Answer(hangs=True))
        emitter = HttpEmitter(collector.url)
        tracking = asyncio.create_task(track_once(emitter, PAGE, timeout=None))
        await collector.requested(1)
        tracking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tracking
    assert emitter.stats().state == "closed"
    assert internal_tasks() == []


@pytest.mark.parametrize(
    ("emitters", "more", "error", "named"),
    [
        (None, {}, ConfigurationError, "emitters: must be an emitter"),
        ("ftp://collector.example.com", {}, ConfigurationError, "endpoint: must be a host or"),
        ("collector.example.com", {"timeout": -1}, ConfigurationError, "timeout: must be seconds"),
        ("collector.example.com", {"app_id": "a" * 300}, InvalidEventError, "app_id: "),
        ("collector.example.com", {"event_id": "one"}, InvalidEventError, "event_id: "),
    ],
)
async def test_an_argument_that_breaks_a_rule_is_named(
    emitters: Any, more: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=f"^{named}"):
        await track_once(emitters, PAGE, **more)


SCRIPT = """
import asyncio, sys
from snowplow_aio import PageView, track_once

page = PageView(page_url="https://shop.example/")
print(asyncio.run(track_once(sys.argv[1], page, app_id="script", timeout=float(sys.argv[2]))))
"""


async def run_script(url: str, seconds: str) -> subprocess.CompletedProcess[str]:
    """Run the script with every warning an error."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT, url, seconds]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


async def test_a_script_of_one_line_delivers_its_event_and_says_nothing_else() -> None:
    async with running_collector() as collector:
        ended = await run_script(collector.url, "10")
        (event,) = json.loads(collector.requests[0].body)["data"]
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{event['eid']}\n", "")
    assert event["aid"] == "script"


async def test_a_script_that_cannot_deliver_ends_with_1_and_the_reason_as_its_last_line() -> None:
    ended = await run_script("http://127.0.0.1:9", "2")
    assert (ended.returncode, ended.stdout) == (1, "")
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("TimeoutError: the event was not delivered within 2.0 s (http: backing off")
    assert "Unclosed" not in ended.stderr
    assert "undelivered" not in ended.stderr
