"""Where schemas are found, and what is said of data that does not fit them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from snowplow_aio import SelfDescribing
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.iglu import SchemaKey
from snowplow_aio.iglu.registries import Registries, shipped_models
from snowplow_aio.iglu.reports import InvalidData, Report, Unresolved
from snowplow_aio.runtime.foreign_text import cut

SAVED = SchemaKey.parse("iglu:com.acme/saved/jsonschema/1-0-0")


class Saved(SelfDescribing, schema="iglu:com.acme/saved/jsonschema/1-0-0"):
    level: Annotated[int, Field(ge=1)]


def write(root: Path, key: SchemaKey, schema: Any) -> None:
    file = root / key.path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(schema if isinstance(schema, str) else json.dumps(schema), "utf-8")


def test_data_that_fit_have_no_failure() -> None:
    assert Registries([Saved]).check(SAVED, {"level": 1}) is None


def test_a_failure_names_the_schema_and_each_broken_rule() -> None:
    failure = Registries([Saved]).check(SAVED, {"level": 0, "more": 1})

    assert isinstance(failure, InvalidData)
    assert failure.key == SAVED
    assert Report("$.level: 0 is less than the minimum of 1", "$.level", "minimum") in failure.reports
    assert {(report.path, report.keyword) for report in failure.reports} == {
        ("$.level", "minimum"),
        ("$", "additionalProperties"),
    }


@pytest.mark.parametrize("folder", ["", "schemas"])
def test_a_folder_comes_before_a_model(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder, SAVED, {"type": "string"})

    assert Registries([Saved, tmp_path]).check(SAVED, "text") is None


def test_a_schema_that_is_written_later_is_found(tmp_path: Path) -> None:
    registries = Registries([tmp_path])
    assert registries.check(SAVED, {}) == Unresolved(SAVED)

    write(tmp_path, SAVED, {"type": "object"})

    assert registries.check(SAVED, {}) is None


def test_no_vendor_leads_out_of_the_folder(tmp_path: Path) -> None:
    key = SchemaKey("..", "x", "jsonschema", SAVED.version)
    write(tmp_path / "a", key, {})

    assert Registries([tmp_path / "a"]).check(key, {}) == Unresolved(key)


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        ("{", "Expecting property name"),
        ("[]", "a schema must be a JSON object"),
        ({"type": 5}, "this is not a draft-4 schema"),
        ({"$ref": "http://example.com/other"}, "the schema has a $ref to elsewhere"),
    ],
)
def test_a_file_that_is_no_schema_is_named_with_its_fault(tmp_path: Path, schema: Any, error: str) -> None:
    write(tmp_path, SAVED, schema)

    failure = Registries([tmp_path]).check(SAVED, {})

    assert isinstance(failure, Unresolved)
    assert error in (failure.error or "")


def test_limits_are_exact_for_decimals(tmp_path: Path) -> None:
    write(tmp_path, SAVED, {"multipleOf": 0.01})
    registries = Registries([tmp_path])

    assert registries.check(SAVED, Decimal("19.99")) is None
    assert registries.check(SAVED, Decimal("19.999")) is not None


@pytest.mark.parametrize("source", ["no/such/folder", int, SelfDescribing, 5])
def test_a_source_without_schemas_is_refused(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="schemas: must be an existing folder"):
        Registries([source])


def test_each_shipped_model_is_found_by_its_schema() -> None:
    models = shipped_models()

    assert len(models) >= 18
    assert all(model.schema_key == key for key, model in models.items())
    assert Registries().check(SchemaKey.parse("iglu:com.acme/x/jsonschema/1-0-0"), {}) is not None


def test_a_long_text_is_shown_by_its_beginning() -> None:
    assert cut("a" * 200) == "a" * 200
    assert cut("a" * 201) == "a" * 200 + "... (201 characters)"
