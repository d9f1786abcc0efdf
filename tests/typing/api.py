"""What users write, as their type checkers see it. Nothing here is run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, assert_type
from uuid import UUID

import redis.asyncio
from pydantic import BaseModel, Field
from redis.asyncio.cluster import RedisCluster

import snowplow_aio.sync
from snowplow_aio import (
    CLEAR,
    AddToCart,
    ConsoleEmitter,
    Delivered,
    DeviceTimestamp,
    Dropped,
    EcommerceTransaction,
    EcommerceTransactionItem,
    Emitter,
    EmitterStats,
    FlushResult,
    FormChange,
    FormElement,
    FormSubmit,
    HttpEmitter,
    LinkClick,
    MemoryEmitter,
    MemoryStore,
    MobileScreenView,
    Overflow,
    PagePing,
    PageView,
    Payload,
    RedisEmitter,
    Rejected,
    RemoveFromCart,
    Retried,
    Retry,
    SchemaKey,
    ScreenView,
    SelfDescribing,
    SelfDescribingJson,
    SiteSearch,
    StructuredEvent,
    Subject,
    Tracker,
    TrueTimestamp,
    current_subject,
    track_once,
    use_context,
    use_subject,
)
from snowplow_aio.abc import BlockingTracker
from snowplow_aio.entities.user import User
from snowplow_aio.instrumentation.health import HealthEndpoint
from snowplow_aio.redis.worker import RedisWorker
from snowplow_aio.sync import from_async
from snowplow_aio.tracking.draft import Draft, changed
from snowplow_aio.tracking.track_methods import TrackCall

# --- models


class Player(BaseModel):
    name: str


class SaveGame(SelfDescribing, schema="iglu:com.acme/save_game/jsonschema/1-0-2"):
    save_id: str
    level: int = 1
    player: Player | None = None
    json_: str = Field(default="", alias="json")


class Autosave(SaveGame):
    automatic: bool = True


KEY = SchemaKey.parse("iglu:com.acme/load_game/jsonschema/1-0-0")


class LoadGame(SelfDescribing, schema=KEY):
    save_id: UUID


assert_type(SaveGame.schema_key, SchemaKey)
assert_type(SaveGame.iglu_schema(), dict[str, Any])

GAME = SaveGame(save_id="4321", level=23, player=Player(name="a"))
assert_type(GAME.level, int)

ENTITIES: list[SelfDescribing | SelfDescribingJson] = [
    GAME,
    SelfDescribingJson("iglu:com.acme/user/jsonschema/1-0-0", {"tier": "gold"}),
]

EVENTS = (
    PageView(page_url="https://example.com/", page_title="Home", referrer=None),
    PagePing(page_url="https://example.com/", min_x=0, max_y=100),
    ScreenView(name="HUD"),
    ScreenView(id_="screen23", name=None),
    MobileScreenView(name="HUD", id_="5cea9899-10df-4ccf-bf66-8c36f4a4bba2"),
    StructuredEvent(category="shop", action="add", property_="pcs", value=Decimal("13.99")),
    StructuredEvent(category="shop", action="add", value=2),
    LinkClick(target_url="https://example.com/", element_classes=["a", "b"]),
    AddToCart(sku="123", quantity=2, unit_price=23.99),
    RemoveFromCart(sku="123", quantity=1),
    FormChange(form_id="f", element_id="e", node_name="INPUT", value=None, type_="email"),
    FormSubmit(form_id="f", elements=[FormElement(name="n", value="v", node_name="SELECT")]),
    SiteSearch(terms=("a",), filters={"nsfw": True, "lang": "en"}, total_results=0),
    EcommerceTransaction(order_id="o", total_value=35, city="London"),
    EcommerceTransactionItem(id_="o", sku="s", price=Decimal("20.00"), quantity=1),
    GAME,
    SelfDescribingJson("iglu:com.acme/x/jsonschema/1-0-0", {}),
)


# --- emitters


class Printing:
    """An object with `input` is enough."""

    async def input(self, payload: Mapping[str, str]) -> None:
        print(payload["e"])  # noqa: T201


class Counting(Emitter):
    """Or a subclass with all of it."""

    def __init__(self) -> None:
        self.name = "counting"
        self.count = 0

    async def input(self, payload: Mapping[str, str]) -> None:
        self.count += 1

    def stats(self) -> EmitterStats:
        return EmitterStats(accepted=self.count, delivered=self.count)


def on_outcome(outcome: Delivered | Rejected | Dropped | Retried) -> None:
    print(outcome)  # noqa: T201


async def on_failure(sent: int, unsent: list[dict[str, str]]) -> None:
    await asyncio.to_thread(print, sent, unsent)


def http_emitter() -> HttpEmitter:
    return HttpEmitter(
        "https://collector.example.com",
        batch_size=10,
        flush_interval=0.5,
        retry=Retry(initial_delay=1, retry_codes={429: True, 501: False}),
        store=MemoryStore(capacity=1_000, overflow=Overflow.DROP_OLD),
        on_success=print,
        on_failure=on_failure,
        hooks=[on_outcome],
    )


def redis_emitters(client: redis.asyncio.Redis, cluster: RedisCluster) -> list[RedisEmitter]:
    return [
        RedisEmitter(),
        RedisEmitter(client, "key"),
        RedisEmitter(cluster, mode="stream", max_length=1_000_000, retry=Retry(max_delay=1.0)),
        RedisEmitter("rediss://redis.example", deduplicate=False, hooks=[on_outcome]),
    ]


async def workers(client: redis.asyncio.Redis, cluster: RedisCluster) -> None:
    worker = RedisWorker(http_emitter(), client=client)
    RedisWorker(http_emitter(), client=cluster, key="key", mode="stream", takeover_after=5, drain_timeout=1)
    async with HealthEndpoint(worker, host="0.0.0.0", port=8080) as endpoint:
        assert_type(endpoint.port, int)
        assert_type(await worker.run(), None)
    assert_type(worker.stats(), EmitterStats)
    assert_type(worker.is_ready, bool)


# --- tracking


async def track() -> None:
    subject = Subject(user_id="u", screen_resolution=(1366, 768)).set_platform("mob").set_lang("en")
    assert_type(subject, Subject)
    assert_type(subject.user_id, str | None)
    assert_type(subject.viewport, tuple[int, int] | None)

    async with Tracker(
        [http_emitter(), ConsoleEmitter(), Printing(), Counting()], namespace="cf", subject=subject
    ) as tracker:
        assert_type(tracker, Tracker)
        tracker.set_subject(Subject()).add_emitter(MemoryEmitter())
        tracker.subject.set_viewport(300, 200).set_color_depth(24).set_user_id(CLEAR)

        for event in EVENTS:
            assert_type(await tracker.track(event, context=ENTITIES), str)
        await tracker.track(
            GAME,
            tstamp=datetime.now(UTC),
            true_timestamp=TrueTimestamp(1_368_725_287_000),
            subject=Subject(user_id="other"),
            event_id=UUID(int=1),
            anonymous=True,
        )
        assert_type(tracker.track_nowait(GAME, tstamp=DeviceTimestamp(1_368_725_287_000)), str)
        await chain(tracker)
        assert_type(await tracker.flush(timeout=5), FlushResult)
        assert_type(tracker.stats(), Mapping[str, EmitterStats])


async def forgotten(tracker: Tracker, call: TrackCall) -> None:
    tracker.track(GAME)  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]
    assert_type(await assert_type(tracker.track(GAME), Coroutine[Any, Any, str]), str)
    assert_type(await assert_type(tracker.track_page_view("https://example.com/"), TrackCall), str)
    assert_type(await assert_type(call.track(GAME), TrackCall), str)


def without_await(tracker: Tracker, orders: Callable[[BlockingTracker], None]) -> None:
    with snowplow_aio.sync.Tracker([http_emitter(), Printing()], app_id="cf") as blocking:
        assert_type(blocking, snowplow_aio.sync.Tracker)
        assert_type(blocking.track(GAME, context=ENTITIES), str)
        assert_type(blocking.track_page_view("https://example.com/"), snowplow_aio.sync.Tracker)
        last = blocking.set_subject(None).track_screen_view("title").track_struct_event("shop", "add")
        assert_type(last, snowplow_aio.sync.Tracker)
        assert_type(blocking.track_nowait(GAME), str)
        assert_type(blocking.track_and_confirm(GAME, timeout=None), str)
        assert_type(blocking.flush(False), FlushResult)
        assert_type(blocking.close(timeout=5), FlushResult)
        orders(blocking)
    assert_type(from_async(tracker), snowplow_aio.sync.Tracker)
    from_async(blocking)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    orders(tracker)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def chain(tracker: Tracker) -> None:
    last = await tracker.track_page_view("https://example.com/").track_screen_view(
        "title", tstamp=1_368_725_287_000.5
    )
    assert_type(last, str)
    await tracker.set_subject(None).track_struct_event("shop", "add", None, "pcs", 2)
    await tracker.track_page_ping("https://example.com/", min_x=0).track_self_describing_event(GAME, ENTITIES)
    await tracker.track_mobile_screen_view("HUD", UUID(int=1)).track_unstruct_event(GAME).track(GAME)


async def in_tasks(tracker: Tracker) -> None:
    coroutine: Coroutine[Any, Any, str] = tracker.track(GAME)
    assert_type(await asyncio.wait_for(coroutine, 1), str)
    assert_type(await asyncio.create_task(tracker.track(GAME)), str)
    await asyncio.gather(tracker.track(GAME), tracker.track_page_view("https://example.com/"))


async def once() -> None:
    assert_type(await track_once("collector.example.com", GAME, app_id="cf", timeout=None), str)
    await track_once([http_emitter(), Printing()], GAME, namespace="cf", context=ENTITIES, anonymous=True)


def bind() -> None:
    with use_subject(user_id="u-42", lang=CLEAR) as bound, use_subject(Subject(lang="en")):
        assert_type(bound, Subject)
    with use_subject(usr_id="u-42"):  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
        pass
    with use_subject(lang=1):  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        assert_type(current_subject(), Subject | None)


def look(payload: Payload) -> None:
    assert_type(payload["e"], str)
    assert_type(payload.get("uid"), str | None)
    assert_type(dict(payload), dict[str, str])
    assert_type(payload.json, bytes)


# --- global contexts and enrichers


def user_of(draft: Draft) -> User | None:
    return User(id_=draft.subject.user_id) if draft.subject.user_id else None


async def games_of(draft: Draft) -> list[SaveGame | SelfDescribingJson]:
    assert_type(draft.schema, str)
    return [GAME, SelfDescribingJson(KEY, {})]


def without_query(draft: Draft) -> Draft | None:
    if isinstance(draft.event, PageView):
        page = changed(draft.event, page_url=draft.event.page_url.partition("?")[0])
        assert_type(page, PageView)
        return draft.replace(event=page, context=[GAME], subject=draft.subject.set_user_id(None))
    return None


async def as_it_is(draft: Draft) -> Draft:
    return draft


async def with_functions(tracker: Tracker, error: Exception) -> None:
    assert_type(tracker.add_global_context(GAME).add_global_context([GAME]), Tracker)
    tracker.add_global_context(
        user_of, include="iglu:com.acme/*/jsonschema/*-*-*", exclude=["iglu:a/b/c/1-0-0"]
    )
    tracker.add_global_context(games_of).add_global_context(lambda _: GAME)
    assert_type(tracker.add_enricher(without_query, on_fault="drop").add_enricher(as_it_is), Tracker)
    tracker.add_enricher(as_it_is, on_fault="lose")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    tracker.add_enricher(lambda draft: draft.event)  # type: ignore[arg-type,return-value] # pyright: ignore[reportArgumentType]
    tracker.add_global_context({})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with use_context(GAME, [GAME], user_of, games_of, include=None):
        await tracker.track_exception(error, True).track_exception(error, is_fatal=None, context=[GAME])
    assert_type(tracker.enrichment_stats().lost, int)
