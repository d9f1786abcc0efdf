"""Entities that go with many events, and functions that make them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from snowplow_aio import (
    CLEAR,
    AddToCart,
    EcommerceTransaction,
    HttpEmitter,
    InvalidEventError,
    LinkClick,
    MemoryEmitter,
    PagePing,
    PageView,
    ScreenView,
    SelfDescribingJson,
    StructuredEvent,
    Subject,
    Tracker,
    use_context,
    use_subject,
)
from snowplow_aio.entities.application import Application
from snowplow_aio.entities.web_page import WebPage
from snowplow_aio.micro import Micro
from snowplow_aio.tracking.draft import Draft
from snowplow_aio.tracking.enricher_chain import EnricherChain
from snowplow_aio.tracking.event_id import new_event_id
from snowplow_aio.tracking.global_contexts import GlobalContext
from snowplow_aio.tracking.payload_builder import PayloadBuilder
from tests.tracking.enriching import (
    FREE,
    PAGE,
    PAGE_VIEWS,
    PRO,
    Plan,
    Saved,
    chain,
    entities_of,
    plans,
    tracker_to,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def kept() -> MemoryEmitter:
    return MemoryEmitter()


async def track_in_every_way(tracker: Tracker) -> int:
    """Track an event in each way that there is; return how many events that are."""
    await tracker.track(PAGE)
    await tracker.track_screen_view("a").track(PAGE).track_struct_event("shop", "look")
    tracker.track_nowait(PAGE)
    await asyncio.to_thread(tracker.track_nowait, PAGE)
    await tracker.track_and_confirm(PAGE, timeout=30)
    return 7


async def test_an_entity_goes_with_every_event(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept).add_global_context(PRO)
    count = await track_in_every_way(tracker)
    assert plans(kept.payloads) == [["pro"]] * count


async def test_those_of_the_call_come_first_then_the_tasks_then_the_trackers(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept).add_global_context([PRO, FREE]).add_global_context(lambda _: Plan(name="made"))
    with use_context(Plan(name="bound")), use_context([Plan(name="bound inside")]):
        await tracker.track(PAGE, context=[Plan(name="own")])
    await tracker.track(PAGE, context=[])
    assert plans(kept.payloads) == [
        ["own", "bound", "bound inside", "pro", "free", "made"],
        ["pro", "free", "made"],
    ]


async def test_a_function_may_return_one_entity_several_or_none(kept: MemoryEmitter) -> None:
    results: list[Any] = [
        PRO,
        [PRO, FREE],
        (FREE,),
        [],
        None,
        SelfDescribingJson(Plan.schema_uri, {"name": "x"}),
    ]
    tracker = tracker_to(kept).add_global_context(lambda _: results[len(kept.payloads)])
    for _ in results:
        await tracker.track(PAGE)
    assert plans(kept.payloads) == [["pro"], ["pro", "free"], ["free"], [], [], ["x"]]


async def test_a_function_sees_the_event_and_whom_it_is_about(kept: MemoryEmitter) -> None:
    seen: list[Draft] = []
    tracker = tracker_to(kept, subject=Subject(user_id="ada", lang="en", useragent="x")).add_global_context(
        seen.append
    )
    with use_subject(lang="de", useragent=CLEAR):
        event_id = await tracker.track(PAGE, context=[PRO], subject=Subject(timezone="UTC"), anonymous=True)
    (draft,) = seen
    assert draft.event is PAGE
    assert draft.context == (PRO,)
    assert (draft.subject.user_id, draft.subject.lang, draft.subject.timezone) == ("ada", "de", "UTC")
    assert draft.subject.useragent is None
    assert draft.anonymous
    assert draft.event_id == event_id


@pytest.mark.parametrize(
    ("event", "uri"),
    [
        (PAGE, "iglu:com.snowplowanalytics.snowplow/page_view/jsonschema/1-0-0"),
        (PagePing(page_url="u"), "iglu:com.snowplowanalytics.snowplow/page_ping/jsonschema/1-0-0"),
        (StructuredEvent(category="c", action="a"), "iglu:com.google.analytics/event/jsonschema/1-0-0"),
        (LinkClick(target_url="u"), "iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1"),
        (Saved(level=2), "iglu:com.acme/saved/jsonschema/1-0-0"),
        (SelfDescribingJson("iglu:com.acme/x/jsonschema/2-0-0", {}), "iglu:com.acme/x/jsonschema/2-0-0"),
    ],
)
async def test_the_schema_of_an_event_is_what_the_pipeline_says_it_is(event: Any, uri: str) -> None:
    seen: list[str] = []
    async with Micro(schemas=[Saved]) as collector:
        async with Tracker(HttpEmitter(collector.url), app_id="shop") as tracker:
            tracker.add_global_context(lambda draft: seen.append(draft.schema))
            await tracker.track(event)
        stored = [good["event"] for good in collector.good]
    assert seen == [uri]
    for columns in stored:
        vendor, name, version = (columns[f"event_{part}"] for part in ("vendor", "name", "version"))
        assert f"iglu:{vendor}/{name}/jsonschema/{version}" == uri


async def test_rules_say_which_events_it_is_for(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept)
    tracker.add_global_context(PRO, include=[PAGE_VIEWS, "iglu:com.acme/*/jsonschema/*-*-*"])
    tracker.add_global_context(FREE, exclude=PAGE_VIEWS)
    for event in (PAGE, Saved(), ScreenView(name="a")):
        await tracker.track(event)
    with use_context(Plan(name="bound"), include=PAGE_VIEWS):
        await chain(tracker).track(PAGE).track(Saved())
    assert plans(kept.payloads) == [
        ["pro"],
        ["pro", "free"],
        ["free"],
        ["pro", "bound"][::-1],
        ["pro", "free"],
    ]


async def test_a_transaction_and_its_items_are_events_of_their_own(kept: MemoryEmitter) -> None:
    item = {"sku": "a", "price": 1, "quantity": 1}
    order = EcommerceTransaction(order_id="o", total_value=2, items=[item, {**item, "context": [FREE]}])
    tracker = tracker_to(kept)
    tracker.add_global_context(
        PRO, include="iglu:com.snowplowanalytics.snowplow/transaction_item/jsonschema/*-*-*"
    )
    tracker.add_global_context(lambda draft: Plan(name=draft.event_id))
    event_id = await tracker.track(order, tstamp=1_700_000_000_005)
    ids = [payload["eid"] for payload in kept.payloads]
    assert [payload["e"] for payload in kept.payloads] == ["tr", "ti", "ti"]
    assert plans(kept.payloads) == [[ids[0]], ["pro", ids[1]], ["free", "pro", ids[2]]]
    assert ids[0] == event_id
    assert len(set(ids)) == 3
    assert {payload["dtm"] for payload in kept.payloads} == {"1700000000005"}


async def test_what_is_bound_is_seen_by_this_task_and_its_children_only(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept)

    async def visit(number: int) -> None:
        with use_context(Plan(name=f"plan {number}")):
            await asyncio.sleep(0)
            await asyncio.create_task(tracker.track(PageView(page_url=f"https://shop.example/{number}")))
            await asyncio.to_thread(tracker.track_nowait, PageView(page_url=f"https://shop.example/{number}"))

    await asyncio.gather(*(visit(number) for number in range(50)))
    await tracker.track(PAGE)
    numbers = [payload["url"].rpartition("/")[2] for payload in kept.payloads]
    assert plans(kept.payloads[:-1]) == [[f"plan {number}"] for number in numbers[:-1]]
    assert plans(kept.payloads[-1:]) == [[]]


async def test_what_is_bound_goes_with_the_events_of_every_tracker(kept: MemoryEmitter) -> None:
    other = MemoryEmitter()
    with use_context(PRO):
        await tracker_to(kept).track(PAGE)
        await tracker_to(other).track(PAGE)
    assert plans(kept.payloads) == plans(other.payloads) == [["pro"]]


# --- async


class Answers:
    """An object whose call is a coroutine."""

    async def __call__(self, _draft: Draft) -> Plan:
        return PRO


async def soon(_draft: Draft) -> Plan:
    await asyncio.sleep(0)
    return PRO


async def soon_after(plan: Plan, _draft: Draft) -> Plan:
    await asyncio.sleep(0)
    return plan


@pytest.mark.parametrize(
    "function", [soon, Answers(), partial(soon_after, PRO)], ids=["function", "object", "partial"]
)
async def test_a_coroutine_function_is_called_when_the_event_is_awaited(
    kept: MemoryEmitter, function: Any
) -> None:
    tracker = tracker_to(kept).add_global_context(function).add_global_context(FREE)
    tracking: Any = tracker.track(PAGE)
    last = await tracking.track(Saved(), event_id="5CEA9899-10DF-4CCF-BF66-8C36F4A4BBA2")
    await tracker.track_and_confirm(PAGE, timeout=30)
    assert plans(kept.payloads) == [["pro", "free"]] * 3
    assert tracking.event_id == last == kept.payloads[1]["eid"] == "5cea9899-10df-4ccf-bf66-8c36f4a4bba2"


async def test_what_changes_before_the_event_is_awaited_does_not_reach_it(kept: MemoryEmitter) -> None:
    times = iter(range(1_000_000, 9_000_000, 1_000_000))
    tracker = tracker_to(kept, subject=Subject(user_id="first"), clock=lambda: next(times))
    tracker.add_global_context(soon)
    with use_subject(lang="en"), use_context(FREE):
        tracking: Any = tracker.track(PAGE)
        tracking.track(PAGE)
    tracker.subject.set_user_id("second")
    tracker.add_global_context(Plan(name="later"))
    with use_subject(lang="de"):
        await tracking
    assert [(event["uid"], event["lang"], event["dtm"]) for event in kept.payloads] == [
        ("first", "en", "1"),
        ("first", "en", "2"),
    ]
    assert plans(kept.payloads) == [["free", "pro"]] * 2


async def test_a_wrong_event_raises_at_the_call_all_the_same(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept).add_global_context(soon)
    with pytest.raises(InvalidEventError, match=r"^event\.data\.tags: must not be a set"):
        tracker.track(SelfDescribingJson(Saved.schema_uri, {"tags": {"a"}}))  # type: ignore[unused-coroutine]
    with pytest.raises(InvalidEventError, match=r"^context: must be a list of entities, or None"):
        tracker.track(PAGE, context=PRO)  # type: ignore[arg-type, unused-coroutine] # pyright: ignore[reportArgumentType]
    assert kept.payloads == []


async def test_what_cannot_wait_says_so_at_the_call(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept).add_global_context(soon, include=PAGE_VIEWS)
    with pytest.raises(
        InvalidEventError, match=r"^event: must be awaited, .*; use track or track_and_confirm"
    ):
        tracker.track_nowait(PAGE)
    with pytest.raises(InvalidEventError, match="must be awaited"):
        await asyncio.to_thread(tracker.track_nowait, PAGE)
    tracker.track_nowait(Saved())
    assert len(kept.payloads) == 1


async def test_a_tracked_event_that_is_never_awaited_warns_once(kept: MemoryEmitter) -> None:
    def forget() -> None:
        tracking: Any = tracker_to(kept).add_global_context(soon).track(PAGE)
        tracking.track(PAGE)
        gc.collect()

    # What other tests have left warns before.
    gc.collect()
    with pytest.warns(RuntimeWarning, match="coroutine 'Tracker.track' was never awaited") as warned:
        forget()
    assert sum("Tracker.track" in str(warning.message) for warning in warned) == 1


async def test_the_cancellation_of_the_caller_is_no_fault(kept: MemoryEmitter) -> None:
    asked = asyncio.Event()

    async def never(_draft: Draft) -> None:
        asked.set()
        await asyncio.Event().wait()

    tracker = tracker_to(kept).add_global_context(never)
    task = asyncio.create_task(tracker.track(PAGE))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tracker.enrichment_stats().faults == {}
    assert kept.payloads == []


# --- faults


def divides(_draft: Draft) -> Any:
    return 1 / 0


async def divides_later(_draft: Draft) -> Any:
    return 1 / 0


def cancels(_draft: Draft) -> Any:
    raise asyncio.CancelledError


async def cancels_later(_draft: Draft) -> Any:
    raise asyncio.CancelledError


def says(result: Any) -> Callable[[Draft], Any]:
    def function(_draft: Draft) -> Any:
        return result

    return function


def forgets_to_await(draft: Draft) -> Any:
    return soon(draft)


FAULTY: dict[str, Any] = {
    "raises": divides,
    "raises later": divides_later,
    "is cancelled": cancels,
    "is cancelled later": cancels_later,
    "returns a dict": says({"schema": Plan.schema_uri, "data": {}}),
    "returns a list with a stranger": says([PRO, "pro"]),
    "returns text": says("pro"),
    "returns a coroutine": forgets_to_await,
    "returns what is no JSON": says(SelfDescribingJson(Plan.schema_uri, {"name": {"pro"}})),
    "returns what is too large": says([PRO, SelfDescribingJson(Plan.schema_uri, {"name": "x" * 10**6})]),
    "returns a class without a schema": says(type("Nameless", (type(PRO).__mro__[1],), {})()),
}


@pytest.mark.parametrize("kind", FAULTY)
async def test_a_fault_is_counted_and_costs_its_own_entities_only(
    kept: MemoryEmitter, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    function = FAULTY[kind]
    tracker = tracker_to(kept).add_global_context(PRO).add_global_context(function).add_global_context(FREE)
    for _ in range(3):
        await tracker.track(PAGE)
    assert plans(kept.payloads) == [["pro", "free"]] * 3
    stats = tracker.enrichment_stats()
    assert stats.faults == {function.__qualname__: 3}
    assert (stats.filtered, stats.lost) == (0, 0)
    (record,) = (record for record in caplog.records if record.levelno > logging.DEBUG)
    assert record.levelno == logging.ERROR
    assert function.__qualname__ in record.message
    assert "the event goes on without it" in record.message
    assert "ada@example.com" not in caplog.text


async def test_a_function_that_does_not_answer_is_not_waited_for_any_longer() -> None:
    async def never(_draft: Draft) -> None:
        await asyncio.Event().wait()

    builder = PayloadBuilder(
        {"tv": "test", "p": "pc"},
        Subject(),
        encode_base64=False,
        json_default=None,
        is_anonymous=False,
        clock=time.time_ns,
        new_id=new_event_id,
    )
    chain = EnricherChain(builder, function_timeout=0.01)
    chain.add_context(GlobalContext(never))
    chain.add_context(GlobalContext(FREE))
    call = builder.resolve(PAGE, None, None, None, None, None, None)
    assert plans(await chain.run(call).later()) == [["free"]]
    assert list(chain.stats().faults.values()) == [1]


def test_a_function_has_one_second_to_answer() -> None:
    assert inspect.signature(EnricherChain).parameters["function_timeout"].default == 1.0


async def test_what_the_caller_did_wrong_is_the_callers_error(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept).add_global_context(PRO).add_global_context(lambda _: FREE)
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ({"e": "pv"}, {}, r"^event: must be an event"),
        (SelfDescribingJson(Saved.schema_uri, {"at": {1}}), {}, r"^event\.data\.at: must not be a set"),
        (PAGE, {"context": [PRO, {}]}, r"^context\[1\]: must be a SelfDescribingJson or"),
        (PAGE, {"context": "pro"}, r"^context: must be a list"),
        (PAGE, {"tstamp": "now"}, r"^tstamp: must be milliseconds"),
        (PAGE, {"event_id": "42"}, r"^event_id: must be a UUID"),
        (PAGE, {"subject": "ada"}, r"^subject: must be a Subject"),
    ]
    for event, metadata, message in wrong:
        with pytest.raises(InvalidEventError, match=message):
            await tracker.track(event, **metadata)
        with use_context(PRO), pytest.raises(InvalidEventError, match=message):
            tracker_to(kept).track_nowait(event, **metadata)
    assert kept.payloads == []
    assert tracker.enrichment_stats().faults == {}


def test_entities_that_cannot_be_sent_are_refused_when_they_are_added(kept: MemoryEmitter) -> None:
    with pytest.raises(InvalidEventError, match=r"^context\[0\]\.data\.name: must not be a set"):
        tracker_to(kept).add_global_context(SelfDescribingJson(Plan.schema_uri, {"name": {1}}))


async def test_an_entity_that_was_spoilt_later_costs_no_event(kept: MemoryEmitter) -> None:
    data: dict[str, Any] = {"name": "pro"}
    tracker = tracker_to(kept).add_global_context(SelfDescribingJson(Plan.schema_uri, data))
    data["name"] = {1}
    await tracker.track(PAGE)
    assert plans(kept.payloads) == [[]]
    assert tracker.enrichment_stats().faults == {"SelfDescribingJson": 1}


async def test_a_function_may_not_track_with_its_own_tracker(kept: MemoryEmitter) -> None:
    other = MemoryEmitter()
    tracker, tasks = tracker_to(kept), list[asyncio.Task[str]]()

    async def later() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await tracker.track(Saved())

    async def tracks(_draft: Draft) -> Plan:
        await tracker_to(other).add_global_context(FREE).track(PAGE)
        tasks.append(asyncio.create_task(later()))
        tracker.track_nowait(Saved())
        return PRO

    tracker.add_global_context(tracks, include=PAGE_VIEWS)
    await tracker.track(PAGE)
    # A task that it has left behind is none of its calls.
    await tasks[0]
    assert [payload["e"] for payload in kept.payloads] == ["pv", "ue"]
    assert plans(kept.payloads) == [[], []]
    assert plans(other.payloads) == [["free"]]
    assert list(tracker.enrichment_stats().faults.values()) == [1]


async def test_faults_of_many_threads_are_all_counted(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept).add_global_context(divides)

    def work() -> None:
        for _ in range(50):
            tracker.track_nowait(PAGE)

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(8)))
    assert tracker.enrichment_stats().faults == {"divides": 400}
    assert len(kept.payloads) == 400


class Request:
    """What must not stay alive."""


async def test_nothing_that_was_bound_stays_alive(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept)

    async def handle() -> weakref.ref[Request]:
        request = Request()

        async def plan(_draft: Draft) -> Plan:
            return Plan(name=str(bool(request)))

        def fails(_draft: Draft) -> Plan:
            raise ValueError(request)

        with use_context(plan, fails):
            await tracker.track(PAGE)
        return weakref.ref(request)

    gc.collect()
    kept_alive = await asyncio.create_task(handle())
    gc.collect()
    assert kept_alive() is None
    assert plans(kept.payloads) == [["True"]]


async def test_everything_arrives_and_is_valid() -> None:
    async with Micro(schemas=[Plan, Saved]) as collector:
        async with Tracker(HttpEmitter(collector.url), namespace="test", app_id="shop") as tracker:
            tracker.add_global_context(Application(version="1.1.0")).add_global_context(soon)
            with use_context(WebPage()):
                await chain(tracker).track(PAGE).track(Saved()).track(AddToCart(sku="a", quantity=1))
        assert collector.bad == []
        found = [good["event"]["contexts"]["data"] for good in collector.good]
    assert [[entity["schema"].split("/")[1] for entity in entities] for entities in found] == [
        ["web_page", "application", "plan"]
    ] * 3
    assert len({entities[0]["data"]["id"] for entities in found}) == 1


async def test_a_tracker_without_any_asks_nobody(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept)
    await tracker.track(PAGE)
    stats = tracker.enrichment_stats()
    assert (stats.filtered, stats.lost, stats.faults) == (0, 0, {})
    assert entities_of(kept.payloads[0]) == []
