"""Generated requests get the same verdict from Micro and from the oracle of the conformance data."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from snowplow_aio.micro import Micro
from tests.conformance.oracle import Oracle, public_schemas
from tests.conformance.validate import Checker

from .wire import BAD_ROWS, TP2, envelope, send, stage

IGLU = "iglu:com.snowplowanalytics.snowplow"
UUID = "5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6"

# Values on both sides of the rules, for any key.
TRICKY = [
    "", "0", "1", "-5", "+5", " 5", "5.0", "1.5", "1e3", ".5", "5.", "null", "NULL", "NaN", "Infinity",
    "1_000",
    "2147483647", "2147483648", "-2147483648", "-2147483649", "٣", "\U0001d7d7", "1e-7", "1e6000", "19,99",
    "1700000000000", "-62167219200000", "-62167219200001", "253402300799999", "253402300800000",
    "99999999999999999999",
    "100x200", "100X200", "0x0", "-1x5", "1x2147483648", "web", "headset", "WEB", "pv", "se", "ue", "ad",
    "xx",
    UUID, UUID.upper(), UUID.replace("-", ""), "true", "a\tb", "\x00\x7f", "é", "😀" * 3, "abc", "abcd",
    "a" * 12, "a" * 13,
    "a" * 128, "a" * 129, "a" * 255, "a" * 256, "😀" * 64, "😀" * 65, "a" * 1000, "a" * 1001,
    "\t" * 32, "\t" * 33, "1.2.3.4, 5.6.7.8", "http://example.com/?_sp=abc.1700000000000",
    "http://example.com/?_sp=abc.1.5", "http://example.com/?_sp=abc.x", "http://example.com/?_sp=.x;_sp=a",
    "http://example.com/" + "p" * 3000,
    "http://example.com/" + "p" * 2999, "http://example.com/?" + "q" * 6001,
    "http://" + "h" * 256 + "/", "abcdefghijklmnopq://x/", "abcdefghijklmnopq:x", "mailto:" + "m" * 4000,
    "www.example.com/x y", "http://a_b.com/" + "p" * 10, "http://example.com/#" + "f" * 3001, "{a}",
]  # fmt: skip
KEYS = [
    "e", "ip", "aid", "p", "tid", "uid", "duid", "nuid", "tnuid", "ua", "fp", "vid", "sid", "dtm", "ttm",
    "stm",
    "tna", "tv", "lang", "f_pdf", "cookie", "res", "cd", "tz", "refr", "url", "page", "cs", "ds", "vp",
    "eid",
    "se_ca", "se_ac", "se_la", "se_pr", "se_va", "tr_id", "tr_tt", "tr_cu", "ti_na", "ti_nm", "ti_pr",
    "ti_qu",
    "ti_cu", "pp_mix", "pp_may", "ad_ba", "ue_na",
]  # fmt: skip

texts = st.sampled_from(TRICKY) | st.text(max_size=6)
numbers = st.sampled_from(
    [0, 1, -1, 2147483647, 2147483648, 1.5, 5.0, 19.99, 19.999, 0.30000000000000004, 90, 90.01]
)
formed = st.sampled_from(
    [
        "2020-01-01T00:00:00Z", "2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00-00:00",
        "2020-01-01 00:00:00.123z",
        "2020-02-30T00:00:00Z", "2020-01-01T24:00:00Z", "2016-12-31T23:59:60Z", "2020-01-01T00:00:00",
        UUID, "x",
        "2020-01-01T00:00:00+18:00", "2020-01-01T00:00:00+18:01", "2020-01-01T00:00:00.1234567890Z",
        "http://x.com/a?b#c", "http://x.com/a b", "x.com", "mailto:a@b.co", "",
    ]
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | numbers | formed | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=6,
)
values = formed | numbers | json_values

described = st.one_of(
    st.fixed_dictionaries(
        {
            "schema": st.just(f"{IGLU}/link_click/jsonschema/1-0-1"),
            "data": st.fixed_dictionaries(
                {}, optional={"targetUrl": values, "elementId": values, "elementClasses": values, "x": values}
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "schema": st.just(f"{IGLU}.ecommerce/product/jsonschema/1-0-0"),
            "data": st.fixed_dictionaries(
                {"id": st.just("1"), "category": st.just("c"), "currency": st.just("EUR"), "price": values},
                optional={"quantity": values, "position": values},
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "schema": st.just(f"{IGLU}/client_session/jsonschema/1-0-2"),
            "data": st.fixed_dictionaries(
                {
                    "userId": st.just(UUID),
                    "sessionId": st.just(UUID) | values,
                    "sessionIndex": st.just(1) | values,
                    "previousSessionId": st.none() | values,
                    "storageMechanism": st.just("SQLITE"),
                },
                optional={"firstEventTimestamp": formed, "firstEventId": values},
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "schema": st.just(f"{IGLU}/consent_preferences/jsonschema/1-0-0"),
            "data": st.fixed_dictionaries(
                {
                    "eventType": st.just("allow_all"),
                    "basisForProcessing": st.just("consent"),
                    "consentUrl": formed,
                    "consentVersion": st.just("1"),
                    "consentScopes": st.just(["a"]) | values,
                    "domainsApplied": st.just(["a"]) | values,
                }
            ),
        }
    ),
    st.sampled_from(
        [
            {"schema": "iglu:com.acme/nope/jsonschema/1-0-0", "data": {}},
            {"schema": "iglu:com.acme/nope/jsonschema/0-0-1", "data": {}},
            {"schema": "link_click", "data": {}},
            {"schema": f"{IGLU}/link_click/jsonschema/1-0-1"},
            {"schema": f"{IGLU}/link_click/jsonschema/1-0-1", "data": {"targetUrl": "x"}, "more": 1},
            {"schema": f"{IGLU}/link_click/jsonschema/1-0-1", "data": {"targetUrl": "x"}},
        ]
    ),
    json_values,
)


def wrapped(name: str, versions: list[str], data: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Texts of the envelope *name*, some of them broken."""
    documents = st.builds(
        lambda version, inner: {"schema": f"{IGLU}/{name}/jsonschema/{version}", "data": inner},
        st.sampled_from(versions),
        data,
    )
    other = st.sampled_from(
        ["", "foo", "null", '{"schema": 1}', '{"data": NaN}', "[" * 30 + "]" * 30, "[" * 41 + "]" * 41]
    )
    return (
        documents.map(json.dumps)
        | documents.map(lambda document: json.dumps(document, ensure_ascii=False))
        | other
    )


def base64_forms(text: str) -> st.SearchStrategy[str]:
    raw = text.encode("utf-8", "replace")
    return st.sampled_from(
        [
            base64.urlsafe_b64encode(raw).decode(),
            base64.b64encode(raw).decode().rstrip("="),
            base64.b64encode(raw).decode()[:-3],
            "!" + base64.b64encode(raw).decode() + "~",
        ]
    )


unstruct = wrapped("unstruct_event", ["1-0-0"] * 6 + ["1-0-1", "1-1-0", "2-0-0"], described)
contexts = wrapped(
    "contexts", ["1-0-0", "1-0-1", "1-0-1", "1-0-2"], st.lists(described, max_size=2) | json_values
)
event_fields = st.fixed_dictionaries(
    {"e": st.sampled_from(["pv", "se", "ue", "ue", "tr"]), "p": st.just("srv"), "tv": st.just("t")},
    optional={
        "ue_pr": unstruct,
        "ue_px": unstruct.flatmap(base64_forms),
        "co": contexts,
        "cx": contexts.flatmap(base64_forms),
    },
)
events = st.builds(
    lambda fields, more: {**fields, **more},
    event_fields,
    st.dictionaries(st.sampled_from(KEYS), texts, max_size=2),
)
# Now and then what no payload_data allows.
broken_events = st.builds(
    lambda event, more: {**event, **more},
    events,
    st.dictionaries(st.sampled_from(["zzz", "cv", "page"]), json_values, max_size=1),
)
bodies = st.one_of(
    st.builds(
        lambda found, version: envelope(*found, version=version),
        st.lists(events, max_size=3),
        st.sampled_from(["1-0-4"] * 6 + ["1-0-0", "1-0-2", "1-0-3", "1-0-5", "1-1-0"]),
    ),
    st.lists(broken_events, max_size=2).map(lambda found: envelope(*found)),
    json_values.map(json.dumps),
    st.text(max_size=10),
)
pairs = st.tuples(st.sampled_from([*KEYS, "zzz", "cv", "ev_va"]), texts)
raw_pieces = st.text(st.sampled_from('aeip=&;+%20{|}"^`[]<>\\'), max_size=8)
queries = st.one_of(
    st.just(""),
    st.lists(pairs, max_size=4).map(
        lambda found: "&".join(f"{k}={quote_plus(v)}" for k, v in [("e", "pv"), *found])
    ),
    st.builds(lambda raw: f"e=pv&{raw}", raw_pieces),
    events.map(lambda event: "&".join(f"{k}={quote_plus(v, errors='replace')}" for k, v in event.items())),
)
content_types = st.sampled_from(
    ["application/json"] * 8
    + [
        "application/json; charset=UTF-8",
        "application/json;charset=utf-8",
        "text/plain",
        "application/json; charset=latin1",
    ]
)


class Comparison:
    """One running Micro, and the oracle's opinion on what it has received."""

    def __init__(self, oracle: Oracle) -> None:
        folder = public_schemas()
        self._checker = Checker(oracle.registry)
        self._requests: list[dict[str, Any]] = []
        self._seen: list[dict[str, Any]] = []
        self._runner = asyncio.Runner()
        self._micro = Micro(
            schemas=[] if folder is None else [folder],
            record=self._requests.append,
            on_event=self._seen.append,
        )
        self._runner.run(self._micro.start())

    def close(self) -> None:
        self._runner.run(self._micro.aclose())
        self._runner.close()

    def verdicts(self, *request: Any, **options: Any) -> tuple[list[Any], list[Any]]:
        """Send a request; return what Micro and the oracle say of each event: None, or the bad row."""
        self._requests.clear()
        self._seen.clear()
        self._runner.run(send(self._micro, *request, **options))
        expected = [
            None if verdict.is_valid else BAD_ROWS[verdict.stage or ""]
            for verdict in self._checker.request(0, self._requests[0])
            if verdict.status == 200
        ]
        return [stage(record) if "errors" in record else None for record in self._seen], expected


@pytest.fixture(scope="module")
def comparison(oracle: Oracle) -> Iterator[Comparison]:
    found = Comparison(oracle)
    yield found
    found.close()


generated = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@generated
@given(query=queries, body=bodies, content_type=content_types)
@example(query="", body=envelope(), content_type="application/json")
def test_a_post_gets_the_oracles_verdict(
    comparison: Comparison, query: str, body: str, content_type: str
) -> None:
    target = f"{TP2}?{query}" if query else TP2
    headers = {"Content-Type": content_type}
    ours, theirs = comparison.verdicts("POST", target, headers=headers, body=body.encode("utf-8", "replace"))
    assert ours == theirs


@generated
@given(
    query=queries,
    path=st.sampled_from(["/i", "/ice.png", TP2, "/com.acme/v1"]),
    method=st.sampled_from(["GET", "HEAD"]),
)
def test_a_get_gets_the_oracles_verdict(comparison: Comparison, query: str, path: str, method: str) -> None:
    ours, theirs = comparison.verdicts(method, f"{path}?{query}")
    # An empty query is refused by the tracker protocol's adapter; the oracle calls that stage by its path.
    assert [found if query else bool(found) for found in ours] == [
        found if query else bool(found) for found in theirs
    ]
