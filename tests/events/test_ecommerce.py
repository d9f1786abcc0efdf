"""A purchase: one event for the order and one for each of its items."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from snowplow_aio import (
    EcommerceTransaction,
    EcommerceTransactionItem,
    InvalidEventError,
    MemoryEmitter,
    SelfDescribingJson,
    Tracker,
)

pytestmark = pytest.mark.anyio

ITEMS: list[dict[str, Any]] = [
    {"sku": "pbz0026", "price": 20, "quantity": 1},
    {"sku": "pbz0038", "price": Decimal("15.50"), "quantity": 2, "name": "Tarot", "category": "cards"},
]


async def test_each_item_is_an_event_with_the_orders_id_currency_and_time() -> None:
    kept = MemoryEmitter()
    items = copy.deepcopy(ITEMS)
    event_id = await Tracker(kept).track_ecommerce_transaction("6a8078be", 35, currency="GBP", items=items)
    order, first, second = (dict(payload) for payload in kept.payloads)
    assert items == ITEMS
    assert (order["e"], order["tr_id"], order["tr_tt"], order["tr_cu"]) == ("tr", "6a8078be", "35", "GBP")
    assert order["eid"] == event_id
    for event, sku, price, quantity in ((first, "pbz0026", "20", "1"), (second, "pbz0038", "15.50", "2")):
        assert (event["e"], event["ti_id"], event["ti_cu"]) == ("ti", "6a8078be", "GBP")
        assert (event["ti_sk"], event["ti_pr"], event["ti_qu"]) == (sku, price, quantity)
        assert event["dtm"] == order["dtm"]
    assert (second["ti_nm"], second["ti_ca"]) == ("Tarot", "cards")
    assert len({order["eid"], first["eid"], second["eid"]}) == 3


async def test_an_item_has_its_own_context_and_not_that_of_the_order() -> None:
    kept = MemoryEmitter()
    entity = SelfDescribingJson("iglu:com.acme/x/jsonschema/1-0-0", {"a": 1})
    items = [{**ITEMS[0], "context": [entity]}, ITEMS[1]]
    await Tracker(kept, encode_base64=False).track_ecommerce_transaction(
        "o", 1, items=items, context=[entity] * 2
    )
    assert [payload.get("co", "").count("com.acme") for payload in kept.payloads] == [2, 1, 0]


async def test_an_item_may_be_an_event_of_the_same_order() -> None:
    kept = MemoryEmitter()
    item = EcommerceTransactionItem(id_="o", sku="s", price=1, quantity=1)
    await Tracker(kept).track(EcommerceTransaction(order_id="o", total_value=1, items=[item]))
    assert [payload["e"] for payload in kept.payloads] == ["tr", "ti"]


async def test_the_whole_purchase_reaches_an_emitter_in_one_piece() -> None:
    """A store that has room for two of three events takes none."""
    from snowplow_aio import HttpEmitter, MemoryStore

    emitter = HttpEmitter("http://127.0.0.1:9", store=MemoryStore(capacity=2), drain_timeout=0)
    async with Tracker(emitter) as tracker:
        await tracker.track_ecommerce_transaction("o", 35, items=ITEMS)
        assert dict(emitter.stats().dropped) == {"queue_full": 3}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"sku": "s", "price": 1}], r"items\[0\].quantity: Field required"),
        (
            [ITEMS[0], {**ITEMS[1], "price": "1"}],
            r"items\[1\].price: must be an int, a float or a Decimal, got '1'",
        ),
        ([{**ITEMS[0], "colour": "red"}], r"items\[0\].colour: Extra inputs are not permitted, got 'red'"),
        ([{**ITEMS[0], "currency": "USD"}], r"items\[0\]: must not have a currency of its own"),
        (["sku"], r"items\[0\]: must be an EcommerceTransactionItem or a dict"),
        (
            [EcommerceTransactionItem(id_="other", sku="s", price=1, quantity=1)],
            r"items\[0\]: must have the order id and the currency",
        ),
        ({"sku": "s"}, "items"),
    ],
    ids=["missing", "wrong", "unknown", "currency", "kind", "other order", "no list"],
)
async def test_one_wrong_item_refuses_the_whole_purchase(items: Any, message: str) -> None:
    kept = MemoryEmitter()
    with pytest.raises(ValidationError, match=message):
        await Tracker(kept).track_ecommerce_transaction("o", 35, currency="GBP", items=items)
    assert kept.payloads == []


async def test_a_wrong_context_of_an_item_refuses_the_whole_purchase() -> None:
    kept = MemoryEmitter()
    with pytest.raises(InvalidEventError, match=r"context\[0\]: must be a SelfDescribingJson"):
        await Tracker(kept).track_ecommerce_transaction("o", 1, items=[{**ITEMS[0], "context": [{}]}])
    assert kept.payloads == []
