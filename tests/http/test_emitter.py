"""Events travel from a tracker to a collector over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from snowplow_aio import HttpEmitter, MemoryStore, PageView, Retry, Subject, Tracker
from snowplow_aio.exceptions import ConfigurationError
from tests.collector import Answer, Collector

pytestmark = pytest.mark.anyio

EMPTY_WRAPPER = '{"schema":"iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4","data":[]}'


def quick(**options: Any) -> Retry:
    return Retry(initial_delay=0.01, max_delay=0.02, **options)


async def track_pages(tracker: Tracker, count: int) -> list[str]:
    return [await tracker.track(PageView(page_url=f"https://shop.example/{i}")) for i in range(count)]


async def test_a_flush_delivers_everything_tracked_before_it(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        ids = await track_pages(tracker, 120)
        result = await tracker.flush()
    assert (result.delivered, result.pending) == (120, 0)
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_leaving_the_tracker_delivers_what_is_left(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, flush_interval=None)) as tracker:
        ids = await track_pages(tracker, 3)
    assert list(collector.accepted) == ids


async def test_a_post_goes_to_the_collectors_path_as_json(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        await track_pages(tracker, 1)
    request = collector.requests[0]
    assert (request.method, request.target) == ("POST", "/com.snowplowanalytics.snowplow/tp2")
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.headers["user-agent"].startswith("snowplow-aio/")
    assert "cookie" not in request.headers


async def test_a_get_carries_one_event_per_request(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, method="get")) as tracker:
        url = "https://shop.example/?a=1&b=2;c=+ %ü"
        await tracker.track(PageView(page_url=url, page_title="Größe"))
        await track_pages(tracker, 4)
    assert len(collector.requests) == 5
    assert {request.target.partition("?")[0] for request in collector.requests} == {"/i"}
    first = collector.requests[0].events[0]
    assert (first["url"], first["page"]) == (url, "Größe")
    assert ";" not in collector.requests[0].target


async def test_a_get_that_is_too_long_for_the_request_line_travels_by_post(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, method="get")) as tracker:
        await tracker.track(
            PageView(page_url="https://shop.example/", page_title="ü" * 2000, referrer="r" * 3000)
        )
        await tracker.track_self_describing_event(large_event(25_000))
    assert [request.method for request in collector.requests] == ["GET", "POST"]


def large_event(size: int) -> Any:
    from snowplow_aio import SelfDescribingJson

    return SelfDescribingJson("iglu:com.acme/large/jsonschema/1-0-0", {"text": "x" * size})


async def test_so_many_waiting_events_as_the_batch_size_are_sent_at_once(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, batch_size=3, flush_interval=None)) as tracker:
        await track_pages(tracker, 2)
        await asyncio.sleep(0)
        assert collector.requests == []
        await track_pages(tracker, 1)
        await collector.requested(1)
        assert len(collector.requests[0].events) == 3


async def test_a_get_waits_for_as_many_events_as_the_batch_size_and_sends_each_alone(
    collector: Collector,
) -> None:
    emitter = HttpEmitter(collector.url, method="get", batch_size=3, flush_interval=None)
    async with Tracker(emitter) as tracker:
        for count in (3, 6):
            await track_pages(tracker, 2)
            await asyncio.sleep(0.05)
            assert len(collector.requests) == count - 3
            await track_pages(tracker, 1)
            await collector.requested(count)
    assert [len(request.events) for request in collector.requests] == [1] * 6


async def test_a_get_is_sent_after_the_flush_interval(collector: Collector) -> None:
    emitter = HttpEmitter(collector.url, method="get", batch_size=100, flush_interval=0.1)
    async with Tracker(emitter) as tracker:
        await track_pages(tracker, 5)
        assert collector.requests == []
        await collector.requested(5)


async def test_a_get_is_sent_at_once_by_default(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, method="get", flush_interval=None)) as tracker:
        await track_pages(tracker, 1)
        await collector.requested(1)


@pytest.mark.parametrize(
    ("limit", "sent"), [({"max_batch": 4}, 4), ({"byte_limit": 400}, 2)], ids=["events", "bytes"]
)
async def test_a_get_does_not_let_more_wait_than_a_post_could_carry(
    collector: Collector, limit: dict[str, Any], sent: int
) -> None:
    emitter = HttpEmitter(collector.url, method="get", batch_size=1000, flush_interval=None, **limit)
    async with Tracker(emitter) as tracker:
        await track_pages(tracker, 4)
        await collector.requested(sent)


async def test_a_get_sends_what_waited_over_several_connections(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(200, delay=0.05)
    emitter = HttpEmitter(collector.url, method="get", batch_size=40, flush_interval=None, max_connections=8)
    async with Tracker(emitter) as tracker:
        await track_pages(tracker, 40)
        await collector.requested(40)
    assert 1 < collector.connections <= 8


async def test_a_get_that_failed_is_sent_again_with_all_that_waited_with_it(collector: Collector) -> None:
    collector.answer_next(503)
    emitter = HttpEmitter(collector.url, method="get", batch_size=5, flush_interval=None, retry=quick())
    async with Tracker(emitter) as tracker:
        ids = await track_pages(tracker, 5)
        await collector.requested(6)
        await tracker.flush()
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_a_waiting_event_is_sent_after_the_flush_interval(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, flush_interval=0.01)) as tracker:
        await track_pages(tracker, 1)
        await collector.requested(1)


async def test_the_flush_timer_can_be_set_and_cancelled_while_it_runs(collector: Collector) -> None:
    emitter = HttpEmitter(collector.url, flush_interval=None)
    async with Tracker(emitter) as tracker:
        await track_pages(tracker, 1)
        emitter.set_flush_timer(0.01)
        await collector.requested(1)
        emitter.cancel_flush_timer()
        await track_pages(tracker, 1)
        assert emitter.stats().pending == 1


async def test_a_post_never_exceeds_its_limits_and_counts_every_byte(collector: Collector) -> None:
    limit = 5_000
    emitter = HttpEmitter(collector.url, byte_limit=limit, max_batch=40, flush_interval=None)
    async with Tracker(emitter) as tracker:
        await track_pages(tracker, 300)
    bodies = [len(request.body) for request in collector.requests]
    assert max(bodies) <= limit
    assert sum(len(request.events) for request in collector.requests) == 300
    # Every request but the last of a burst is full: one more event would exceed the limit.
    smallest = min(
        len(json.dumps(event, separators=(",", ":"))) for r in collector.requests for event in r.events
    )
    assert sum(size + smallest + 1 > limit for size in bodies) >= len(bodies) - 2


@pytest.mark.parametrize("spare", [0, 1])
async def test_the_byte_limit_is_exact(collector: Collector, spare: int) -> None:
    """Two events fit into exactly their number of bytes, and not into one byte less."""
    async with Tracker(HttpEmitter(collector.url, flush_interval=None)) as tracker:
        await track_pages(tracker, 2)
    size = len(collector.requests[0].body)
    collector.requests.clear()
    emitter = HttpEmitter(collector.url, byte_limit=size - spare, flush_interval=None)
    async with Tracker(emitter) as tracker:
        await track_pages(tracker, 2)
    assert [len(request.events) for request in collector.requests] == ([1, 1] if spare else [2])


async def test_an_event_above_the_byte_limit_travels_alone(collector: Collector) -> None:
    emitter = HttpEmitter(collector.url, byte_limit=2_000, flush_interval=None, max_connections=1)
    async with Tracker(emitter) as tracker:
        await track_pages(tracker, 1)
        await tracker.track(large_event(5_000))
        await track_pages(tracker, 1)
    assert [len(request.events) for request in collector.requests] == [1, 1, 1]


async def test_the_time_of_sending_is_that_of_each_attempt(collector: Collector) -> None:
    collector.answer_next(503)
    async with Tracker(HttpEmitter(collector.url, retry=quick())) as tracker:
        await track_pages(tracker, 2)
        await tracker.flush()
    first, second = (request.events for request in collector.requests)
    assert all(int(b["stm"]) >= int(a["stm"]) >= int(a["dtm"]) for a, b in zip(first, second, strict=True))
    assert [without_stm(event) for event in first] == [without_stm(event) for event in second]


def without_stm(event: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in event.items() if key != "stm"}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_failure_that_may_pass_is_tried_again(collector: Collector, status: int) -> None:
    collector.answer_next(Answer(status, headers={"Location": collector.url + "/elsewhere"}))
    async with Tracker(HttpEmitter(collector.url, retry=quick())) as tracker:
        ids = await track_pages(tracker, 5)
        result = await tracker.flush()
    assert result.delivered == 5
    assert collector.accepted == dict.fromkeys(ids, 1)
    assert [request.method for request in collector.requests] == ["POST", "POST"]


async def test_success_is_decided_at_the_status_line(collector: Collector) -> None:
    collector.answer_next(Answer(200, headers={"Content-Length": "100"}, body=None))
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        await track_pages(tracker, 1)
        assert (await tracker.flush()).delivered == 1
    assert len(collector.requests) == 1


async def test_a_reset_connection_loses_nothing(collector: Collector) -> None:
    collector.answer_next(Answer(reset=True, is_processed=False), Answer(reset=True, is_processed=False))
    async with Tracker(HttpEmitter(collector.url, retry=quick())) as tracker:
        ids = await track_pages(tracker, 10)
        await tracker.flush()
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_a_pooled_connection_that_died_costs_no_pause(collector: Collector) -> None:
    """The server closes each kept connection when its second request arrives."""
    collector.rule = lambda request: Answer(reset=request.number > 1, is_processed=request.number == 1)
    async with Tracker(HttpEmitter(collector.url, retry=Retry(initial_delay=60))) as tracker:
        for _ in range(20):
            await track_pages(tracker, 1)
            await tracker.flush()
        stats = tracker.stats()["http"]
    assert (stats.delivered, dict(stats.retries)) == (20, {})
    assert collector.connections == 20


async def test_a_server_that_never_answers_is_given_up_after_the_timeout(collector: Collector) -> None:
    collector.answer_next(Answer(hangs=True))
    async with Tracker(HttpEmitter(collector.url, request_timeout=3, retry=quick())) as tracker:
        ids = await track_pages(tracker, 1)
        await tracker.flush()
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_one_event_that_the_collector_refuses_harms_no_other(collector: Collector) -> None:
    def refuse_poison(request: Any) -> Answer:
        return Answer(400 if any("poison" in event["url"] for event in request.events) else 200)

    collector.rule = refuse_poison
    failures: list[list[dict[str, str]]] = []
    emitter = HttpEmitter(collector.url, on_failure=lambda _sent, unsent: failures.append(unsent))
    async with Tracker(emitter) as tracker:
        ids = await track_pages(tracker, 20)
        poison = await tracker.track(PageView(page_url="https://shop.example/poison"))
        ids += await track_pages(tracker, 20)
        result = await tracker.flush()
    assert (result.delivered, result.rejected) == (40, 1)
    assert collector.accepted == dict.fromkeys(ids, 1)
    assert [event["eid"] for unsent in failures for event in unsent] == [poison]


async def test_a_batch_that_is_too_large_is_split(collector: Collector) -> None:
    collector.rule = lambda request: Answer(413 if len(request.events) > 3 else 200)
    async with Tracker(HttpEmitter(collector.url)) as tracker:
        ids = await track_pages(tracker, 20)
        assert (await tracker.flush()).delivered == 20
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_a_policy_without_retry_hands_the_events_back_at_once(collector: Collector) -> None:
    collector.answer_next(503)
    unsent: list[dict[str, str]] = []
    emitter = HttpEmitter(
        collector.url, retry=Retry.never(), on_failure=lambda _sent, events: unsent.extend(events)
    )
    async with Tracker(emitter) as tracker:
        ids = await track_pages(tracker, 3)
        result = await tracker.flush()
        assert (result.dropped, result.delivered) == (3, 0)
        assert [event["eid"] for event in unsent] == ids
        for event in unsent:
            await emitter.input(event)
        assert (await tracker.flush()).delivered == 3
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_retry_codes_decide_before_the_rules(collector: Collector) -> None:
    collector.answer_next(400, 503)
    retry = quick(retry_codes={400: True, 503: False})
    async with Tracker(HttpEmitter(collector.url, retry=retry)) as tracker:
        await track_pages(tracker, 1)
        result = await tracker.flush()
    assert (result.delivered, result.rejected) == (0, 1)


async def test_an_event_that_is_too_old_is_dropped(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    async with Tracker(HttpEmitter(collector.url, retry=quick(max_age=0.05))) as tracker:
        await track_pages(tracker, 2)
        result = await tracker.flush()
        assert dict(tracker.stats()["http"].dropped) == {"expired": 2}
    assert result.dropped == 2


async def test_anonymous_events_travel_apart_with_their_header(collector: Collector) -> None:
    subject = Subject(user_id="u", ip_address="127.0.0.1", lang="en")
    async with Tracker(HttpEmitter(collector.url, flush_interval=None), subject=subject) as tracker:
        for i in range(6):
            await tracker.track(PageView(page_url=f"https://shop.example/{i}"), anonymous=i % 2 == 0)
    assert len(collector.requests) == 2
    for request in collector.requests:
        anonymous = "sp-anonymous" in request.headers
        assert all(
            ("uid" in event, "ip" in event) == (not anonymous, not anonymous) for event in request.events
        )
        assert all(event["lang"] == "en" for event in request.events)


async def test_one_emitter_that_fails_keeps_events_from_no_other(collector: Collector) -> None:
    dead = HttpEmitter("http://127.0.0.1:9", name="dead", drain_timeout=0)
    async with Tracker([dead, HttpEmitter(collector.url)]) as tracker:
        ids = await track_pages(tracker, 5)
        await tracker.flush(wait=False)
        async with asyncio.timeout(30):
            while tracker.stats()["http"].delivered < 5:  # noqa: ASYNC110 - the statistics tell nobody
                await asyncio.sleep(0.01)
    assert collector.accepted == dict.fromkeys(ids, 1)
    assert dict(tracker.stats()["dead"].dropped) == {"closed": 5}


async def test_connections_are_opened_only_as_the_backlog_asks(collector: Collector) -> None:
    async with Tracker(HttpEmitter(collector.url, max_batch=10)) as tracker:
        await track_pages(tracker, 5)
        await tracker.flush()
        assert collector.connections == 1
        await track_pages(tracker, 500)
        await tracker.flush()
    assert 1 < collector.connections <= 16


async def test_the_applications_own_session_is_used_and_stays_open(collector: Collector) -> None:
    import aiohttp

    async with aiohttp.ClientSession(headers={"X-Own": "1"}, cookie_jar=aiohttp.DummyCookieJar()) as session:
        async with Tracker(HttpEmitter(collector.url, session=session)) as tracker:
            await track_pages(tracker, 1)
        assert not session.closed
    assert collector.requests[0].headers["x-own"] == "1"


@pytest.mark.parametrize(
    ("make", "target"),
    [
        (lambda url: HttpEmitter(url + "/prefix/"), "/prefix/com.snowplowanalytics.snowplow/tp2"),
        (lambda url: HttpEmitter(url, post_path="com.acme/track"), "/com.acme/track"),
        (
            lambda url: HttpEmitter(url.removeprefix("http://"), protocol="http"),
            "/com.snowplowanalytics.snowplow/tp2",
        ),
        (
            lambda url: HttpEmitter("127.0.0.1", protocol="http", port=int(url.rpartition(":")[2])),
            "/com.snowplowanalytics.snowplow/tp2",
        ),
    ],
    ids=["prefix", "post path", "host and port", "port apart"],
)
async def test_an_endpoint_may_be_said_in_several_ways(
    collector: Collector, make: Callable[[str], HttpEmitter], target: str
) -> None:
    async with Tracker(make(collector.url)) as tracker:
        await track_pages(tracker, 1)
    assert collector.requests[0].target == target


def test_a_byte_limit_that_the_collector_would_not_take_whole_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"byte_limit: must be a whole number from 1 to \d+, got 1000000"
    ):
        HttpEmitter("https://collector.example.com", byte_limit=1_000_000)


async def test_a_full_store_drops_and_counts_what_is_new(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(503)
    store = MemoryStore(capacity=10)
    async with Tracker(HttpEmitter(collector.url, store=store, drain_timeout=0)) as tracker:
        await track_pages(tracker, 15)
        stats = tracker.stats()["http"]
        assert (stats.accepted, stats.pending + stats.leased, dict(stats.dropped)) == (
            15,
            10,
            {"queue_full": 5},
        )


async def test_a_status_that_is_not_to_be_retried_hands_back_each_event(collector: Collector) -> None:
    collector.rule = lambda _request: Answer(404)
    emitter = HttpEmitter(collector.url, retry=quick(retry_codes={404: False}))
    async with Tracker(emitter) as tracker:
        await track_pages(tracker, 50)
        result = await tracker.flush(timeout=30)
        assert (result.rejected, result.pending, emitter.stats().state) == (50, 0, "ok")
