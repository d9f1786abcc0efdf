"""Whatever the collector answers, every event is delivered, refused for its own fault, or kept."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from typing import Any
from unittest import mock

import pytest
import trustme

from snowplow_aio import (
    HttpEmitter,
    InvalidEventError,
    PageView,
    Rejected,
    Retry,
    SelfDescribingJson,
    Tracker,
)
from tests.collector import OK, Answer, Collector, Request, running_collector
from tests.faults.conftest import balance
from tests.ports import held_port
from tests.scale import scale
from tests.waiting import until

pytestmark = pytest.mark.anyio

# A destination that is misconfigured is probed this often.
PROBE_SECONDS = 0.05
LARGE = "iglu:com.acme/large/jsonschema/1-0-0"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with running_collector() as running:
        yield running


def emitter_for(collector: Collector | str, **options: Any) -> HttpEmitter:
    url = collector if isinstance(collector, str) else collector.url
    quick: dict[str, Any] = {
        "retry": Retry(initial_delay=0.01, max_delay=PROBE_SECONDS),
        "flush_interval": 0.01,
    }
    return HttpEmitter(url, **(quick | options))


async def track_pages(tracker: Tracker, count: int, *, path: str = "good") -> list[str]:
    return [await tracker.track(PageView(page_url=f"https://shop.example/{path}/{i}")) for i in range(count)]


def holds(request: Request, path: str) -> bool:
    return any(path in event.get("url", "") for event in request.events)


def always(status: int, **details: Any) -> Callable[[Request], Answer]:
    return lambda _request: Answer(status, **details)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# --- redirects


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed_and_delivers_nothing(
    collector: Collector, status: int, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    location = {"Location": collector.url + "/elsewhere"}
    # Whoever follows is welcome there.
    collector.rule = lambda request: OK if "elsewhere" in request.target else Answer(status, location)
    async with Tracker(emitter_for(collector, method=method)) as tracker:
        ids = await track_pages(tracker, 5)
        # Either way, so that a client that follows fails here and does not wait in vain.
        await until(lambda: tracker.stats()["http"].state == "misconfigured" or collector.acknowledged > 0)
        assert tracker.stats()["http"].state == "misconfigured"
        seen = len(collector.requests)
        await collector.requested(seen + 3)
        stats = tracker.stats()["http"]
        assert (stats.delivered, stats.rejected, stats.dropped, balance(stats)) == (0, {}, {}, 0)
        assert {request.method for request in collector.requests} == {method.upper()}
        assert not [request for request in collector.requests if "elsewhere" in request.target]
        collector.rule = always(200)
        await until(lambda: tracker.stats()["http"].delivered == 5)
        assert tracker.stats()["http"].state == "ok"
    assert collector.accepted == dict.fromkeys(ids, 1)
    assert len(errors(caplog)) == 1


# --- what happened to the request is not known


def without_sent_time(data: bytes) -> bytes:
    return re.sub(rb'"stm":"\d+",|stm=\d+', b"", data)


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize(
    "unknown", [Answer(408), Answer(hangs=True), Answer(reset=True)], ids=["408", "time-out", "reset"]
)
async def test_every_attempt_is_the_same_but_for_the_time_of_sending(
    collector: Collector, unknown: Answer, method: str
) -> None:
    collector.answer_next(*[unknown] * 4)
    emitter = emitter_for(collector, method=method, request_timeout=0.2, max_connections=1)
    async with Tracker(emitter, app_id="shop") as tracker:
        await tracker.track(SelfDescribingJson(LARGE, {"name": "Größe", "n": 2**60, "x": 0.1}))
        assert (await tracker.flush(30)).delivered == 1
    attempts = [(request.target.encode(), request.body) for request in collector.requests]
    assert len(attempts) >= 5
    assert len({tuple(map(without_sent_time, attempt)) for attempt in attempts}) == 1
    sent = [int(request.events[0]["stm"]) for request in collector.requests]
    assert sent == sorted(sent)


async def test_an_event_is_sent_twice_only_where_an_answer_was_lost(collector: Collector) -> None:
    chance, lost = random.Random(1), 0

    def lose_some(request: Request) -> Answer:
        nonlocal lost
        fate = chance.random()
        lost += len(request.events) if fate < 0.3 else 0
        return Answer(reset=True) if fate < 0.3 else Answer(408) if fate < 0.5 else OK

    collector.rule = lose_some
    async with Tracker(emitter_for(collector, max_batch=50)) as tracker:
        ids = await track_pages(tracker, 2_000)
        await tracker.flush(30)
    assert lost > 0
    assert set(collector.accepted) == set(ids)
    assert collector.accepted.total() - len(ids) == lost


# --- too large


@pytest.mark.parametrize("bad", [{0, 1, 2}, {0, 250, 499}, {17, 18, 333}], ids=["first", "apart", "anywhere"])
async def test_of_a_batch_that_is_too_large_only_the_large_events_are_rejected(
    collector: Collector, bad: set[int]
) -> None:
    collector.rule = lambda request: Answer(413 if b"x" * 2_000 in request.body else 200)
    rejected: list[Rejected] = []
    hooks = [lambda outcome: rejected.append(outcome) if isinstance(outcome, Rejected) else None]
    emitter = emitter_for(collector, batch_size=500, flush_interval=None, hooks=hooks)
    async with Tracker(emitter) as tracker:
        ids = [
            await tracker.track(PageView(page_url="https://a.example", page_title="x" * 2_000 * (i in bad)))
            for i in range(500)
        ]
        result = await tracker.flush(30)
        stats = tracker.stats()["http"]
    assert (result.delivered, stats.rejected, stats.state) == (497, {"too_large": 3}, "ok")
    assert [outcome.payloads[0]["eid"] for outcome in rejected] == [ids[i] for i in sorted(bad)]
    assert {(outcome.reason, outcome.status) for outcome in rejected} == {("too_large", 413)}
    assert collector.accepted == dict.fromkeys(set(ids) - {ids[i] for i in bad}, 1)
    assert len(collector.requests) <= 3 * (2 * math.log2(500) + 2)


# --- poison


@pytest.mark.parametrize(
    "status",
    [pytest.param(400, id="400"), pytest.param(403, id="403 of a firewall"), *scale([], [422])],
)
async def test_ten_poison_events_stop_none_of_ten_thousand(collector: Collector, status: int) -> None:
    collector.rule = lambda request: Answer(status if holds(request, "poison") else 200)
    rejected: list[Rejected] = []
    unsent: list[dict[str, str]] = []
    emitter = emitter_for(
        collector,
        hooks=[lambda outcome: rejected.append(outcome) if isinstance(outcome, Rejected) else None],
        on_failure=lambda _sent, events: unsent.extend(events),
        # Single events, as they come when little is tracked, are another test.
        flush_interval=None,
        batch_size=500,
    )
    places = set(random.Random(2).sample(range(10_000), 10))
    async with Tracker(emitter) as tracker:
        tracked = [
            (await tracker.track(PageView(page_url=f"https://shop.example/{kind}/{i}")), kind)
            for i in range(10_000)
            for kind in ["poison" if i in places else "good"]
        ]
        result = await tracker.flush(30)
        stats = tracker.stats()["http"]
    poison = {event_id for event_id, kind in tracked if kind == "poison"}
    assert (result.delivered, result.rejected, result.pending) == (9_990, 10, 0)
    assert (stats.rejected, stats.state, balance(stats)) == ({"refused": 10}, "ok", 0)
    assert collector.accepted == dict.fromkeys((i for i, kind in tracked if kind == "good"), 1)
    assert {event["eid"] for event in unsent} == poison
    assert all("poison" in event["url"] for event in unsent)
    assert {payload["eid"] for outcome in rejected for payload in outcome.payloads} == poison
    assert {(outcome.reason, outcome.status) for outcome in rejected} == {("refused", status)}
    assert len(collector.requests) <= 10_000 / 50 + 10 * (2 * math.log2(500) + 4)


async def test_a_poison_event_alone_at_a_firewall_stops_none_that_come_later(collector: Collector) -> None:
    """One refused event cannot be told from a wrong address; the next ones show which it is."""
    collector.rule = lambda request: Answer(403 if holds(request, "poison") else 200)
    async with Tracker(emitter_for(collector, drain_timeout=0)) as tracker:
        await track_pages(tracker, 1, path="poison")
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
        ids = await track_pages(tracker, 100)
        await until(lambda: tracker.stats()["http"].delivered == 100)
        assert balance(tracker.stats()["http"]) == 0
    assert collector.accepted == dict.fromkeys(ids, 1)


# --- everything is refused


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 410, 406])
async def test_when_everything_is_refused_all_is_kept_until_the_answer_changes(
    collector: Collector, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    collector.rule = always(status)
    async with Tracker(emitter_for(collector)) as tracker:
        with caplog.at_level(logging.INFO, "snowplow_aio"):
            ids = await track_pages(tracker, 1_000)
            await until(lambda: tracker.stats()["http"].state == "misconfigured")
            await collector.requested(len(collector.requests) + 4)
            stats = tracker.stats()["http"]
            assert (stats.pending + stats.leased, stats.rejected, stats.dropped) == (1_000, {}, {})
            assert len(errors(caplog)) == 1
            assert str(status) in errors(caplog)[0]
            collector.rule = always(200)
            await until(lambda: tracker.stats()["http"].delivered == 1_000)
        assert tracker.stats()["http"].state == "ok"
        assert len(errors(caplog)) == 1
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_a_misconfigured_destination_gets_one_event_per_longest_pause(collector: Collector) -> None:
    arrivals: list[float] = []

    def note(_request: Request) -> Answer:
        arrivals.append(asyncio.get_running_loop().time())
        return Answer(404)

    collector.rule = note
    retry = Retry(initial_delay=0.01, max_delay=0.3)
    async with Tracker(emitter_for(collector, retry=retry, drain_timeout=0)) as tracker:
        await track_pages(tracker, 20_000)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
        # Those that were under way when the state began: each batch, and two of its events. And the probes,
        # where tracking has taken longer.
        await until(lambda: tracker.stats()["http"].leased == 0)
        first = len(arrivals)
        assert first <= 16 * 3 + (arrivals[-1] - arrivals[0]) / 0.3
        await collector.requested(first + 4)
        probes = collector.requests[first:]
        assert [len(request.events) for request in probes] == [1] * len(probes)
        gaps = [
            later - sooner for sooner, later in zip(arrivals[first:], arrivals[first + 1 :], strict=False)
        ]
        # The clock of the collector and that of the emitter differ by what the request takes.
        assert min(gaps) >= 0.25
        assert tracker.stats()["http"].pending + tracker.stats()["http"].leased == 20_000


async def test_a_flush_or_a_close_allows_a_misconfigured_destination_one_probe_at_once(
    collector: Collector,
) -> None:
    collector.rule = always(401)
    async with Tracker(HttpEmitter(collector.url, flush_interval=0.01)) as tracker:
        ids = await track_pages(tracker, 10)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
        seen = len(collector.requests)
        flushing = asyncio.create_task(tracker.flush(0.5))
        await collector.requested(seen + 1)
        assert (await flushing).pending == 10
        assert len(collector.requests) == seen + 1
        collector.rule = always(200)
        # So does a close.
        assert (await tracker.aclose(30)).delivered == 10
    assert collector.accepted == dict.fromkeys(ids, 1)


# The product of three statuses and two loads; in a short run, one load for each status.
@pytest.mark.parametrize(
    ("connections", "count", "status"),
    [
        (1, 1_000, 400),
        (16, 10_000, 413),
        (1, 1_000, 422),
        *scale([], [(16, 10_000, 400), (1, 1_000, 413), (16, 10_000, 422)]),
    ],
)
async def test_when_every_event_is_called_bad_few_are_burnt(
    collector: Collector, connections: int, count: int, status: int
) -> None:
    collector.rule = always(status)
    async with Tracker(emitter_for(collector, max_connections=connections)) as tracker:
        ids = await track_pages(tracker, count)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
        await collector.requested(len(collector.requests) + 3)
        stats = tracker.stats()["http"]
        burnt = sum(stats.rejected.values())
        # Twenty, and what the other connections had on its way.
        assert burnt <= 20 + connections - 1
        assert (stats.pending + stats.leased, stats.dropped) == (count - burnt, {})
        collector.rule = always(200)
        await until(lambda: tracker.stats()["http"].delivered == count - burnt)
        assert tracker.stats()["http"].state == "ok"
    assert len(collector.accepted.keys() & set(ids)) == collector.accepted.total() == count - burnt


@pytest.mark.parametrize("status", [400, 403])
async def test_even_many_poison_events_in_a_row_stop_none_of_the_others_for_good(
    collector: Collector, status: int
) -> None:
    collector.rule = lambda request: Answer(status if holds(request, "poison") else 200)
    async with Tracker(emitter_for(collector, drain_timeout=0)) as tracker:
        await track_pages(tracker, 60, path="poison")
        ids = await track_pages(tracker, 60)
        await until(lambda: tracker.stats()["http"].delivered == 60)
        assert balance(tracker.stats()["http"]) == 0
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_a_status_that_the_application_calls_passing_is_no_misconfiguration(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answer_next(*[404] * 5)
    retry = Retry(initial_delay=0.01, max_delay=PROBE_SECONDS, retry_codes={404: True})
    async with Tracker(emitter_for(collector, retry=retry)) as tracker:
        ids = await track_pages(tracker, 10)
        assert (await tracker.flush(30)).delivered == 10
        assert tracker.stats()["http"].retries == {"status 404": 5}
    assert collector.accepted == dict.fromkeys(ids, 1)
    assert errors(caplog) == []


# --- sizes


async def test_an_event_too_long_for_a_get_travels_by_post(collector: Collector) -> None:
    """The collector's own limit is known beforehand; that of a proxy is learnt from its answer."""
    collector.rule = lambda request: Answer(414 if len(request.target) > 4_000 else 200)
    async with Tracker(emitter_for(collector, method="get")) as tracker:
        ids = [await tracker.track(SelfDescribingJson(LARGE, {"t": "x" * n})) for n in (100, 5_000, 25_000)]
        result = await tracker.flush(30)
    assert (result.delivered, result.rejected) == (3, 0)
    assert collector.accepted == dict.fromkeys(ids, 1)
    by_size = sorted(collector.requests, key=lambda request: len(request.target) + len(request.body))
    assert [request.method for request in by_size if request.method == "POST"] == ["POST", "POST"]
    assert len(collector.requests) == 4


async def test_an_event_above_the_limit_is_refused_at_the_call_and_the_others_go_on(
    collector: Collector,
) -> None:
    async with Tracker(emitter_for(collector), encode_base64=False) as tracker:
        ids = await track_pages(tracker, 1)
        with pytest.raises(InvalidEventError, match="at most"):
            await tracker.track(SelfDescribingJson(LARGE, {"t": "x" * 1_000_001}))
        ids += [await tracker.track(SelfDescribingJson(LARGE, {"t": "x" * 980_000}))]
        ids += await track_pages(tracker, 1)
        assert (await tracker.flush(30)).delivered == 3
        assert tracker.stats()["http"].accepted == 3
    assert collector.accepted == dict.fromkeys(ids, 1)


# --- no connection


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as held:
        yield held


@contextmanager
def names(addresses: dict[str, str]) -> Generator[None, None, None]:
    """Stand in for the name service, which then knows *addresses* only."""
    look_up = socket.getaddrinfo

    def answer(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in {"127.0.0.1", *addresses}:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(addresses.get(host, host), *args, **kwargs)

    with mock.patch("socket.getaddrinfo", answer):
        yield


async def test_a_name_that_is_not_found_is_tried_until_it_is(collector: Collector) -> None:
    known: dict[str, str] = {}
    url = collector.url.replace("127.0.0.1", "nonexistent.invalid")
    with names(known):
        async with Tracker(emitter_for(url)) as tracker:
            ids = await track_pages(tracker, 10)
            await until(lambda: sum(tracker.stats()["http"].retries.values()) >= 3)
            assert tracker.stats()["http"].state == "backing_off"
            known["nonexistent.invalid"] = "127.0.0.1"
            assert (await tracker.flush(30)).delivered == 10
    assert collector.accepted == dict.fromkeys(ids, 1)


async def test_a_port_that_refuses_is_tried_until_it_answers(port: int) -> None:
    async with Tracker(emitter_for(f"http://127.0.0.1:{port}")) as tracker:
        ids = await track_pages(tracker, 10)
        await until(lambda: sum(tracker.stats()["http"].retries.values()) >= 3)
        assert tracker.stats()["http"].state == "backing_off"
        async with running_collector(port=port) as collector:
            assert (await tracker.flush(30)).delivered == 10
            await tracker.aclose()
        assert collector.accepted == dict.fromkeys(ids, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only here a full backlog swallows what connects")
async def test_a_connection_that_is_never_made_is_given_up_and_tried_again(port: int) -> None:
    with socket.socket() as hole, socket.socket() as only, socket.socket() as more:
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind(("127.0.0.1", port))
        hole.listen(0)
        only.connect(("127.0.0.1", port))
        more.setblocking(False)
        more.connect_ex(("127.0.0.1", port))
        tracker = Tracker(emitter_for(f"http://127.0.0.1:{port}", request_timeout=1.5))
        ids = await track_pages(tracker, 10)
        await until(lambda: sum(tracker.stats()["http"].retries.values()) >= 2)
        assert tracker.stats()["http"].delivered == 0
    async with running_collector(port=port) as collector:
        assert (await tracker.flush(30)).delivered == 10
        await tracker.aclose()
    assert collector.accepted == dict.fromkeys(ids, 1)


def tls(ca: trustme.CA, name: str = "127.0.0.1", **life: Any) -> tuple[SSLContext, SSLContext]:
    """Return the context of a client that trusts *ca*, and of a server that *ca* has certified as *name*."""
    client, server = create_default_context(), SSLContext(PROTOCOL_TLS_SERVER)
    ca.configure_trust(client)
    ca.issue_cert(name, **life).configure_cert(server)
    return client, server


async def garbage(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x15\x03 this is no handshake\r\n\r\n" * 10)
    writer.close()


async def test_what_answers_a_handshake_with_garbage_is_tried_until_it_speaks_tls(port: int) -> None:
    client, server_side = tls(trustme.CA())
    tracker = Tracker(emitter_for(f"https://127.0.0.1:{port}", ssl=client))
    async with await asyncio.start_server(garbage, "127.0.0.1", port):
        ids = await track_pages(tracker, 10)
        await until(lambda: sum(tracker.stats()["http"].retries.values()) >= 3)
        assert tracker.stats()["http"].state == "backing_off"
    async with running_collector(port=port, ssl=server_side) as collector:
        assert (await tracker.flush(30)).delivered == 10
        await tracker.aclose()
    assert collector.accepted == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("fault", ["unknown issuer", "other host", "expired"])
async def test_a_certificate_that_is_not_trusted_is_said_once_and_nothing_is_lost(
    fault: str, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    ca = trustme.CA()
    client, right = tls(ca)
    wrong = {
        "unknown issuer": lambda: tls(trustme.CA())[1],
        "other host": lambda: tls(ca, "other.example")[1],
        "expired": lambda: tls(ca, not_after=datetime(2001, 1, 1, tzinfo=UTC))[1],
    }[fault]()
    states: list[str] = []

    def note(_outcome: object) -> None:
        states.append(emitter.stats().state)

    emitter = emitter_for(f"https://127.0.0.1:{port}", ssl=client, hooks=[note])
    tracker = Tracker(emitter)
    async with running_collector(port=port, ssl=wrong) as collector:
        ids = await track_pages(tracker, 10)
        await until(lambda: tracker.stats()["http"].requests >= 4)
        # The first attempt is enough to know.
        assert states[0] == "misconfigured"
        stats = tracker.stats()["http"]
        assert stats.state == "misconfigured"
        assert (stats.pending + stats.leased, stats.rejected, stats.dropped) == (10, {}, {})
        assert collector.requests == []
        assert len(errors(caplog)) == 1
    async with running_collector(port=port, ssl=right) as collector:
        await until(lambda: tracker.stats()["http"].delivered == 10)
        assert tracker.stats()["http"].state == "ok"
        await tracker.aclose()
    assert collector.accepted == dict.fromkeys(ids, 1)
    assert len(errors(caplog)) == 1
