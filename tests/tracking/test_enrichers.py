"""Functions that events go through: redaction, filters, and what their faults cost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from snowplow_aio import (
    CLEAR,
    EcommerceTransaction,
    HttpEmitter,
    InvalidEventError,
    MemoryEmitter,
    PageView,
    Payload,
    ScreenView,
    SelfDescribingJson,
    Subject,
    Tracker,
    use_context,
    use_subject,
)
from snowplow_aio.entities.user import User
from snowplow_aio.micro import Micro
from snowplow_aio.tracking.draft import Draft, changed
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


def without_query(draft: Draft) -> Draft:
    assert isinstance(draft.event, PageView)
    return draft.replace(event=changed(draft.event, page_url=draft.event.page_url.partition("?")[0]))


def with_hashes(draft: Draft) -> Draft:
    return draft.replace(
        context=[
            changed(entity, email=hashlib.sha256(entity.email.encode()).hexdigest())
            if isinstance(entity, User) and entity.email
            else entity
            for entity in draft.context
        ]
    )


def nobody(draft: Draft) -> Draft:
    draft.subject.set_user_id("nobody").set_ip_address(None)
    return draft


async def test_personal_data_is_gone_before_an_event_is_accepted(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept, subject=Subject(user_id="ada@work", ip_address="198.51.100.7"))
    tracker.add_enricher(without_query, include=PAGE_VIEWS, on_fault="drop").add_enricher(with_hashes)
    tracker.add_enricher(nobody)
    bound = Subject(domain_user_id="d", ip_address="198.51.100.8")
    with use_context(User(id_="u", email="ada@example.com")), use_subject(bound):
        await tracker.track(PAGE, subject=Subject(lang="en"))
    (event,) = kept.payloads
    assert event["url"] == "https://shop.example/shoes"
    assert (event["uid"], event["duid"], event["lang"]) == ("nobody", "d", "en")
    assert "ip" not in event
    assert entities_of(event) == [{"id": "u", "email": hashlib.sha256(b"ada@example.com").hexdigest()}]
    # With the sign: the event's id may have those three letters.
    assert "ada@" not in event.json.decode()
    assert (tracker.subject.user_id, tracker.subject.ip_address) == ("ada@work", "198.51.100.7")
    assert PAGE.page_url.endswith("ada@example.com")


async def test_enrichers_run_in_their_order_after_all_contexts(kept: MemoryEmitter) -> None:
    order: list[str] = []

    def step(name: str) -> Callable[[Draft], Draft]:
        def enricher(draft: Draft) -> Draft:
            order.append(name)
            return draft.replace(context=[*draft.context, Plan(name=name)])

        return enricher

    tracker = tracker_to(kept).add_enricher(step("first")).add_enricher(step("second"))
    tracker.add_global_context(PRO)
    await tracker.track(PAGE, context=[FREE])
    assert order == ["first", "second"]
    assert plans(kept.payloads) == [["free", "pro", "first", "second"]]


async def test_an_event_that_is_filtered_is_tracked_by_nobody(kept: MemoryEmitter) -> None:
    other = MemoryEmitter()
    tracker = tracker_to(kept).add_emitter(other).add_enricher(lambda _: None, include=PAGE_VIEWS)
    assert len(await tracker.track(PAGE)) == 36
    assert len(tracker.track_nowait(PAGE)) == 36
    await tracker.track_and_confirm(PAGE, timeout=30)
    await chain(tracker).track(PAGE).track(Saved()).track(PAGE)
    await asyncio.to_thread(tracker.track_nowait, PAGE)
    assert [[payload["e"] for payload in emitter.payloads] for emitter in (kept, other)] == [["ue"], ["ue"]]
    stats = tracker.enrichment_stats()
    assert (stats.filtered, stats.lost, stats.faults) == (6, 0, {})


async def test_one_item_of_a_transaction_may_be_filtered(kept: MemoryEmitter) -> None:
    def only_cheap(draft: Draft) -> Draft | None:
        return None if getattr(draft.event, "price", 0) > 1 else draft

    items = [{"sku": sku, "price": price, "quantity": 1} for sku, price in (("a", 1), ("b", 2), ("c", 1))]
    tracker = tracker_to(kept).add_enricher(only_cheap)
    await tracker.track(EcommerceTransaction(order_id="o", total_value=4, items=items))
    assert [payload.get("ti_sk") for payload in kept.payloads] == [None, "a", "c"]


async def test_items_cannot_get_past_an_enricher(kept: MemoryEmitter) -> None:
    """What an enricher puts into a transaction is not tracked behind the back of the others."""
    item = {"sku": "secret", "price": 1, "quantity": 1}
    order = EcommerceTransaction(order_id="o", total_value=4, items=[item])

    seen: list[Any] = []

    def with_items(draft: Draft) -> Draft:
        seen.append(getattr(draft.event, "items", ""))
        return draft.replace(event=order)

    tracker = tracker_to(kept).add_enricher(
        with_items, include="iglu:com.snowplowanalytics.snowplow/transaction/jsonschema/*-*-*"
    )
    await tracker.track(order)
    assert [payload["e"] for payload in kept.payloads] == ["tr", "ti"]
    assert seen == [None]
    assert tracker.enrichment_stats().faults == {}


class Asked(MemoryEmitter):
    """Remembers how many events it was asked to take at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    def accept(self, payloads: Sequence[Payload]) -> None:
        self.counts.append(len(payloads))
        super().accept(payloads)

    def accept_nowait(self, payloads: Sequence[Payload]) -> None:
        self.counts.append(len(payloads))
        super().accept_nowait(payloads)


async def test_no_emitter_is_asked_to_take_nothing() -> None:
    tracker = Tracker(asked := Asked()).add_enricher(lambda _: None, include=PAGE_VIEWS)
    await tracker.track(PAGE)
    tracker.track_nowait(PAGE)
    assert asked.counts == []
    await tracker.track(Saved())
    assert set(asked.counts) == {1}


async def test_what_the_caller_did_wrong_is_the_callers_error_and_loses_nothing(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept).add_enricher(lambda draft: draft, on_fault="drop")
    with pytest.raises(InvalidEventError, match=r"^event\.data\.at: must not be a set"):
        await tracker.track(SelfDescribingJson(Saved.schema_uri, {"at": {1}}))
    item = {"sku": "a", "price": 1, "quantity": 1, "context": [{}]}
    order = EcommerceTransaction(order_id="o", total_value=1, items=[item])
    with pytest.raises(InvalidEventError, match=r"^items\[0\]\.context\[0\]: must be a SelfDescribingJson"):
        await tracker.track(order)
    assert tracker.enrichment_stats().lost == 0
    assert kept.payloads == []


async def later_nobody(draft: Draft) -> Draft:
    await asyncio.sleep(0)
    return nobody(draft)


async def test_a_coroutine_function_is_called_when_the_event_is_awaited(kept: MemoryEmitter) -> None:
    tracker = tracker_to(kept, subject=Subject(user_id="ada")).add_enricher(later_nobody)
    await chain(tracker).track(PAGE).track(Saved())
    await tracker.track_and_confirm(PAGE, timeout=30)
    with pytest.raises(InvalidEventError, match="must be awaited"):
        tracker.track_nowait(PAGE)
    assert [event["uid"] for event in kept.payloads] == ["nobody"] * 3


async def test_an_anonymous_event_stays_anonymous(kept: MemoryEmitter) -> None:
    def identifies(draft: Draft) -> Draft:
        draft.subject.set_user_id("ada")
        return Draft(
            event=draft.event,
            context=draft.context,
            subject=draft.subject,
            anonymous=False,
            event_id="5cea9899-10df-4ccf-bf66-8c36f4a4bba2",
        )

    event_id = await tracker_to(kept).add_enricher(identifies).track(PAGE, anonymous=True)
    (event,) = kept.payloads
    assert event.anonymous
    assert "uid" not in event
    assert event["eid"] == event_id


# --- faults


def divides(_draft: Draft) -> Any:
    return 1 / 0


async def divides_later(_draft: Draft) -> Any:
    return 1 / 0


def changes_half(draft: Draft) -> Draft:
    draft.subject.set_user_id("half")
    raise ValueError("ada@example.com")


def returns(make: Callable[[Any], Any]) -> Callable[[Draft], Any]:
    def function(draft: Draft) -> Any:
        return make(draft)

    return function


FAULTY: dict[str, Any] = {
    "raises": divides,
    "raises later": divides_later,
    "raises half way": changes_half,
    "breaks a rule": returns(lambda d: d.replace(event=changed(d.event, page_url="x" * 20_000))),
    "returns an event": returns(lambda d: d.event),
    "returns True": returns(lambda _: True),
    "makes no event of it": returns(lambda d: d.replace(event="pv")),
    "makes a model without a schema of it": returns(lambda d: d.replace(event=type(PRO).__mro__[1]())),
    "makes no JSON of it": returns(
        lambda d: d.replace(event=SelfDescribingJson(Saved.schema_uri, {"at": {1}}))
    ),
    "adds what is no entity": returns(lambda d: d.replace(context=[*d.context, {"name": "pro"}])),
    "adds what is too large": returns(lambda d: d.replace(context=[Plan(name="x" * 10**6)])),
    "makes another subject of it": returns(lambda d: d.replace(subject={"user_id": "ada"})),
    "sets a lone surrogate": returns(
        lambda d: d.replace(event=d.event.model_copy(update={"page_title": "\udcff"}))
    ),
}


@pytest.mark.parametrize("kind", FAULTY)
async def test_a_fault_is_counted_and_leaves_the_event_as_it_was(
    kept: MemoryEmitter, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    function = FAULTY[kind]
    tracker = tracker_to(kept, subject=Subject(lang="en")).add_global_context(PRO)
    tracker.add_enricher(without_query).add_enricher(nobody).add_enricher(function)
    for _ in range(3):
        await tracker.track(PAGE)
    assert [event["url"] for event in kept.payloads] == ["https://shop.example/shoes"] * 3
    assert [(event["uid"], event["lang"]) for event in kept.payloads] == [("nobody", "en")] * 3
    assert plans(kept.payloads) == [["pro"]] * 3
    stats = tracker.enrichment_stats()
    assert stats.faults == {function.__qualname__: 3}
    assert (stats.filtered, stats.lost) == (0, 0)
    (record,) = (record for record in caplog.records if record.levelno > logging.DEBUG)
    assert (record.levelno, "the event goes on without it" in record.message) == (logging.ERROR, True)
    assert "ada@example.com" not in caplog.text


@pytest.mark.parametrize("kind", FAULTY)
async def test_where_it_was_asked_for_a_fault_costs_the_event_and_nothing_of_it_is_sent(
    kept: MemoryEmitter, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    function = FAULTY[kind]
    tracker = tracker_to(kept).add_enricher(function, include=PAGE_VIEWS, on_fault="drop")
    for _ in range(3):
        await chain(tracker).track(PAGE).track(ScreenView(name="a"))
    assert [event["e"] for event in kept.payloads] == ["ue"] * 3
    stats = tracker.enrichment_stats()
    assert stats.faults == {function.__qualname__: 3}
    assert (stats.filtered, stats.lost) == (0, 3)
    (record,) = (record for record in caplog.records if record.levelno > logging.DEBUG)
    assert "the event is not tracked" in record.message


async def test_the_fault_of_one_does_not_undo_the_redaction_of_another(kept: MemoryEmitter) -> None:
    """However the event then is too large or no JSON: what was redacted stays so, and is not lost."""
    for fault in (Plan(name="x" * 10**6), SelfDescribingJson(Plan.schema_uri, {"name": {1}})):
        tracker = tracker_to(kept).add_global_context(lambda _, fault=fault: fault)  # type: ignore[misc]
        tracker.add_enricher(without_query, on_fault="drop")
        await tracker.track(PAGE)
        assert tracker.enrichment_stats().lost == 0
    assert [event["url"] for event in kept.payloads] == ["https://shop.example/shoes"] * 2


async def test_a_redaction_whose_result_cannot_be_sent_is_not_replaced_by_the_original(
    kept: MemoryEmitter,
) -> None:
    def spoils(draft: Draft) -> Draft:
        return without_query(draft).replace(context=[Plan(name="x" * 10**6)])

    tracker = tracker_to(kept).add_enricher(spoils, on_fault="drop")
    await tracker.track(PAGE)
    assert kept.payloads == []
    assert tracker.enrichment_stats().lost == 1


class Calls:
    """Functions of drafts that note each call."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def noted(self, name: str, function: Callable[[Draft], Any]) -> Callable[[Draft], Any]:
        def call(draft: Draft) -> Any:
            self.made.append(name)
            return function(draft)

        call.__qualname__ = name
        return call


NO_JSON = SelfDescribingJson(Plan.schema_uri, {"name": {1}})


async def test_no_function_is_called_twice_for_one_event(kept: MemoryEmitter) -> None:
    calls = Calls()
    tracker = tracker_to(kept)
    for name, entity in (
        ("good", PRO),
        ("no JSON", NO_JSON),
        ("large", Plan(name="x" * 10**6)),
        ("free", FREE),
    ):
        tracker.add_global_context(calls.noted(name, lambda _, entity=entity: entity))  # type: ignore[misc]
    tracker.add_enricher(calls.noted("nobody", nobody))
    tracker.add_enricher(calls.noted("spoils", lambda draft: draft.replace(context=[NO_JSON])))
    tracker.add_enricher(calls.noted("cuts", without_query), on_fault="drop")
    await tracker.track(PAGE)
    assert calls.made == ["good", "no JSON", "large", "free", "nobody", "spoils", "cuts"]
    assert plans(kept.payloads) == [["pro", "free"]]
    assert [(event["uid"], event["url"]) for event in kept.payloads] == [
        ("nobody", "https://shop.example/shoes")
    ]
    stats = tracker.enrichment_stats()
    assert stats.faults == {"no JSON": 1, "large": 1, "spoils": 1}
    assert (stats.filtered, stats.lost) == (0, 0)


async def test_an_enricher_sees_all_that_is_sent_whatever_failed_before_it(kept: MemoryEmitter) -> None:
    """What an enricher spoils is taken back before the next one is called: nothing gets past a redaction."""
    seen: list[Any] = []

    def redacts(draft: Draft) -> Draft:
        seen.append(draft.event)
        return without_query(draft)

    unreadable = SelfDescribingJson(Saved.schema_uri, {"at": {1}})
    tracker = tracker_to(kept).add_enricher(lambda draft: draft.replace(event=unreadable))
    tracker.add_enricher(redacts, on_fault="drop")
    await tracker.track(PAGE)
    assert seen == [PAGE]
    assert [event["url"] for event in kept.payloads] == ["https://shop.example/shoes"]


async def test_the_callers_mistake_is_found_after_one_call_of_each_function(kept: MemoryEmitter) -> None:
    calls = Calls()
    tracker = tracker_to(kept).add_global_context(calls.noted("pro", lambda _: PRO))
    tracker.add_enricher(calls.noted("same", lambda draft: draft), on_fault="drop")
    with pytest.raises(InvalidEventError, match=r"^event\.data\.at: must not be a set"):
        await tracker.track(SelfDescribingJson(Saved.schema_uri, {"at": {1}}))
    assert sorted(calls.made) == sorted(set(calls.made))
    assert tracker.enrichment_stats().faults == {}


@pytest.mark.parametrize("has_context", [False, True])
async def test_an_enricher_may_correct_what_the_caller_did_wrong(
    kept: MemoryEmitter, *, has_context: bool
) -> None:
    def lists(draft: Draft) -> Draft:
        assert isinstance(draft.event, SelfDescribingJson)
        return draft.replace(event=changed(draft.event, level=len(draft.event.data["at"]), at=CLEAR))

    tracker = tracker_to(kept).add_enricher(lists)
    if has_context:
        tracker.add_global_context(PRO)
    await tracker.track(SelfDescribingJson(Saved.schema_uri, {"at": {1, 2}}))
    assert json.loads(kept.payloads[0]["ue_pr"])["data"]["data"] == {"level": 2}
    assert plans(kept.payloads) == [["pro"] if has_context else []]
    assert tracker.enrichment_stats().faults == {}


# --- changed


def test_a_changed_event_is_checked_and_another_one() -> None:
    page = changed(PAGE, page_url="https://shop.example/", page_title="Shoes")
    assert page == PageView(page_url="https://shop.example/", page_title="Shoes")
    assert PAGE.page_title is None
    with pytest.raises(ValidationError, match="page_url"):
        changed(PAGE, page_url="")
    with pytest.raises(ValidationError, match="walrus"):
        changed(PAGE, walrus=1)


def test_a_changed_entity_has_the_fields_that_were_set_and_no_other() -> None:
    user = changed(User(id_="u", email="ada@example.com"), email=CLEAR)
    assert user.model_fields_set == {"id_"}
    assert changed(user, email=None).model_dump(by_alias=True, exclude_unset=True) == {
        "id": "u",
        "email": None,
    }
    with pytest.raises(ValidationError, match="id_"):
        changed(user, id_=CLEAR)


def test_of_plain_data_the_members_are_changed() -> None:
    entity = SelfDescribingJson("iglu:com.acme/x/jsonschema/1-0-0", {"email": "e", "n": 1})
    assert changed(entity, email=CLEAR, m=2) == SelfDescribingJson(entity.schema, {"n": 1, "m": 2})
    assert entity.data == {"email": "e", "n": 1}
    with pytest.raises(
        InvalidEventError, match=r"^data: must be a mapping to be changed by name, got \['a'\]"
    ):
        changed(SelfDescribingJson(entity.schema, ["a"]), a=1)


async def test_what_a_service_redacts_arrives_and_is_valid() -> None:
    def redact(draft: Draft) -> Draft:
        event = draft.event
        if isinstance(event, SelfDescribingJson):
            return draft.replace(event=changed(event, email=CLEAR))
        return with_hashes(draft)

    async with Micro(schemas=[Saved]) as collector:
        async with Tracker(HttpEmitter(collector.url), namespace="test", app_id="shop") as tracker:
            tracker.add_enricher(redact, on_fault="drop")
            await tracker.track(
                SelfDescribingJson(Saved.schema_uri, {"level": 2, "email": "ada@example.com"})
            )
            await tracker.track(PAGE, context=[User(id_="u", email="ada@example.com")])
        assert collector.bad == []
        stored = json.dumps([good["event"]["unstruct_event"] for good in collector.good])
        assert "ada@example.com" not in stored
        assert collector.counts()["good"] == 2
