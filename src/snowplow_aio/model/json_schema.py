"""The JSON schema of a model, in the form that Iglu registries take (draft 4, self-describing)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.model.schema_key import SchemaKey

SELF_DESCRIBING_META_SCHEMA = (
    "http://iglucentral.com/schemas/com.snowplowanalytics.self-desc/schema/jsonschema/1-0-0#"
)

# Keywords that pydantic writes for people and programs, not for a validator.
# A `default` is left out: the tracker sends it, so nobody has to know it.
_NOT_RULES = frozenset({"title", "default", "discriminator", "examples", "$defs"})


class _Generator(GenerateJsonSchema):
    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        # The first of pydantic's two options is a number. The other is a text, which is never sent.
        number: JsonSchemaValue = super().decimal_schema(schema)["anyOf"][0]
        return number


def iglu_schema(model: type[BaseModel], key: SchemaKey) -> dict[str, Any]:
    """
    Return the self-describing draft-4 schema of a model, without references.

    Args:
        model: The model of the data.

        key: The name of the schema.

    Raises:
        ConfigurationError: If the model contains itself.
    """
    return {
        "$schema": SELF_DESCRIBING_META_SCHEMA,
        "self": {"vendor": key.vendor, "name": key.name, "format": key.format, "version": str(key.version)},
        **data_schema(model),
    }


def data_schema(model: type[BaseModel]) -> dict[str, Any]:
    """
    Return the draft-4 schema of the data of *model*.

    Raises:
        ConfigurationError: If the model contains itself: only a reference could say so.
    """
    generated = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    try:
        schema: dict[str, Any] = _draft4(generated, generated.get("$defs", {}))
    except RecursionError:
        rule = "must not contain itself: Iglu's schemas have no references"
        raise ConfigurationError.about("model", model.__name__, rule) from None
    return schema


def _draft4(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return *schema* with references inlined and newer keywords as draft 4 says them."""
    if isinstance(schema, list):
        return [_draft4(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        definition = definitions[schema["$ref"].removeprefix("#/$defs/")]
        return _draft4({**definition, **{k: v for k, v in schema.items() if k != "$ref"}}, definitions)
    converted: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("properties", "patternProperties"):
            converted[keyword] = {name: _draft4(sub, definitions) for name, sub in value.items()}
        elif keyword == "description":
            # The first paragraph of a docstring is about the data, the rest about Python.
            converted[keyword] = value.split("\n\n")[0]
        elif keyword == "const":
            converted["enum"] = [value]
        elif keyword == "exclusiveMinimum":
            converted |= {"minimum": value, "exclusiveMinimum": True}
        elif keyword == "exclusiveMaximum":
            converted |= {"maximum": value, "exclusiveMaximum": True}
        elif keyword == "prefixItems":
            converted |= {"items": _draft4(value, definitions), "additionalItems": False}
        elif keyword not in _NOT_RULES:
            converted[keyword] = _draft4(value, definitions)
    return _merge_null(converted)


def _merge_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``anyOf: [X, null]`` as X with ``"null"`` among its types, the way Iglu's schemas say it."""
    options = schema.get("anyOf")
    if not isinstance(options, list) or len(options) != 2 or {"type": "null"} not in options:
        return schema
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    wanted = next(option for option in options if option != {"type": "null"})
    if not isinstance(wanted.get("type"), str):
        return schema
    merged = {**wanted, **rest, "type": [wanted["type"], "null"]}
    if "enum" in merged:
        merged["enum"] = [*merged["enum"], None]
    return merged
