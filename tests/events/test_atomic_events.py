"""Events that have protocol fields of their own."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from snowplow_aio import (
    ConfigurationError,
    EcommerceTransaction,
    EcommerceTransactionItem,
    MemoryEmitter,
    PagePing,
    PageView,
    StructuredEvent,
    Tracker,
)
from tests.conformance.oracle import Oracle
from tests.model.sent import sent

COMMON = {"eid", "dtm", "tv", "p"}


def own(event: Any) -> dict[str, str]:
    """Return the protocol fields of *event* itself."""
    return {key: value for key, value in sent(event).items() if key not in COMMON}


def test_a_page_view() -> None:
    assert own(PageView(page_url="https://example.com/", page_title="Home", referrer="www.referrer.com")) == {
        "e": "pv",
        "url": "https://example.com/",
        "page": "Home",
        "refr": "www.referrer.com",
    }


def test_a_page_ping_sends_zero() -> None:
    assert own(PagePing(page_url="x", min_x=0, max_x=100, min_y=0, max_y=2**31 - 1)) == {
        "e": "pp",
        "url": "x",
        "pp_mix": "0",
        "pp_max": "100",
        "pp_miy": "0",
        "pp_may": "2147483647",
    }


def test_a_structured_event() -> None:
    assert own(StructuredEvent(category="c", action="a", label="l", property_="p", value=0)) == {
        "e": "se",
        "se_ca": "c",
        "se_ac": "a",
        "se_la": "l",
        "se_pr": "p",
        "se_va": "0",
    }


def test_a_transaction_and_its_item() -> None:
    assert own(
        EcommerceTransaction(
            order_id="o",
            total_value=35,
            affiliation="aff",
            tax_value=0,
            shipping=0.0,
            city="London",
            state="",
            country="UK",
            currency="GBP",
        )
    ) == {
        "e": "tr",
        "tr_id": "o",
        "tr_tt": "35",
        "tr_af": "aff",
        "tr_tx": "0",
        "tr_sh": "0.0",
        "tr_ci": "London",
        "tr_co": "UK",
        "tr_cu": "GBP",
    }
    item = EcommerceTransactionItem(
        id_="o", sku="s", price=20, quantity=-1, name="n", category="c", currency="GBP"
    )
    assert own(item) == {
        "e": "ti",
        "ti_id": "o",
        "ti_sk": "s",
        "ti_pr": "20",
        "ti_qu": "-1",
        "ti_nm": "n",
        "ti_ca": "c",
        "ti_cu": "GBP",
    }


def test_none_and_empty_text_are_not_sent() -> None:
    assert own(PageView(page_url="x", page_title="", referrer=None)) == {"e": "pv", "url": "x"}
    assert own(StructuredEvent(category="c", action="a", label="", property_=None, value=None)) == {
        "e": "se",
        "se_ca": "c",
        "se_ac": "a",
    }


class Level(IntEnum):
    HIGH = 3

    def __str__(self) -> str:
        return self.name


class Scalar(float):
    """As NumPy's are: a float that prints as something else."""

    def __repr__(self) -> str:
        return f"Scalar({super().__repr__()})"


class Exact(Decimal):
    def __str__(self) -> str:
        return "not this"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (13.99, "13.99"),
        (-2.5, "-2.5"),
        (1e-7, "1e-07"),
        (1e22, "1e+22"),
        (0.1 + 0.2, "0.30000000000000004"),
        (10**308, "1" + "0" * 308),
        (Decimal("12.340"), "12.340"),
        (Decimal("1E+3"), "1E+3"),
        (Decimal("-0.00"), "-0.00"),
        (Decimal("0E+6000"), "0"),
        (Decimal("12345678901234567890.123456789"), "12345678901234567890.123456789"),
        (Level.HIGH, "3"),
        (Scalar(1.5), "1.5"),
        (Exact("1.50"), "1.50"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_number_is_written_as_the_pipeline_reads_it(value: Any, text: str, oracle: Oracle) -> None:
    fields = sent(StructuredEvent(category="c", action="a", value=value), tracker={"app_id": "a"})

    assert fields["se_va"] == text
    assert oracle.complaints(fields) == []


@given(value=st.integers() | st.floats() | st.decimals())
def test_every_number_that_is_taken_is_read_as_the_same_number(value: Any, oracle: Oracle) -> None:
    try:
        fields = sent(StructuredEvent(category="c", action="a", value=value), tracker={"app_id": "a"})
    except ValidationError:
        return

    assert Decimal(fields["se_va"]) == Decimal(repr(value) if isinstance(value, float) else value)
    assert oracle.complaints(fields) == []


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (True, "must be an int, a float or a Decimal"),
        ("13.99", "must be an int, a float or a Decimal"),
        (1j, "must be an int, a float or a Decimal"),
        (float("nan"), "must be finite"),
        (float("-inf"), "must be finite"),
        (Decimal("sNaN"), "must be finite"),
        (Decimal("Infinity"), "must be finite"),
        (Decimal("1E+309"), "must be below 1e309 in magnitude"),
        (10**309, "must be below 1e309 in magnitude"),
        (-(10**5000), "must be below 1e309 in magnitude"),
        (Decimal("1E-325"), "must be 0 or at least 1e-324 in magnitude"),
    ],
    ids=[f"{i}" for i in range(11)],
)
def test_what_is_no_number_to_the_pipeline_is_refused(value: Any, rule: str) -> None:
    with pytest.raises(ValidationError, match=rf"value\n  {rule}"):
        StructuredEvent(category="c", action="a", value=value)


@pytest.mark.parametrize(
    ("model", "values", "field"),
    [
        (PageView, {"page_url": ""}, "page_url"),
        (PageView, {}, "page_url"),
        (PageView, {"page_url": None}, "page_url"),
        (PageView, {"page_url": b"x"}, "page_url"),
        (PagePing, {"page_url": "x", "min_x": -(2**31) - 1}, "min_x"),
        (PagePing, {"page_url": "x", "max_x": 2**31}, "max_x"),
        (PagePing, {"page_url": "x", "min_y": 1.0}, "min_y"),
        (PagePing, {"page_url": "x", "max_y": True}, "max_y"),
        (StructuredEvent, {"category": "", "action": "a"}, "category"),
        (StructuredEvent, {"category": "c", "action": ""}, "action"),
        (StructuredEvent, {"category": "c", "action": "a", "label": 5}, "label"),
        (EcommerceTransaction, {"order_id": "", "total_value": 1}, "order_id"),
        (EcommerceTransaction, {"order_id": "o"}, "total_value"),
        (EcommerceTransaction, {"order_id": "o", "total_value": 1, "currency": "EURO"}, "currency"),
        (EcommerceTransactionItem, {"order_id": "o", "sku": "", "price": 1, "quantity": 1}, "sku"),
        (EcommerceTransactionItem, {"order_id": "o", "sku": "s", "price": 1, "quantity": 1.5}, "quantity"),
        (EcommerceTransactionItem, {"order_id": "o", "sku": "s", "price": 1, "quantity": 2**31}, "quantity"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(model: Any, values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model(**values)

    assert [fault["loc"] for fault in caught.value.errors()] == [(field,)]


def test_an_event_cannot_be_changed() -> None:
    event = PageView(page_url="x")

    with pytest.raises(ValidationError, match=r"frozen"):
        event.page_title = "new"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_subclass_with_a_field_that_no_protocol_field_carries_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"ShopView\.basket: has no place in this event"):

        class ShopView(PageView):  # pyright: ignore[reportUnusedClass]
            basket: int


def test_a_subclass_without_fields_of_its_own_is_an_event_like_its_parent() -> None:
    class ShopView(PageView):
        """Only a name."""

    tracker = Tracker(emitter := MemoryEmitter())
    tracker.track_nowait(ShopView(page_url="https://shop.example/"))

    assert emitter.payloads[0]["url"] == "https://shop.example/"
