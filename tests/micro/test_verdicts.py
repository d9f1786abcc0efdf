"""What is wrong with an event is said completely: the field, the value and the rule."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.iglu.json_text import decode_base64
from snowplow_aio.micro import Micro
from snowplow_aio.micro.describe import describe, error_messages
from snowplow_aio.micro.fields import PAYLOAD_KEYS
from snowplow_aio.model.self_describing import SelfDescribing

from .wire import TP2, bad_row, envelope, page_view, post, send, stage

pytestmark = pytest.mark.anyio

SNOWPLOW = "iglu:com.snowplowanalytics.snowplow"


class SaveGame(SelfDescribing, schema="iglu:com.acme/save_game/jsonschema/1-0-2"):
    level: int


def unstruct(schema: str, data: Any) -> dict[str, Any]:
    """Return a self-describing event as a tracker would send it."""
    inner = {"schema": schema, "data": data}
    document = {"schema": f"{SNOWPLOW}/unstruct_event/jsonschema/1-0-0", "data": inner}
    return {**page_view(), "e": "ue", "ue_pr": json.dumps(document)}


def entities(*found: Any) -> dict[str, Any]:
    document = {"schema": f"{SNOWPLOW}/contexts/jsonschema/1-0-1", "data": list(found)}
    return page_view(co=json.dumps(document))


def write_schema(root: Path, name: str, **schema: Any) -> str:
    """Write a schema of com.acme into the folder *root* and return its Iglu URI."""
    folder = root / "com.acme" / name / "jsonschema"
    folder.mkdir(parents=True)
    (folder / "1-0-0").write_text(json.dumps(schema), "utf-8")
    return f"iglu:com.acme/{name}/jsonschema/1-0-0"


async def errors_of(micro: Micro, event: dict[str, Any]) -> list[str]:
    micro.reset()
    assert (await post(micro, event)).status == 200
    assert micro.counts()["total"] == 1
    return [message for bad in micro.bad for message in error_messages(bad)]


async def test_all_problems_of_an_event_are_found(micro: Micro) -> None:
    found = await errors_of(
        micro,
        page_view(vid="1.0", sid="x", url="http://x.com/?_sp=a.b", page="p" * 2001, co="{", ue_pr="[]"),
    )
    assert [message.partition(":")[0] for message in found] == [
        "vid (domain_sessionidx)",
        "sid (domain_sessionid)",
        "co",
        "ue_pr",
        "sp_dtm",
        "page (page_title)",
    ]
    kinds = [json.loads(row)["schema"].split("/")[1] for row in micro.bad[0]["errors"][1:]]
    assert kinds == ["schema_violations", "enrichment_failures", "schema_violations"]


async def test_a_message_names_the_field_the_rule_and_the_shortened_value(micro: Micro) -> None:
    (found,) = await errors_of(micro, page_view(page="p" * 2001))
    assert found.startswith("page (page_title): must have at most 2000 characters, it has 2001, got 'ppp")
    assert len(found) < 250


async def test_a_request_is_refused_with_the_place_in_its_body(micro: Micro) -> None:
    await post(micro, page_view(), {"e": "pv", "tv": "t", "zzz": "1", "page": 5})
    assert micro.counts() == {"total": 1, "good": 0, "bad": 1}
    found = list(error_messages(micro.bad[0]))
    assert [message.partition(" (")[0] for message in found] == [
        "$[1]: must have p",
        "$[1]: must not have 'zzz', this version has no such key",
        "$[1].page: must be a string, got 5",
    ]


async def test_the_content_type_is_named(micro: Micro) -> None:
    await send(micro, "POST", TP2, body=envelope(page_view()))
    (message,) = bad_row(micro.bad[0])["data"]["failure"]["messages"]
    assert (message["field"], message["value"]) == ("contentType", None)


async def test_an_unknown_schema_is_a_resolution_error(micro: Micro) -> None:
    uri = "iglu:com.acme/unknown/jsonschema/1-0-0"
    assert await errors_of(micro, unstruct(uri, {})) == [f"schema {uri}: not found"]
    (message,) = bad_row(micro.bad[0])["data"]["failure"]["messages"]
    assert message["error"]["error"] == "ResolutionError"
    assert message["schemaKey"] == uri


async def test_a_foreign_envelope_is_a_criterion_mismatch(micro: Micro) -> None:
    await post(
        micro, page_view(co=json.dumps({"schema": f"{SNOWPLOW}/contexts/jsonschema/2-0-0", "data": []}))
    )
    (message,) = bad_row(micro.bad[0])["data"]["failure"]["messages"]
    assert message["schemaCriterion"] == f"{SNOWPLOW}/contexts/jsonschema/1-0-*"


async def test_the_librarys_own_models_are_known_without_any_folder(micro: Micro) -> None:
    uri = f"{SNOWPLOW}/link_click/jsonschema/1-0-1"
    assert await errors_of(micro, unstruct(uri, {"targetUrl": "https://example.com"})) == []
    assert await errors_of(micro, unstruct(uri, {"targetUrl": ""})) != []
    assert await errors_of(micro, unstruct(uri, {"targetUrl": "x", "typo": 1})) != []


async def test_a_given_model_is_checked() -> None:
    async with Micro(schemas=[SaveGame]) as micro:
        await post(micro, unstruct(str(SaveGame.schema_key), {"level": 23}))
        await post(micro, unstruct(str(SaveGame.schema_key), {"level": "23"}))
        assert micro.good[0]["schema"] == str(SaveGame.schema_key)
        assert "'23' is not of type 'integer'" in next(error_messages(micro.bad[0]))


@pytest.mark.parametrize("prefix", ["", "schemas"])
async def test_a_folder_of_schemas_is_checked_in_both_layouts(tmp_path: Path, prefix: str) -> None:
    uri = write_schema(tmp_path / prefix, "thing", type="object", required=["a"])
    async with Micro(schemas=[str(tmp_path)]) as micro:
        assert await errors_of(micro, unstruct(uri, {"a": 1})) == []
        assert await errors_of(micro, unstruct(uri, {})) == [f"$: 'a' is a required property ({uri})"]


async def test_a_folder_is_asked_before_the_shipped_models(tmp_path: Path) -> None:
    folder = tmp_path / "com.snowplowanalytics.snowplow" / "link_click" / "jsonschema"
    folder.mkdir(parents=True)
    (folder / "1-0-1").write_text('{"required": ["mine"]}', "utf-8")
    async with Micro(schemas=[tmp_path]) as micro:
        assert await errors_of(micro, unstruct(f"{SNOWPLOW}/link_click/jsonschema/1-0-1", {"mine": 1})) == []


async def test_a_schema_written_later_is_found(tmp_path: Path) -> None:
    async with Micro(schemas=[tmp_path]) as micro:
        event = unstruct("iglu:com.acme/later/jsonschema/1-0-0", {})
        assert len(await errors_of(micro, event)) == 1
        write_schema(tmp_path, "later", type="object")
        assert await errors_of(micro, event) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "a schema must be a JSON object"),
        ('{"type": "text"}', "this is not a draft-4 schema"),
        ('{"$ref": "http://127.0.0.1:1/other"}', "the schema has a $ref to elsewhere"),
    ],
)
async def test_a_broken_schema_says_why(tmp_path: Path, text: str, reason: str) -> None:
    uri = write_schema(tmp_path, "broken")
    (tmp_path / "com.acme" / "broken" / "jsonschema" / "1-0-0").write_text(text, "utf-8")
    async with Micro(schemas=[tmp_path]) as micro:
        (found,) = await errors_of(micro, unstruct(uri, {}))
    assert found.startswith(f"schema {uri}: {reason}")


async def test_a_vendor_of_dots_does_not_leave_the_folder(tmp_path: Path) -> None:
    write_schema(tmp_path / "inner", "x")
    outside = tmp_path / "name" / "jsonschema"
    outside.mkdir(parents=True)
    (outside / "1-0-0").write_text("{}", "utf-8")
    async with Micro(schemas=[tmp_path / "inner"]) as micro:
        uri = "iglu:../name/jsonschema/1-0-0"
        assert await errors_of(micro, unstruct(uri, {})) == [f"schema {uri}: not found"]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"multipleOf": 0.01}, "19.99", "0.30000000000000004"),
        ({"multipleOf": 0.01}, "123456789012345678901234567890.01", "1e-3"),
        ({"type": "integer"}, "5", "5.0"),
        ({"type": "number"}, "5.0", '"5"'),
        ({"minimum": 0.1}, "0.1", "0.09999999999999999999999"),
        ({"format": "date-time"}, '"2020-02-29T00:00:00Z"', '"2021-02-29T00:00:00Z"'),
        ({"format": "date-time"}, '"2020-01-01 00:00:00+18:00"', '"2020-01-01T00:00:00-00:00"'),
        ({"format": "date"}, '"2020-02-29"', '"2020-2-1"'),
        ({"format": "uuid"}, '"5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6"', '"5628c4c63f8a43f8a09f6ff68f68dfb6"'),
        ({"format": "ipv4"}, '"1.2.3.4"', '"1.2.3.04"'),
        ({"format": "ipv6"}, '"::1"', '"::1%eth0"'),
        ({"format": "email"}, '"a@example.com"', '"a@example"'),
        ({"format": "uri"}, '"urn:x"', '"no scheme"'),
        ({"format": "hostname"}, '"a-b.example"', '"-a.example"'),
        ({"format": "unheard-of"}, '"x"', None),
        ({"format": "uuid"}, "5", None),
        ({"pattern": "^a+$"}, '"aa"', '"b"'),
        ({"pattern": r"\p{L}"}, "5", '"a"'),
        ({"maxLength": 2}, '"😀😀"', '"abc"'),
        ({"enum": ["a"], "type": ["string", "null"]}, '"a"', "null"),
    ],
)
async def test_data_is_checked_as_the_pipelines_validator_does(
    tmp_path: Path, rule: dict[str, Any], good: str, bad: str | None
) -> None:
    uri = write_schema(tmp_path, "ruled", properties={"v": rule})
    text = json.dumps(unstruct(uri, {"v": "VALUE"})["ue_pr"])
    async with Micro(schemas=[tmp_path]) as micro:
        for value, arrives in ((good, True), (bad, False)):
            if value is not None:
                document = json.loads(text).replace('"VALUE"', value)
                found = await errors_of(micro, {**page_view(), "e": "ue", "ue_pr": document})
                assert (found == []) is arrives, found


async def test_one_bad_entity_loses_the_event_and_is_named(micro: Micro) -> None:
    uri = f"{SNOWPLOW}/link_click/jsonschema/1-0-1"
    good = {"schema": uri, "data": {"targetUrl": "x"}}
    found = await errors_of(micro, entities(good, {"schema": uri, "data": {}}, {"schema": "x", "data": {}}))
    assert found[0] == f"$: 'targetUrl' is a required property ({uri})"
    assert found[1].startswith("co: INVALID_IGLUURI")


async def test_numbers_in_records_are_plain(micro: Micro) -> None:
    uri = f"{SNOWPLOW}/add_to_cart/jsonschema/1-0-0"
    await post(micro, unstruct(uri, {"sku": "a", "quantity": 2.5, "unitPrice": 19.99}))
    data = micro.good[0]["event"]["unstruct_event"]["data"]["data"]
    assert data == {"sku": "a", "quantity": 2.5, "unitPrice": 19.99}
    assert json.loads(json.dumps(micro.good)) == micro.good


async def test_an_event_without_a_name_is_good(micro: Micro) -> None:
    await post(micro, {**page_view(), "e": "ue"})
    assert (micro.good[0]["eventType"], micro.good[0]["schema"]) == ("unstruct", None)


async def test_a_missing_event_id_is_made(micro: Micro) -> None:
    await post(micro, page_view(), page_view())
    first, second = (good["event"]["event_id"] for good in micro.good)
    assert first != second


async def test_the_headers_fill_what_the_event_leaves_out(micro: Micro) -> None:
    headers = {"User-Agent": "agent/1", "Referer": "https://example.com/from-header"}
    event = page_view()
    del event["url"]
    await post(micro, event, page_view(ua="own"), headers=headers)
    columns = [(good["event"]["useragent"], good["event"]["page_url"]) for good in micro.good]
    assert columns == [("agent/1", "https://example.com/from-header"), ("own", "https://example.com/")]


async def test_cross_domain_parameters_fill_their_columns(micro: Micro) -> None:
    await post(micro, page_view(url="https://example.com/?_sp=visitor.1700000000000"))
    event = micro.good[0]["event"]
    assert event["refr_domain_userid"] == "visitor"
    assert event["refr_dvce_tstamp"] == "2023-11-14T22:13:20.000Z"


async def test_years_before_python_can_be_shown(micro: Micro) -> None:
    await post(micro, page_view(dtm="-62167219200000", stm="253402300799999"))
    event = micro.good[0]["event"]
    assert event["dvce_created_tstamp"] == "0000-01-01T00:00:00.000Z"
    assert event["dvce_sent_tstamp"] == "9999-12-31T23:59:59.999Z"


def test_the_keys_of_payload_data_are_those_of_iglu_central(conformance: Path) -> None:
    folder = conformance / "schemas/com.snowplowanalytics.snowplow/payload_data/jsonschema"
    public = {
        file.name: set(json.loads(file.read_text("utf-8"))["items"]["properties"])
        for file in folder.iterdir()
    }
    assert {version: set(keys) for version, keys in PAYLOAD_KEYS.items()} == public


async def test_every_public_schema_can_be_used(conformance: Path) -> None:
    root = conformance / "schemas"
    uris = [f"iglu:{file.relative_to(root)}" for file in root.glob("*/*/jsonschema/*")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Micro(schemas=[conformance]) as micro:
            await post(micro, *(unstruct(uri, {}) for uri in uris))
            rows = "".join(row for bad in micro.bad for row in bad["errors"][1:])
    assert micro.counts()["total"] == len(uris) > 150
    assert "ResolutionError" not in rows


@pytest.mark.parametrize("source", ["no/such/folder", int, SelfDescribing, 5])
def test_a_source_without_schemas_is_refused(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="schemas: must be an existing folder"):
        Micro(schemas=[source])


async def test_a_record_is_described_in_one_line(micro: Micro) -> None:
    await post(micro, page_view(aid="shop", eid="5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6"), page_view(vid="x"))
    schema = f"{SNOWPLOW}/page_view/jsonschema/1-0-0"
    line = f"GOOD id:5628c4c6-3f8a-43f8-a09f-6ff68f68dfb6 app_id:shop type:page_view ({schema})"
    assert describe(micro.good[0]) == line
    assert describe(micro.bad[0]).startswith(
        "BAD id:None app_id:None vid (domain_sessionidx): must be a 32-bit"
    )
    assert stage(micro.bad[0]) == "schema_violations"


@pytest.mark.parametrize(
    ("levels", "message"), [(38, "not found"), (39, "maximum allowed JSON depth exceeded")]
)
async def test_json_may_have_40_levels(micro: Micro, levels: int, message: str) -> None:
    # Two levels are the envelope's.
    data = json.loads("[" * levels + "]" * levels)
    (found,) = await errors_of(micro, unstruct("iglu:com.acme/deep/jsonschema/1-0-0", data))
    assert message in found


async def test_json_of_any_depth_harms_nobody(micro: Micro) -> None:
    (found,) = await errors_of(micro, page_view(co="[" * 100_000))
    assert "maximum allowed JSON depth exceeded" in found


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("YWJj", "abc"),
        ("YWI=", "ab"),
        ("YWI", "ab"),
        ("Pz8_Pz8-", "?????>"),
        ("Pz8/Pz8+", "?????>"),
        ("Y W\nJ!j", "abc"),
        ("YWI=YWI=", "ab"),
        ("YWJjY", "abc"),
        ("é", ""),
        ("_w==", "\ufffd"),
        ("", ""),
    ],
)
def test_base64_is_decoded_as_leniently_as_the_pipeline_does(text: str, decoded: str) -> None:
    assert decode_base64(text) == decoded


@pytest.mark.parametrize(
    ("keys", "column", "stored"),
    [
        ({"page": "a\tb\x00c\x7f"}, "page_title", "a    bc"),
        ({"page": "\x00"}, "page_title", None),
        ({"vid": "٣"}, "domain_sessionidx", 3),
        ({"vid": "+5"}, "domain_sessionidx", 5),
        ({"vid": "NULL"}, "domain_sessionidx", None),
        ({"ip": "1.2.3.4, 5.6.7.8"}, "user_ipaddress", "1.2.3.4"),
        ({"se_va": "1e22"}, "se_value", 1e22),
        ({"url": "https://a_b.example/x"}, "page_urlhost", None),
        ({"url": "mailto:me@example.com"}, "page_urlpath", None),
        ({"url": "www.example.com/x"}, "page_urlpath", "www.example.com/x"),
        ({"url": "https://example.com/?_sp=a.b.c.d.e.f.g.h"}, "refr_domain_userid", None),
        ({"url": "https://[::1]:8080/"}, "page_urlhost", "[::1]"),
    ],
)
async def test_a_value_is_stored_as_the_pipeline_stores_it(
    micro: Micro, keys: dict[str, str], column: str, stored: Any
) -> None:
    await post(micro, page_view(**keys))
    assert micro.good[0]["event"][column] == stored


@pytest.mark.parametrize(
    "keys",
    [
        {"vid": "\U0001d7d7"},
        {"vid": "9" * 5000},
        {"se_va": "1e5001"},
        {"se_va": "\U0001d7d7"},
        {"url": "https://example.com/?_sp=a.b.c.d.e.f.g"},
        {"tna": "\t" * 33},
        {"ua": "😀" * 501},
        {"url": "abcdefghijklmnopq://example.com/"},
    ],
)
async def test_a_value_that_the_pipeline_does_not_read_loses_the_event(
    micro: Micro, keys: dict[str, str]
) -> None:
    await post(micro, page_view(**keys))
    assert micro.counts() == {"total": 1, "good": 0, "bad": 1}
