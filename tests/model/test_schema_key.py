"""Iglu URIs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_aio import InvalidEventError, SchemaKey
from snowplow_aio.model.schema_key import SchemaVer, schema_key

URI = "iglu:com.acme/save_game/jsonschema/1-0-2"


def test_a_uri_is_taken_apart_and_put_together_again() -> None:
    key = SchemaKey.parse(URI)

    assert (key.vendor, key.name, key.format, key.version) == (
        "com.acme",
        "save_game",
        "jsonschema",
        SchemaVer(1, 0, 2),
    )
    assert str(key) == URI
    assert key.path == "com.acme/save_game/jsonschema/1-0-2"


@given(
    vendor=st.from_regex(r"[a-zA-Z0-9\-_.]+", fullmatch=True),
    name=st.from_regex(r"[a-zA-Z0-9\-_]+", fullmatch=True),
    version=st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)),
)
def test_every_uri_of_the_right_form_comes_back_as_it_went_in(
    vendor: str, name: str, version: tuple[int, int, int]
) -> None:
    uri = f"iglu:{vendor}/{name}/jsonschema/{version[0]}-{version[1]}-{version[2]}"

    assert str(SchemaKey.parse(uri)) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "com.acme/save_game/jsonschema/1-0-2",
        "iglu:com.acme/save_game/jsonschema/0-0-2",
        "iglu:com.acme/save_game/jsonschema/01-0-2",
        "iglu:com.acme/save_game/jsonschema/1-00-2",
        "iglu:com.acme/save_game/jsonschema/1-0",
        "iglu:com.acme/save_game/jsonschema/1-0-2-3",
        "iglu:com.acme/save_game/jsonschema/1-0-*",
        "iglu:com.acme/save_game/jsonschema/1-0-2\n",
        "iglu:com.acme/save_game/jsonschema/\u0661-0-2",
        "iglu:com.acme/save.game/jsonschema/1-0-2",
        "iglu:com.äcme/save_game/jsonschema/1-0-2",
        "iglu:com.acme/save game/jsonschema/1-0-2",
        "iglu:com.acme/save_game/1-0-2",
        "iglu:com.acme//jsonschema/1-0-2",
        "IGLU:com.acme/save_game/jsonschema/1-0-2",
        " iglu:com.acme/save_game/jsonschema/1-0-2",
        None,
        5,
        b"iglu:com.acme/save_game/jsonschema/1-0-2",
    ],
)
def test_what_is_no_iglu_uri_is_refused(uri: str) -> None:
    with pytest.raises(InvalidEventError, match=r"^schema: must be an Iglu URI like 'iglu:"):
        SchemaKey.parse(uri)


@pytest.mark.parametrize("version", ["0-0-0", "1-0", "v1-0-0", "1.0.0", "1-0-0 "])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(InvalidEventError, match=r"^version: must be MODEL-REVISION-ADDITION"):
        SchemaVer.parse(version)


def test_versions_are_ordered_as_numbers() -> None:
    versions = [SchemaVer.parse(text) for text in ("10-0-0", "1-0-10", "2-0-0", "1-0-9", "1-2-0")]

    assert [str(version) for version in sorted(versions)] == ["1-0-9", "1-0-10", "1-2-0", "2-0-0", "10-0-0"]


def test_a_key_is_a_value() -> None:
    assert SchemaKey.parse(URI) == SchemaKey("com.acme", "save_game", "jsonschema", SchemaVer(1, 0, 2))
    assert len({SchemaKey.parse(URI), SchemaKey.parse(URI)}) == 1
    with pytest.raises(AttributeError):
        SchemaKey.parse(URI).vendor = "com.other"  # type: ignore[misc]


def test_a_key_and_its_uri_mean_the_same() -> None:
    assert schema_key(URI) == schema_key(SchemaKey.parse(URI))
