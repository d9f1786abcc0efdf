"""Addresses are measured as the pipeline writes them, and refused where it cannot read them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from snowplow_aio import Draft, MemoryEmitter, PagePing, PageView, Tracker
from snowplow_aio.model.address import read_address
from tests.conformance.addresses import split_address
from tests.conformance.oracle import Oracle
from tests.model.sent import sent
from tests.scale import scale

VIEW = PageView(page_url="https://example.com/")

# What enrich stores instead.
WRITTEN_ANEW = {
    "http://a.b/?q={a}": "http://a.b/?q=%7Ba%7D",
    "http://a.b/|": "http://a.b/%7C",
    "http://a.b/100%": "http://a.b/100%25",
    "http://a.b/#x#/y?z=1": "http://a.b/#x%23%2Fy%3Fz%3D1",
    "http://a.b/x[0]=1?u[]=é": "http://a.b/x%5B0%5D%3D1?u%5B%5D=%C3%A9",
    "http://a.b/\t|": "http://a.b/%20%20%20%20%7C",
    "http://a.b/%41%2f%e9|": "http://a.b/A%2F%EF%BF%BD%7C",
    "http://a.b/😀|": "http://a.b/%3F%3F%7C",
    "http://u:p{@a.b:8080/?a=b=c&d&|": "http://u:p%7B@a.b:8080/?a=b%3Dc&d&%7C",
    "www.example.com/${x}": "www.example.com/%24%7Bx%7D",
    "mailto:a|b": "mailto:a%7Cb",
    "//a.b/^": "//a.b/%5E",
}


@pytest.mark.parametrize(("url", "whole"), WRITTEN_ANEW.items(), ids=WRITTEN_ANEW)
def test_an_address_that_java_refuses_is_percent_encoded(url: str, whole: str) -> None:
    address, parts = read_address(url), split_address(url.replace("\t", "    "))

    assert address is not None
    assert (address.whole, address.is_rewritten) == (whole, True)
    assert parts is not None
    assert parts["whole"] == whole


# By the rule that they break: addresses that are short enough as they are written.
TOO_LONG = {
    "a query of at most 6000 characters, it has 10502 once": "http://a.b/?q=" + "{a}" * 1500,
    "a path of at most 3000 characters, it has 3301 once": "http://a.b/" + "|" * 1100,
    "a fragment of at most 3000 characters, it has 3006 once": "http://a.b/#" + "^" * 1002,
    "a path of at most 3000 characters, it has 3001": "http://a.b/" + "\t" * 250,
    "a query of at most 6000 characters, it has 6012": "http://a.b/?" + "\t" * 501,
    "a query of at most 6000 characters, it has 6003": "http://a.b/?" + " " * 2001,
    "a query of at most 6000 characters, it has 6001": "http://?" + "q" * 6001,
    "a path of at most 3000 characters, it has 3004 once": "http://a.b/|" + "=" * 1000,
    "at most 10000 characters, it has": "http://a.b/" + "|" * 900 + "?" + "|" * 1900 + "#" + "|" * 800,
    "a millisecond timestamp in its _sp parameter": "http://?_sp=duid.soon",
    "a domain user id of at most 128 characters": "http://a.b/?_sp=" + "d" * 129,
    "an address that the pipeline can read": "http://a|b/",
}
UNREADABLE = ["http://", "http://${host}/x", "http://a.b/?=x|", "http://a b/|", "//[::1]https", "a%3Ab|"]


@pytest.mark.parametrize(
    ("url", "rule"),
    [*((url, rule) for rule, url in TOO_LONG.items()), *((url, "can read") for url in UNREADABLE)],
)
def test_an_address_that_the_pipeline_loses_is_refused(url: str, rule: str, oracle: Oracle) -> None:
    assert oracle({**sent(VIEW, tracker={"app_id": "a"}), "url": url}) != []
    for kind in (PageView, PagePing):
        with pytest.raises(ValidationError, match=r"page_url") as caught:
            kind(page_url=url)
        assert rule in str(caught.value)


def test_the_page_of_a_draft_is_measured_likewise() -> None:
    drafts: list[Draft] = []

    def keep(draft: Draft) -> Draft:
        drafts.append(draft)
        return draft

    Tracker(MemoryEmitter()).add_enricher(keep).track_nowait(VIEW)

    with pytest.raises(ValueError, match=r"^page: must have .* that the pipeline can read"):
        drafts[0].replace(page={"url": "http://a.b/" + "|" * 1100})


def test_a_referrer_is_measured_in_parts_and_as_it_was_sent(oracle: Oracle) -> None:
    url = "http://a.b/" + "|" * 1990 + "?" + "|" * 1990
    fields = sent(PageView(page_url="https://example.com/", referrer=url), tracker={"app_id": "a"})

    assert oracle(fields) == []
    with pytest.raises(ValidationError, match=r"referrer\n.*a path of at most 6000 characters"):
        PageView(page_url="https://example.com/", referrer="http://a.b/" + "|" * 2001)


_PIECES = st.sampled_from(
    [
        *("https", "http", ":", "//", "/", "?", "#", "@", "&", ";", "=", "_sp", ".", "a.b", "[::1]"),
        *("h" * 256, "p" * 3001, "17", "%20", "%5F", "%3A", "%FF", "%", " ", "é", "😀", "+", "\t", "_"),
        *("|" * 999, "{", "}", "<", '"', "\\", "^", "`", "[", "]", ":80", ":x", ":9999999999", "1.2.3.4"),
        *("[1::2.3.4.5]", "-", "\x00", "\u2028"),
    ]
)
_ADDRESSES = st.lists(_PIECES, min_size=1, max_size=8).map("".join)


@given(url=_ADDRESSES | _ADDRESSES.map("http://".__add__))
@settings(deadline=None, max_examples=scale(150, 5_000))
def test_an_address_is_refused_exactly_where_the_pipeline_loses_the_event(url: str, oracle: Oracle) -> None:
    fields = sent(VIEW, tracker={"app_id": "a"})

    for name, key in (("page_url", "url"), ("referrer", "refr")):
        try:
            PageView(**{"page_url": "https://example.com/", name: url})
            taken = True
        except ValidationError:
            taken = False
        assert taken == (oracle({**fields, key: url}) == [])
