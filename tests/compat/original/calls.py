"""Calls of the documented tracking methods, for any of the two libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from hypothesis import strategies as st

INT32 = 2**31 - 1
YEAR_9999 = 253_402_300_799_999
SMALLEST_MILLISECONDS = 100_000_000_000

NODE_NAMES = ["INPUT", "TEXTAREA", "SELECT"]
INPUT_TYPES = [
    "button", "checkbox", "color", "date", "datetime", "datetime-local", "email", "file", "hidden", "image",
    "month", "number", "password", "radio", "range", "reset", "search", "submit", "tel", "text", "time",
    "url", "week",
]  # fmt: skip


class Json(NamedTuple):
    """A self-describing JSON."""

    schema: str
    data: Any


@dataclass(frozen=True)
class When:
    """How a call says when the event happened."""

    how: Literal["now", "tstamp", "TrueTimestamp", "true_timestamp"] = "now"
    milliseconds: float | None = None


Fields = Mapping[str, tuple[Any, ...]]
"""What a subject is told: the arguments of its setters."""


@dataclass(frozen=True)
class Call:
    """One call of a tracking method, and of the tracker that it is made on."""

    method: str
    arguments: Mapping[str, Any]
    context: Sequence[Json] | None = None
    when: When = When()
    subject: Fields | None = None
    by_position: bool = False
    tracker_subject: Fields | None = None
    namespace: str = "cf"
    app_id: str | None = None
    encode_base64: bool = True

    @property
    def items(self) -> Sequence[Mapping[str, Any]]:
        """The items of a transaction."""
        return self.arguments.get("items") or ()


# --- values


def units(text: str) -> int:
    """Return the length of *text* as the pipeline stores it: in UTF-16, a tab as four spaces."""
    return len(text.replace("\t", "    ").encode("utf-16-le")) // 2


def texts(limit: int | None = None, least: int = 0, *, without: str = "") -> st.SearchStrategy[str]:
    """Return texts of *least* characters to *limit* units, in any script, now and then of full length."""
    size = {"min_size": least, "max_size": least + 8}
    any_text = st.text(st.characters(codec="utf-8", exclude_characters=without), **size)
    awkward = "".join(c for c in 'aé€😀\t\0\n"\\&;+%=|,#/?<> ' if c not in without)
    found = any_text | st.text(awkward, **size)
    if limit is None:
        return found
    full = st.sampled_from(["a" * limit, "é" * limit, "😀" * (limit // 2)])
    return (
        st.integers(0, 24).flatmap(lambda n: full if n == 24 else found).filter(lambda t: units(t) <= limit)
    )


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return *values* and None."""
    return st.none() | values


NUMBERS = (
    st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | st.sampled_from([0, 0.0, -0.0, 1, 5.0, 13.99, -2.5, 0.1 + 0.2, 1e-7, 1e16, 1e22, 10**300])
)
INT32S = st.integers(-INT32 - 1, INT32) | st.sampled_from([0, 1, INT32, -INT32 - 1])
COUNTS = st.integers(0, INT32) | st.sampled_from([0, 1, INT32])
SIZES = st.integers(1, INT32)
UUIDS = st.uuids().map(str) | st.uuids().map(lambda uuid: str(uuid).upper())
URLS = st.sampled_from(
    [
        "www.example.com",
        "http://www.films.com/?q=a+b&c=%20;d#f",
        "https://bücher.example/ö?x=😀",
        "mailto:a@b.example",
        "https://example.com/" + "a" * 2980,
        "https://example.com/?_sp=duid.1368725287000",
    ]
) | texts(least=1)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts()
)
DATA = st.dictionaries(
    texts(),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
SCHEMAS = st.builds(
    "iglu:{}/{}/jsonschema/{}-{}-{}".format,
    st.sampled_from(["com.acme", "org.w3", "com.example_company", "A-9._x"]),
    st.sampled_from(["save_game", "save-game", "GeoLocation", "x"]),
    st.integers(1, 200),
    st.integers(0, 200),
    st.integers(0, 200),
)
JSONS = st.builds(Json, SCHEMAS, DATA) | st.sampled_from(
    [
        Json(
            "iglu:com.snowplowanalytics.snowplow/geolocation_context/jsonschema/1-0-0",
            {"latitude": -23.2, "longitude": 43.0},
        ),
        Json(
            "iglu:com.acme_company/movie_poster/jsonschema/2-1-1",
            {"movie_name": "Solaris", "poster_country": "JP", "poster_year": "1978-01-01"},
        ),
        Json(
            "iglu:com.example_company/save-game/jsonschema/1-0-2",
            {"save_id": "4321", "level": 23, "difficultyLevel": "HARD", "dl_content": True},
        ),
    ]
)
CONTEXTS = st.none() | st.lists(JSONS, max_size=3)
# Fewer milliseconds are refused here, as they look like seconds.
STAMPS = (
    st.integers(SMALLEST_MILLISECONDS, YEAR_9999)
    | st.floats(SMALLEST_MILLISECONDS, YEAR_9999)
    | st.sampled_from([SMALLEST_MILLISECONDS, 1368725287000, 1368725287000.9])
)
WHENS = st.sampled_from(["now", "tstamp", "TrueTimestamp", "true_timestamp"]).flatmap(
    lambda how: st.just(When()) if how == "now" else st.builds(When, st.just(how), STAMPS)
)

SUBJECT: Mapping[str, st.SearchStrategy[tuple[Any, ...]]] = {
    "platform": st.tuples(st.sampled_from(["pc", "tv", "mob", "cnsl", "iot", "web", "srv", "app"])),
    "user_id": st.tuples(texts(255)),
    "screen_resolution": st.tuples(SIZES, SIZES),
    "viewport": st.tuples(SIZES, SIZES),
    "color_depth": st.tuples(SIZES),
    "timezone": st.tuples(texts(255)),
    "lang": st.tuples(texts(255)),
    "ip_address": st.tuples(texts(128, without=", |")),
    "useragent": st.tuples(texts(1000)),
    "domain_user_id": st.tuples(texts(128)),
    "network_user_id": st.tuples(texts(128)),
    "domain_session_id": st.tuples(UUIDS),
    "domain_session_index": st.tuples(COUNTS),
}
SUBJECTS = st.none() | st.fixed_dictionaries({}, optional=SUBJECT)


# --- methods


@dataclass(frozen=True)
class Method:
    """The arguments of a tracking method in their order."""

    required: Mapping[str, st.SearchStrategy[Any]]
    optional: Mapping[str, st.SearchStrategy[Any]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All names, as this library has them, but for those that every method has."""
        return [*self.required, *self.optional]

    def arguments(self, **instead: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        """Return all arguments or some; those in *instead* are always given."""
        required = {**self.required, **instead}
        rest = {name: values for name, values in self.optional.items() if name not in instead}
        some = {name: optional(values) for name, values in rest.items()}
        # Made once: one that is made for each call is also checked for each.
        full = st.fixed_dictionaries({**required, **rest})
        partial = st.fixed_dictionaries(required, optional=some)
        return st.booleans().flatmap(lambda is_full: full if is_full else partial)


_PAGE = {"page_title": texts(2000), "referrer": URLS}
_CLASSES = st.lists(texts(), max_size=3)
_CART = Method(
    {"sku": texts(least=1), "quantity": st.integers(-(10**9), 10**9)},
    {"name": texts(), "category": texts(), "unit_price": NUMBERS, "currency": texts()},
)
_JSON = Method({"event_json": JSONS})
_ITEM = Method(
    {"sku": texts(255, 1), "price": NUMBERS, "quantity": INT32S},
    {"name": texts(255), "category": texts(255)},
)
ITEMS = Method(_ITEM.required, {**_ITEM.optional, "context": CONTEXTS}).arguments()
ELEMENTS = st.fixed_dictionaries(
    {"name": texts(), "value": optional(texts()), "nodeName": st.sampled_from(NODE_NAMES)},
    optional={"type": st.sampled_from(INPUT_TYPES)},
)

METHODS: Mapping[str, Method] = {
    "track_page_view": Method({"page_url": URLS}, _PAGE),
    "track_page_ping": Method(
        {"page_url": URLS}, {**_PAGE, "min_x": COUNTS, "max_x": COUNTS, "min_y": COUNTS, "max_y": COUNTS}
    ),
    "track_screen_view": Method({"name": texts(least=1)}, {"id_": texts()}),
    "track_mobile_screen_view": Method(
        {"name": texts(least=1)},
        {
            "id_": UUIDS,
            "type_": texts(),
            "previous_name": texts(),
            "previous_id": UUIDS,
            "previous_type": texts(),
            "transition_type": texts(),
        },
    ),
    "track_struct_event": Method(
        {"category": texts(1000, 1), "action": texts(1000, 1)},
        {"label": texts(4096), "property_": texts(1000), "value": NUMBERS},
    ),
    "track_self_describing_event": _JSON,
    "track_unstruct_event": _JSON,
    "track_link_click": Method(
        {"target_url": URLS},
        {
            "element_id": texts(),
            "element_classes": _CLASSES | _CLASSES.map(tuple),
            "element_target": texts(),
            "element_content": texts(),
        },
    ),
    "track_add_to_cart": _CART,
    "track_remove_from_cart": _CART,
    "track_form_change": Method(
        {
            "form_id": texts(4096, 1),
            "element_id": texts(4096),
            "node_name": st.sampled_from(NODE_NAMES),
            "value": optional(texts()),
        },
        {"type_": st.sampled_from(INPUT_TYPES), "element_classes": _CLASSES},
    ),
    "track_form_submit": Method(
        {"form_id": texts(4096, 1)},
        {"form_classes": _CLASSES, "elements": st.lists(ELEMENTS, max_size=3)},
    ),
    "track_site_search": Method(
        {"terms": st.lists(texts(), min_size=1, max_size=3)},
        {
            "filters": st.dictionaries(texts(), texts() | st.booleans(), max_size=3),
            "total_results": COUNTS,
            "page_results": COUNTS,
        },
    ),
    "track_ecommerce_transaction": Method(
        {"order_id": texts(255, 1), "total_value": NUMBERS},
        {
            "affiliation": texts(255),
            "tax_value": NUMBERS,
            "shipping": NUMBERS,
            "city": texts(255),
            "state": texts(255),
            "country": texts(255),
            "currency": texts(3),
            "items": st.lists(ITEMS, max_size=3),
        },
    ),
    "track_ecommerce_transaction_item": Method(
        {"id_": texts(255, 1), **_ITEM.required}, {**_ITEM.optional, "currency": texts(3)}
    ),
}


def calls(method: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    """Return calls of *method* within the documented range, but for *arguments*."""
    return st.builds(
        Call,
        method=st.just(method),
        arguments=METHODS[method].arguments(**arguments),
        context=CONTEXTS,
        when=WHENS,
        subject=SUBJECTS,
        by_position=st.booleans(),
        tracker_subject=SUBJECTS,
        namespace=texts(128, without=":;"),
        app_id=optional(texts(255)),
        encode_base64=st.booleans(),
    )
