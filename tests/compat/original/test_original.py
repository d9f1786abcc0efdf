"""
The same call on snowplow-tracker 1.1.0 and here makes the same event at a collector.

Both libraries send to a real server on this machine, which reads what arrives,
this one by its async tracker and by that for programs without a loop;
every field of every event must be equal. Where it is not, DIFFERENCES says
why; what is refused here although the original sends it, REFUSED says; and
TAKEN is what the original refuses. There are no other exceptions: the
generated calls cover the documented range of every argument.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compat.original.calls import METHODS, Call, Json, When, calls
from tests.compat.original.sides import Both, Face, HttpMethod, both_by
from tests.compat.original.wire import Event, exact
from tests.scale import scale

pytestmark = [
    # 1.1.0 deprecates the methods of the documentation in favour of its event classes.
    pytest.mark.filterwarnings("ignore:track_:DeprecationWarning"),
    pytest.mark.timeout(300),
]

ITEM, MOBILE_VIEW = "ti", "track_mobile_screen_view"
A_PAGE = {"page_url": "https://example.com/"}
AN_ITEM = {"sku": "pbz0026", "price": 20, "quantity": 1}
AN_ORDER = {"order_id": "6a8078be", "total_value": 35, "items": [AN_ITEM]}
GEO = Json("iglu:org.w3/geo/jsonschema/1-0-0", {"latitude": -23.2})


@dataclass(frozen=True)
class Seen:
    """One event as both have sent it: the call, when it was made, and the two events."""

    call: Call
    since: int
    index: int
    theirs: Event
    ours: Event

    @property
    def item(self) -> Mapping[str, Any]:
        """The item of the call that the event is about."""
        return self.call.items[self.index - 1]


@dataclass(frozen=True)
class Difference:
    """A difference that is meant: in which fields, why, what it is exactly, and a call that shows it."""

    fields: str
    reason: str
    holds: Callable[[Seen, Any, Any], bool]
    example: Call
    only: HttpMethod | None = None


DIFFERENCES = [
    # --- what can never be equal
    Difference(
        "eid",
        "each event has an id of its own, a UUID",
        lambda _, theirs, ours: is_uuid(theirs) and is_uuid(ours),
        Call("track_page_view", A_PAGE),
    ),
    Difference(
        "dtm",
        "the clock is read at the call",
        lambda seen, theirs, ours: (
            seen.call.when.how in ("now", "true_timestamp")
            and is_of_the_call(seen, theirs)
            and is_of_the_call(seen, ours)
        ),
        Call("track_page_view", A_PAGE),
    ),
    Difference(
        "stm",
        "1.1.0 cuts it to whole seconds, before `dtm`; here it has milliseconds",
        lambda seen, theirs, ours: theirs.endswith("000") and is_of_the_call(seen, ours),
        Call("track_page_view", A_PAGE, when=When("TrueTimestamp", 1368725287000)),
    ),
    Difference(
        "tv",
        "each tracker names itself",
        lambda _, theirs, ours: (
            theirs == "py-1.1.0" and re.fullmatch(r"pyaio-\d+\.\d+\..+", ours) is not None
        ),
        Call("track_page_view", A_PAGE),
    ),
    Difference(
        "ue_px ue_pr",
        "a mobile screen view without an id gets a UUID",
        lambda seen, theirs, ours: (
            seen.call.method == MOBILE_VIEW
            and seen.call.arguments.get("id_") is None
            and is_uuid(theirs["data"]["data"]["id"])
            and is_uuid(ours["data"]["data"]["id"])
            and without("id", theirs) == without("id", ours)
        ),
        Call(MOBILE_VIEW, {"name": "HUD"}),
    ),
    # --- what version 0.8 of the original does otherwise
    Difference(
        "ttm dtm",
        "a bare timestamp is the device's, as 0.8 has it; 1.1.0 takes it for the true one",
        lambda seen, theirs, ours: (
            seen.call.when.how == "tstamp"
            and is_given(seen, seen.theirs["ttm"])
            and is_given(seen, seen.ours["dtm"])
            and "ttm" not in seen.ours
        ),
        Call("track_page_view", A_PAGE, when=When("tstamp", 1368725287000)),
    ),
    Difference(
        "dtm",
        "a TrueTimestamp goes instead of the device's, as 0.8 has it; 1.1.0 sends both",
        lambda seen, theirs, ours: (
            seen.call.when.how == "TrueTimestamp" and is_of_the_call(seen, theirs) and ours is None
        ),
        Call("track_page_view", A_PAGE, when=When("TrueTimestamp", 1368725287000)),
    ),
    Difference(
        "cx co",
        "an item has its own context, as 0.8 has it; 1.1.0 replaces it by the transaction's",
        lambda seen, theirs, ours: (
            seen.theirs["e"] == ITEM
            and carries(theirs, seen.call.context)
            and carries(ours, seen.item.get("context"))
        ),
        Call("track_ecommerce_transaction", AN_ORDER, context=[GEO]),
    ),
    # --- defects of the original
    Difference(
        "ttm",
        "1.1.0 gives the items of a transaction that has no time a true one, the clock's",
        lambda seen, theirs, ours: (
            seen.theirs["e"] == ITEM
            and seen.call.when.how == "now"
            and is_of_the_call(seen, theirs)
            and ours is None
        ),
        Call("track_ecommerce_transaction", AN_ORDER),
    ),
    Difference(
        "p",
        "in 1.1.0 the default platform of the event's subject beats the one that the tracker's subject has",
        lambda seen, theirs, ours: (
            seen.call.subject is not None
            and "platform" not in seen.call.subject
            and (theirs, (ours,)) == ("pc", (seen.call.tracker_subject or {}).get("platform"))
        ),
        Call("track_page_view", A_PAGE, subject={}, tracker_subject={"platform": ("tv",)}),
    ),
    Difference(
        "ue_px ue_pr",
        "1.1.0 leaves out an empty list of elements, and of elements only; here it is sent as it was given",
        lambda seen, theirs, ours: (
            seen.call.arguments.get("elements") == []
            and ours["data"]["data"].get("elements") == []
            and without("elements", ours) == without("elements", theirs)
        ),
        Call("track_form_submit", {"form_id": "f", "elements": []}),
    ),
    Difference(
        "ue_px ue_pr",
        "1.1.0 sends the type of an input as it was written; here it is in lower case, as its schema has it",
        lambda _, theirs, ours: (
            ours["data"]["data"].get("type") == str(theirs["data"]["data"].get("type")).lower()
            and without("type", ours) == without("type", theirs)
        ),
        Call(
            "track_form_change",
            {"form_id": "f", "element_id": "e", "node_name": "INPUT", "value": None, "type_": "NUMBER"},
        ),
    ),
    Difference(
        "sid",
        "the pipeline stores a session's UUID in lower case",
        lambda _, theirs, ours: ours == theirs.lower(),
        Call("track_page_view", A_PAGE, subject={"domain_session_id": (str(UUID(int=0xA)).upper(),)}),
    ),
    Difference(
        "(request)",
        "a GET that is longer than a collector reads, 20,480 bytes, goes by POST",
        lambda seen, theirs, ours: (
            theirs.startswith("GET") and ours.startswith("POST") and seen.theirs["(length)"] > 20_000
        ),
        Call("track_page_view", A_PAGE, context=[GEO._replace(data={"note": "a" * 21_000})]),
        only="get",
    ),
]


@dataclass(frozen=True)
class Refused:
    """Calls that are refused here although the original sends them."""

    reason: str
    calls: st.SearchStrategy[Call]
    is_lost: bool = True


def wrong(method: str, **arguments: Sequence[Any]) -> st.SearchStrategy[Call]:
    """Return calls of *method* with one of these values for each argument."""
    chosen = calls(method, **{name: st.sampled_from(values) for name, values in arguments.items()})
    # The pipeline would refuse entities of unknown schemas as well.
    return chosen.map(lambda call: replace(call, context=None))


def wrong_subject(**fields: tuple[Any, ...]) -> st.SearchStrategy[Call]:
    """Return calls with a subject that has these fields."""
    told = st.fixed_dictionaries({name: st.just(values) for name, values in fields.items()})
    return st.builds(
        Call, st.just("track_page_view"), st.just(A_PAGE), subject=told, by_position=st.booleans()
    )


NOT_NUMBERS = [math.nan, math.inf, -math.inf]
WITH_NAN = [GEO._replace(data={"latitude": math.nan}), GEO._replace(data={"path": [[1.5, -math.inf]]})]
DEEP = json.loads("[" * 40 + "]" * 40)

REFUSED = [
    # --- the pipeline loses the event (docs/explanation/protocol.md, "Fields and limits")
    Refused(
        "NaN and the infinities are no numbers to the pipeline",
        wrong("track_struct_event", value=NOT_NUMBERS)
        | wrong("track_ecommerce_transaction", total_value=NOT_NUMBERS)
        | wrong("track_ecommerce_transaction", shipping=NOT_NUMBERS)
        | wrong("track_ecommerce_transaction", tax_value=NOT_NUMBERS)
        | wrong("track_ecommerce_transaction_item", price=NOT_NUMBERS)
        | wrong("track_add_to_cart", unit_price=NOT_NUMBERS)
        | wrong("track_remove_from_cart", quantity=NOT_NUMBERS),
    ),
    Refused("nor are they in JSON", wrong("track_self_describing_event", event_json=WITH_NAN)),
    Refused(
        "a currency has at most three characters",
        wrong("track_ecommerce_transaction", currency=["EURO", "😀😀", "\t"])
        | wrong("track_ecommerce_transaction_item", currency=["EURO"]),
    ),
    Refused(
        "a text that is too long is not cut but lost",
        wrong("track_page_view", page_title=["a" * 2001, "😀" * 1001])
        | wrong("track_page_ping", page_url=["a" * 10_001, "http://" + "a" * 256, "https://a/" + "a" * 3000])
        | wrong("track_page_view", referrer=["https://a/?" + "a" * 6001, "a" * 17 + "://a"])
        | wrong("track_struct_event", category=["é" * 1001])
        | wrong("track_struct_event", label=["a" * 4097])
        | wrong("track_ecommerce_transaction", city=["a" * 256])
        | wrong("track_form_change", form_id=["a" * 4097])
        | wrong("track_form_change", value=["a" * 65_536])
        | wrong_subject(user_id=("a" * 256,))
        | wrong_subject(useragent=("a" * 1001,))
        | wrong_subject(domain_user_id=("a" * 129,))
        | st.just(Call("track_page_view", A_PAGE, namespace="a" * 129)),
    ),
    Refused(
        "the _sp parameter of a page's address must have a readable time",
        wrong("track_page_view", page_url=["https://a/?_sp=duid.x", "a?b&_sp=d.1e3"]),
    ),
    Refused(
        "whole numbers have 32 bits",
        wrong("track_page_ping", max_x=[2**31])
        | wrong("track_ecommerce_transaction_item", quantity=[2**31, -(2**31) - 1])
        | wrong("track_site_search", total_results=[2**31, -1])
        | wrong_subject(screen_resolution=(2**31, 1))
        | wrong_subject(domain_session_index=(2**31,)),
    ),
    Refused("years have four digits", st.just(Call("track_page_view", A_PAGE, when=When("tstamp", 1e15)))),
    Refused("a screen view has a name or an id", wrong("track_screen_view", name=[None], id_=[None])),
    Refused("the element of a form has an id", wrong("track_form_change", element_id=[None])),
    Refused("filters are strings or booleans", wrong("track_site_search", filters=[{"a": 1}, {"a": None}])),
    Refused(
        "some ids are UUIDs",
        wrong(MOBILE_VIEW, id_=["screen23"])
        | wrong(MOBILE_VIEW, previous_id=["{5cea9899-10df-4ccf-bf66-8c36f4a4bba2}"])
        | wrong_subject(domain_session_id=("5cea989910df4ccfbf668c36f4a4bba2",)),
    ),
    Refused(
        "a schema is named by an Iglu URI",
        wrong("track_self_describing_event", event_json=[Json("iglu:com.acme/x/jsonschema/1-0", {})])
        | st.just(Call("track_page_view", A_PAGE, context=[Json("com.acme/x", {})])),
    ),
    Refused(
        "JSON is nested 40 levels deep at most",
        wrong("track_unstruct_event", event_json=[GEO._replace(data={"deep": DEEP})]),
    ),
    # --- the pipeline would take it, and it would say something else
    Refused(
        "of several addresses the pipeline keeps the first",
        wrong_subject(ip_address=("10.0.0.1, 10.0.0.2",)),
        is_lost=False,
    ),
    Refused(
        "an item has the currency of its transaction: 1.1.0 writes over it",
        wrong("track_ecommerce_transaction", currency=["EUR"], items=[[{**AN_ITEM, "currency": "USD"}]]),
        is_lost=False,
    ),
    Refused(
        "a namespace with a colon or a semicolon is two to those who read it",
        st.just(Call("track_page_view", A_PAGE, namespace="a:b"))
        | st.just(Call("track_page_view", A_PAGE, namespace="a;b")),
        is_lost=False,
    ),
    # --- the documentation's own range
    Refused("a screen's name is not empty", wrong("track_screen_view", name=[""]), is_lost=False),
    Refused(
        "sizes and counts are not negative",
        wrong_subject(color_depth=(0,)) | wrong_subject(domain_session_index=(-1,)),
        is_lost=False,
    ),
    Refused(
        "a number other than 0 is at least 1e-324: the pipeline would write out its digits",
        wrong("track_struct_event", value=[Decimal("1E-325"), Decimal("-1E-5000")]),
        is_lost=False,
    ),
    Refused(
        "a transaction is refused as a whole: 1.1.0 sends what comes before the wrong item",
        wrong("track_ecommerce_transaction", items=[[AN_ITEM, {**AN_ITEM, "sku": ""}]]),
        is_lost=False,
    ),
]

TAKEN = {
    "the platform of headsets": Call("track_page_view", A_PAGE, subject={"platform": ("headset",)}),
}

REFUSED_BY_BOTH = {
    "a mobile screen view whose name is empty": Call(MOBILE_VIEW, {"name": ""}),
    "an empty page URL": Call("track_page_view", {"page_url": ""}),
    "an empty category": Call("track_struct_event", {"category": "", "action": "a"}),
    "an empty action": Call("track_struct_event", {"category": "c", "action": ""}),
    "an empty target URL": Call("track_link_click", {"target_url": ""}),
    "an empty SKU in a cart": Call("track_add_to_cart", {"sku": "", "quantity": 1}),
    "an empty SKU out of a cart": Call("track_remove_from_cart", {"sku": "", "quantity": 1}),
    "an empty form id": Call("track_form_submit", {"form_id": ""}),
    "an empty order id": Call("track_ecommerce_transaction", {"order_id": "", "total_value": 1}),
    "an empty id of an item's order": Call("track_ecommerce_transaction_item", {"id_": "", **AN_ITEM}),
    "no search terms": Call("track_site_search", {"terms": []}),
    "a node that is no element of a form": Call(
        "track_form_change", {"form_id": "f", "element_id": "e", "node_name": "age", "value": "24"}
    ),
    "a type that no input has": Call(
        "track_form_change",
        {"form_id": "f", "element_id": "e", "node_name": "INPUT", "value": "24", "type_": "age"},
    ),
    "an element without a node name": Call(
        "track_form_submit", {"form_id": "f", "elements": [{"name": "a", "value": "b"}]}
    ),
    "an element with an unknown type": Call(
        "track_form_submit",
        {"form_id": "f", "elements": [{"name": "a", "value": "b", "nodeName": "INPUT", "type": "age"}]},
    ),
    "a platform that nobody knows": Call("track_page_view", A_PAGE, subject={"platform": ("walrus",)}),
    "a screen without width": Call("track_page_view", A_PAGE, subject={"screen_resolution": (0, 1)}),
    "a window without height": Call("track_page_view", A_PAGE, subject={"viewport": (1, 0)}),
}


# --- what the rules above say


def now() -> int:
    return time.time_ns() // 1_000_000


def is_of_the_call(seen: Seen, stamp: str | None) -> bool:
    """Return whether *stamp* was made while both were at work."""
    return stamp is not None and stamp.isdecimal() and seen.since <= int(stamp) <= now()


def is_given(seen: Seen, stamp: str | None) -> bool:
    """Return whether *stamp* is what the call says, in whole milliseconds."""
    return stamp == str(int(seen.call.when.milliseconds or 0))


def without(name: str, envelope: Any) -> str:
    """Return the self-describing event in *envelope*, but for a property of its data, as text."""
    inner = envelope["data"]
    rest = {key: value for key, value in inner["data"].items() if key != name}
    return repr({**envelope, "data": {**inner, "data": rest}})


def is_uuid(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


def carries(envelope: Any, context: Sequence[Json] | None) -> bool:
    """Return whether the entities in *envelope* are those of *context*, in their order."""
    sent = [] if envelope is None else envelope["data"]
    given = [{"schema": entity.schema, "data": entity.data} for entity in context or ()]
    return repr(sent) == repr(exact(json.dumps(given)))


# --- the comparison


def compare(both: Both, call: Call) -> list[Difference]:
    """Make *call* on both, and return the differences that are allowed. Fails at the first that is not."""
    since = now()
    theirs, ours = both.make(call)
    assert (theirs.refusal, ours.refusal) == (None, None)
    assert len(theirs.events) == len(ours.events) == 1 + len(call.items)
    assert both.face == "blocking" or ours.event_id == ours.events[0]["eid"]
    pairs = enumerate(zip(theirs.events, ours.events, strict=True))
    return [found for i, pair in pairs for found in differences(Seen(call, since, i, *pair))]


def differences(seen: Seen) -> Iterator[Difference]:
    """Yield the allowed differences between two events. Fails at one that is not."""
    for key in sorted((seen.theirs.keys() | seen.ours.keys()) - {"(length)"}):
        theirs, ours = seen.theirs.get(key), seen.ours.get(key)
        # As texts: 1 equals True and 1.0, and must not.
        if repr(theirs) != repr(ours):
            allowed = [d for d in DIFFERENCES if key in d.fields.split() and d.holds(seen, theirs, ours)]
            assert allowed, f"{key}: the original sends {theirs!r}, here it is {ours!r}"
            yield allowed[0]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """The two sides of a module open their connections with the first event, and keep them to its end."""


@pytest.fixture(
    scope="module", params=[(m, f) for f in ("async", "blocking") for m in ("post", "get")], ids=" ".join
)
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    with both_by(*request.param) as made:
        yield made


@pytest.fixture(scope="module", params=["async", "blocking"])
def both_by_post(request: pytest.FixtureRequest) -> Iterator[Both]:
    with both_by("post", request.param) as made:
        yield made


# The two trackers of ours build events with the same code: of the second one, a part is enough.
CALLS_OF_EACH: Mapping[Face, int] = {"async": scale(34, 75), "blocking": scale(8, 75)}
ALL_CALLS: Mapping[Face, int] = {"async": scale(1000, 2000), "blocking": scale(200, 2000)}
REFUSED_OF_EACH: Mapping[Face, int] = {"async": 15, "blocking": scale(3, 15)}

generated = partial(
    settings, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.parametrize("method", METHODS)
def test_what_arrives_is_what_the_original_sends(method: str, both: Both) -> None:
    compared = 0

    @generated(max_examples=CALLS_OF_EACH[both.face])
    @given(calls(method))
    def check(call: Call) -> None:
        nonlocal compared
        compare(both, call)
        compared += 1

    check()
    # By POST and by GET.
    assert compared * len(METHODS) * 2 >= ALL_CALLS[both.face]


@pytest.mark.parametrize("difference", [pytest.param(d, id=d.reason) for d in DIFFERENCES])
def test_an_allowed_difference_is_still_there(difference: Difference, both: Both) -> None:
    # Two clocks may show the same once, but not three times.
    is_there = any(difference in compare(both, difference.example) for _ in range(3))

    assert is_there == (difference.only in (None, both.method))


@pytest.mark.parametrize("refused", [pytest.param(r, id=r.reason) for r in REFUSED])
def test_what_the_original_sends_for_nothing_is_refused_here(refused: Refused, both_by_post: Both) -> None:
    @generated(max_examples=REFUSED_OF_EACH[both_by_post.face])
    @given(refused.calls)
    def check(call: Call) -> None:
        theirs, ours = both_by_post.make(call)
        assert theirs.events
        assert all(theirs.verdicts()) is not refused.is_lost
        assert ours.refusal is not None
        assert ours.events == []

    check()


@pytest.mark.parametrize("call", TAKEN.values(), ids=TAKEN)
def test_what_the_pipeline_takes_is_sent_though_the_original_refuses_it(
    call: Call, both_by_post: Both
) -> None:
    theirs, ours = both_by_post.make(call)

    assert theirs.refusal is not None
    assert ours.verdicts() == [True]


@pytest.mark.parametrize("call", REFUSED_BY_BOTH.values(), ids=REFUSED_BY_BOTH)
def test_what_the_documentation_rules_out_is_refused_by_both(call: Call, both_by_post: Both) -> None:
    for outcome in both_by_post.make(call):
        assert outcome.refusal is not None
        assert outcome.events == []
