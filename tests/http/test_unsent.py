"""What was given up says why: the reason, and the HTTP status of the last answer."""

from __future__ import annotations

from typing import Any

import pytest

from snowplow_aio import Dropped, HttpEmitter, PageView, Rejected, Retry, Tracker
from tests.collector import Answer, Collector

pytestmark = pytest.mark.anyio

VIEW = PageView(page_url="https://shop.example/")


@pytest.mark.parametrize(
    ("answer", "retry", "kind", "reason"),
    [
        (503, Retry.never(), Dropped, "not_retried"),
        (429, Retry(retry_codes={429: False}), Rejected, "refused"),
    ],
)
async def test_on_failure_and_hooks_are_told_the_status(
    collector: Collector, answer: int, retry: Retry, kind: type[Dropped | Rejected], reason: str
) -> None:
    def rule(request: Any) -> Answer:
        return Answer(answer if any("/lost" in event["url"] for event in request.events) else 200)

    collector.rule = rule
    outcomes: list[Any] = []
    unsent: list[Any] = []
    emitter = HttpEmitter(
        collector.url,
        batch_size=1,
        retry=retry,
        hooks=[outcomes.append],
        on_failure=lambda _sent, events: unsent.append(events),
    )
    async with Tracker(emitter) as tracker:
        await tracker.track(VIEW)
        await tracker.flush(timeout=10)
        await tracker.track(PageView(page_url="https://shop.example/lost"))
        await tracker.flush(timeout=10)

    (lost,) = [outcome for outcome in outcomes if isinstance(outcome, kind)]
    assert (lost.reason, lost.status) == (reason, answer)
    (events,) = unsent
    assert isinstance(events, list)
    assert [event["url"] for event in events] == ["https://shop.example/lost"]
    told: Any = events
    assert (told.reason, told.status) == (reason, answer)


async def test_without_an_answer_there_is_no_status() -> None:
    outcomes: list[Any] = []
    emitter = HttpEmitter("http://127.0.0.1:1", retry=Retry.never(), hooks=[outcomes.append])
    async with Tracker(emitter) as tracker:
        await tracker.track(VIEW)
        await tracker.flush(timeout=10)

    (dropped,) = outcomes
    assert (dropped.reason, dropped.status) == ("not_retried", None)
