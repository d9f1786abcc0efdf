"""How long the pipeline lets a field be, and how it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from snowplow_aio import (
    EcommerceTransaction,
    EcommerceTransactionItem,
    PagePing,
    PageView,
    StructuredEvent,
    Subject,
)
from tests.conformance.oracle import Oracle
from tests.model.sent import sent

VIEW = PageView(page_url="https://example.com/")


def _event(model: Any, name: str, **others: Any) -> Callable[[str], dict[str, str]]:
    return lambda text: sent(model(**{**others, name: text}), tracker={"app_id": "a"})


def _subject(name: str) -> Callable[[str], dict[str, str]]:
    def track(text: str) -> dict[str, str]:
        fields: dict[str, Any] = {name: text}
        return sent(VIEW, tracker={"app_id": "a"}, subject=Subject(**fields))

    return track


def _tracker(name: str) -> Callable[[str], dict[str, str]]:
    return lambda text: sent(VIEW, tracker={"app_id": "a", name: text})


_STRUCT = {"category": "c", "action": "a"}
_ORDER = {"order_id": "o", "total_value": 1}
_ITEM = {"order_id": "o", "sku": "s", "price": 1, "quantity": 1}
FIELDS = [
    ("page", 2000, _event(PageView, "page_title", page_url="https://example.com/")),
    ("page", 2000, _event(PagePing, "page_title", page_url="https://example.com/")),
    ("se_ca", 1000, _event(StructuredEvent, "category", **_STRUCT)),
    ("se_ac", 1000, _event(StructuredEvent, "action", **_STRUCT)),
    ("se_la", 4096, _event(StructuredEvent, "label", **_STRUCT)),
    ("se_pr", 1000, _event(StructuredEvent, "property_", **_STRUCT)),
    ("tr_id", 255, _event(EcommerceTransaction, "order_id", **_ORDER)),
    ("tr_af", 255, _event(EcommerceTransaction, "affiliation", **_ORDER)),
    ("tr_ci", 255, _event(EcommerceTransaction, "city", **_ORDER)),
    ("tr_st", 255, _event(EcommerceTransaction, "state", **_ORDER)),
    ("tr_co", 255, _event(EcommerceTransaction, "country", **_ORDER)),
    ("tr_cu", 3, _event(EcommerceTransaction, "currency", **_ORDER)),
    ("ti_id", 255, _event(EcommerceTransactionItem, "order_id", **_ITEM)),
    ("ti_sk", 255, _event(EcommerceTransactionItem, "sku", **_ITEM)),
    ("ti_nm", 255, _event(EcommerceTransactionItem, "name", **_ITEM)),
    ("ti_ca", 255, _event(EcommerceTransactionItem, "category", **_ITEM)),
    ("ti_cu", 3, _event(EcommerceTransactionItem, "currency", **_ITEM)),
    ("uid", 255, _subject("user_id")),
    ("duid", 128, _subject("domain_user_id")),
    ("tnuid", 128, _subject("network_user_id")),
    ("lang", 255, _subject("lang")),
    ("tz", 255, _subject("timezone")),
    ("ua", 1000, _subject("useragent")),
    ("ip", 128, _subject("ip_address")),
    ("tna", 128, _tracker("namespace")),
    ("aid", 255, _tracker("app_id")),
]
every_field = pytest.mark.parametrize(
    ("key", "limit", "track"), FIELDS, ids=[f"{i}-{key}" for i, (key, _, _) in enumerate(FIELDS)]
)


@every_field
def test_a_field_is_as_long_as_the_pipeline_stores_it(
    key: str, limit: int, track: Callable[[str], dict[str, str]], oracle: Oracle
) -> None:
    # Each of these is stored in exactly `limit` UTF-16 units: an emoji is two
    # of them, a tab becomes four spaces, other control characters go.
    emoji = "😀" * (limit // 2) + "x" * (limit % 2)
    tabs = "\t" * (limit // 4) + "x" * (limit % 4)
    for text in ("x" * limit, emoji, tabs, "\x00\x1f\x7f\n" + "x" * limit):
        fields = track(text)
        assert fields[key] == text
        # That it is stored otherwise is a warning, and what this is about.
        problems = oracle.complaints(fields)
        assert [p for p in problems if " stored as " not in p and not p.startswith("ip: cut to")] == []
        with pytest.raises(ValueError, match=rf"at most {limit} characters.*it has {limit + 1}"):
            track(text + "x")


@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from("\t\n\x00😀"), max_size=6))
def test_a_text_is_taken_exactly_when_the_pipeline_can_store_it(text: str, oracle: Oracle) -> None:
    assume(text != "")
    fields = {**sent(VIEW, tracker={"app_id": "a"}), "e": "ti", "ti_cu": text}
    stored = not [problem for problem in oracle.complaints(fields) if problem.startswith("ti_currency")]

    try:
        EcommerceTransactionItem(id_="o", sku="s", price=1, quantity=1, currency=text)
        taken = True
    except ValidationError:
        taken = False

    assert taken == stored


# --- addresses


def _url(**parts: int) -> str:
    """Return an address with parts of these lengths."""
    scheme = "s" * parts.get("scheme", 5)
    host = "h" * parts.get("host", 7)
    path = "/" + "p" * (parts.get("path", 1) - 1)
    query = "q" * parts.get("query", 1)
    return f"{scheme}://user:password@{host}:8080{path}?{query}#{'f' * parts.get('fragment', 1)}"


@pytest.mark.parametrize(
    ("field", "part", "limit"),
    [
        ("page_url", "scheme", 16),
        ("page_url", "host", 255),
        ("page_url", "path", 3000),
        ("page_url", "query", 6000),
        ("page_url", "fragment", 3000),
        ("referrer", "scheme", 16),
        ("referrer", "host", 255),
        ("referrer", "path", 6000),
        ("referrer", "query", 6000),
        ("referrer", "fragment", 3000),
    ],
)
def test_each_part_of_an_address_has_a_limit(field: str, part: str, limit: int, oracle: Oracle) -> None:
    address = {"page_url": "https://example.com/"}

    fields = sent(PageView(**{**address, field: _url(**{part: limit})}), tracker={"app_id": "a"})

    assert oracle.complaints(fields) == []
    with pytest.raises(ValidationError, match=rf"{part} of at most {limit} characters, it has {limit + 1}"):
        PageView(**{**address, field: _url(**{part: limit + 1})})


@pytest.mark.parametrize("field", ["page_url", "referrer"])
def test_an_address_has_a_limit_as_a_whole(field: str, oracle: Oracle) -> None:
    address = {"page_url": "https://example.com/"}
    whole = "https://example.com/" + "p" * 2980 + "?" + "q" * 6000
    whole += "#" + "f" * (9_999 - len(whole))

    assert len(whole) == 10_000
    fields = sent(PageView(**{**address, field: whole}), tracker={"app_id": "a"})
    assert oracle.complaints(fields) == []
    with pytest.raises(ValidationError, match=r"at most 10000 characters"):
        PageView(**{**address, field: whole + "f"})


@pytest.mark.parametrize(
    ("query", "taken"),
    [
        ("_sp=", True),
        ("_sp=duid", True),
        ("_sp=duid.", True),
        ("_sp=duid.1700000000000", True),
        ("a=b&_sp=duid.1700000000000.sid..web", True),
        ("_sp=duid.-5", True),
        ("x_sp=duid.soon", True),
        ("_sp=1.2.3.4.5.6.7.8", True),
        ("_sp=duid.soon", False),
        ("a=b;_sp=duid.soon", False),
        ("_sp=duid.1700000000000&_sp=duid.soon", False),
        ("_sp=duid.soon&_sp=duid.1700000000000", True),
        ("_sp=duid.soon&_sp", True),
        ("_sp=duid.99999999999999999", False),
        ("%5Fsp=duid.soon", False),
        ("_sp=duid%2Esoon", False),
    ],
)
def test_a_cross_domain_parameter_is_one_that_the_pipeline_reads(
    query: str, taken: bool, oracle: Oracle
) -> None:
    url = f"https://example.com/?{query}"
    fields = sent(VIEW, tracker={"app_id": "a"}) | {"url": url}
    assert (oracle.complaints(fields) == []) is taken

    if taken:
        assert sent(PageView(page_url=url))["url"] == url
    else:
        with pytest.raises(
            ValidationError, match=r"page_url.*\n.*millisecond timestamp in its _sp parameter"
        ):
            PageView(page_url=url)
    assert sent(PageView(page_url="https://example.com/", referrer=url))["refr"] == url
