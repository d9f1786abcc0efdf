"""A session of the application's is used for what it is, and not as if it were ours."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import trustme

from snowplow_aio import HttpEmitter, PageView, Retry, Tracker
from tests.collector import OK, Answer, Collector, collector_in_a_thread, running_collector
from tests.faults.test_answers import tls
from tests.waiting import until

pytestmark = pytest.mark.anyio

PAGE = PageView(page_url="https://shop.example/")

MakeSession = Callable[..., aiohttp.ClientSession]


@pytest.fixture
async def make_session() -> AsyncIterator[MakeSession]:
    made: list[aiohttp.ClientSession] = []

    def make(**options: Any) -> aiohttp.ClientSession:
        made.append(aiohttp.ClientSession(**options))
        return made[-1]

    yield make
    for session in made:
        await session.close()


def quick(url: str, session: aiohttp.ClientSession, **options: Any) -> HttpEmitter:
    policy = Retry(initial_delay=0.01, max_delay=0.05)
    return HttpEmitter(url, session=session, retry=policy, flush_interval=0.01, drain_timeout=0, **options)


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("raises", [True, "a function"])
async def test_statuses_mean_the_same_in_a_session_that_raises_for_them(
    collector: Collector, make_session: MakeSession, raises: bool | str
) -> None:
    async def complain(answer: aiohttp.ClientResponse) -> None:
        answer.raise_for_status()

    session = make_session(raise_for_status=complain if raises == "a function" else True)
    async with Tracker(quick(collector.url, session)) as tracker:
        collector.answer_next(400)
        await tracker.track(PAGE)
        assert (await tracker.flush(10)).rejected == 1
        collector.answer_next(Answer(503, headers={"Retry-After": "0.2"}))
        await tracker.track(PAGE)
        assert (await tracker.flush(10)).delivered == 1
        assert tracker.stats()["http"].retries == {"status 503": 1}
        collector.rule = lambda _request: Answer(401)
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
    first, second = (request.at for request in collector.requests[1:3])
    assert second - first >= 0.19


async def test_its_own_traces_find_what_they_expect(collector: Collector, make_session: MakeSession) -> None:
    seen: list[object] = []

    class Context(SimpleNamespace):
        """A context that is made for each request, and needs a mapping or nothing."""

        def __init__(self, trace_request_ctx: dict[str, str] | None = None) -> None:
            super().__init__(**(trace_request_ctx or {}))
            seen.append(trace_request_ctx)

    trace = aiohttp.TraceConfig(trace_config_ctx_factory=Context)

    async def end(_session: Any, context: Any, _params: Any) -> None:
        seen.append(type(context))

    trace.on_request_end.append(end)
    async with Tracker(quick(collector.url, make_session(trace_configs=[trace]))) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(10)).delivered == 1
    assert seen == [None, Context]


async def test_a_closed_session_is_said_once_and_the_events_are_kept(
    collector: Collector, make_session: MakeSession, caplog: pytest.LogCaptureFixture
) -> None:
    session = make_session()
    await session.close()
    async with Tracker(quick(collector.url, session)) as tracker:
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
        await until(lambda: tracker.stats()["http"].requests >= 4)
        assert "the session that was passed in is closed" in tracker.health().summary
        stats = tracker.stats()["http"]
        assert stats.pending + stats.leased == 1
    assert len(errors(caplog)) == 1
    assert errors(caplog)[0].exc_info is None


async def test_a_session_that_closes_meanwhile_is_said_too(
    collector: Collector, make_session: MakeSession
) -> None:
    session = make_session()
    async with Tracker(quick(collector.url, session)) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(10)).delivered == 1
        await session.close()
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")


def test_a_session_of_a_loop_that_is_gone_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Each `asyncio.run` has a loop of its own; the session belongs to the first one."""

    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def deliver(url: str) -> str:
        async with Tracker(quick(url, session)) as tracker:
            await tracker.track(PAGE)
            await until(lambda: tracker.stats()["http"].state == "misconfigured")
            return tracker.health().summary

    with collector_in_a_thread() as collector, asyncio.Runner() as runner:
        session = runner.run(make())
        assert "the session that was passed in belongs to another event loop" in asyncio.run(
            deliver(collector.url)
        )
        runner.run(session.close())
    assert len(errors(caplog)) == 1


async def test_a_session_of_another_thread_is_not_touched(collector: Collector) -> None:
    """The other loop runs meanwhile; whoever used its session from here would break it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(make(), loop))
    try:
        async with Tracker(quick(collector.url, session)) as tracker:
            await tracker.track(PAGE)
            await until(lambda: tracker.stats()["http"].state == "misconfigured")
            assert "belongs to another event loop" in tracker.health().summary
        assert collector.connections == 0
    finally:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(session.close(), loop))
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


async def test_a_cookie_of_the_collector_is_not_kept_in_its_jar(
    collector: Collector, make_session: MakeSession
) -> None:
    """A cookie that is kept would give all users one network user id."""
    cookies = {"Set-Cookie": "sp=8c7d; Path=/; Max-Age=31536000"}
    collector.rule = lambda _request: Answer(200, headers=cookies)
    session = make_session(cookie_jar=aiohttp.CookieJar(unsafe=True), cookies={"gateway": "open"})
    async with Tracker(quick(collector.url, session)) as tracker:
        for _ in range(3):
            await tracker.track(PAGE)
            assert (await tracker.flush(10)).delivered == 1
    # The application's own stay.
    assert [request.headers["cookie"] for request in collector.requests] == ["gateway=open"] * 3
    assert {cookie.key for cookie in session.cookie_jar} == {"gateway"}


async def test_its_time_outs_are_its_own(collector: Collector, make_session: MakeSession) -> None:
    collector.rule = lambda _request: Answer(200, delay=0.3)
    session = make_session(timeout=aiohttp.ClientTimeout(total=0.05, sock_read=0.05))
    async with Tracker(quick(collector.url, session)) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(10)).delivered == 1
        assert tracker.stats()["http"].retries == {}


async def test_a_redirect_is_not_followed_in_it(collector: Collector, make_session: MakeSession) -> None:
    collector.rule = lambda request: (
        OK if "elsewhere" in request.target else Answer(302, {"Location": "/elsewhere"})
    )
    async with Tracker(quick(collector.url, make_session())) as tracker:
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
        assert tracker.stats()["http"].delivered == 0


# Earlier versions of aiohttp take no other address in a session with a base.
BASES: dict[str, dict[str, Any]] = {"plain": {}}
if hasattr(aiohttp, "ClientMiddlewareType"):
    BASES["base URL"] = {"base_url": "http://elsewhere.invalid/"}


@pytest.mark.parametrize("options", BASES.values(), ids=BASES.keys())
async def test_its_headers_are_sent_and_its_base_is_not_the_collectors(
    collector: Collector, make_session: MakeSession, options: dict[str, Any]
) -> None:
    session = make_session(headers={"X-Own": "1", "Content-Type": "text/plain"}, **options)
    async with Tracker(quick(collector.url, session)) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(10)).delivered == 1
    assert collector.requests[0].headers["x-own"] == "1"
    assert collector.requests[0].headers["content-type"].startswith("application/json")


async def test_the_tls_of_its_connector_is_used(make_session: MakeSession) -> None:
    client, server = tls(trustme.CA())
    session = make_session(connector=aiohttp.TCPConnector(ssl=client))
    async with running_collector(ssl=server) as collector, Tracker(quick(collector.url, session)) as tracker:
        await tracker.track(PAGE)
        assert (await tracker.flush(10)).delivered == 1


async def test_what_its_own_code_raises_is_said_and_not_repeated_in_a_storm(
    collector: Collector, make_session: MakeSession, caplog: pytest.LogCaptureFixture
) -> None:
    trace = aiohttp.TraceConfig()

    async def fail(*_: Any) -> None:
        raise LookupError("no tenant in context")

    trace.on_request_start.append(fail)
    async with Tracker(quick(collector.url, make_session(trace_configs=[trace]))) as tracker:
        await tracker.track(PAGE)
        await until(lambda: tracker.stats()["http"].state == "misconfigured")
        await until(lambda: tracker.stats()["http"].requests >= 4)
        assert "LookupError: the session that was passed in raised: no tenant in context" in str(
            tracker.health()
        )
    assert [record.exc_info for record in errors(caplog)] == [None]


async def test_a_session_with_the_name_of_one_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^session: must be an aiohttp.ClientSession or None, got namespace"
    ):
        HttpEmitter("h", session=SimpleNamespace(close=None))  # type: ignore[arg-type]


async def test_it_stays_open_and_nothing_is_said_at_the_end(
    collector: Collector, make_session: MakeSession
) -> None:
    session = make_session()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Tracker(quick(collector.url, session)) as tracker:
            await tracker.track(PAGE)
        async with session.post(collector.url, data=b'{"data": []}') as answer:
            assert answer.status == 200
