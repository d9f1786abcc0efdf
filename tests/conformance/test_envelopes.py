"""The oracle's own schemas of the envelopes have the rules of the public ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conformance.envelopes import ENVELOPES
from tests.conformance.oracle import Oracle

# Parts of a schema that are no rules.
NO_RULES = {"$schema", "self", "description"}


def rules(schema: Any) -> Any:
    """Return the rules of *schema*, in an order of their own."""
    if isinstance(schema, list):
        return sorted(schema)
    if not isinstance(schema, dict):
        return schema
    return {name: rules(value) for name, value in schema.items() if name not in NO_RULES}


def test_the_envelopes_have_the_rules_of_the_public_ones(conformance: Path, oracle: Oracle) -> None:
    public = {uri: rules(oracle.public_schema(uri)) for uri in ENVELOPES}

    assert {uri: rules(schema) for uri, schema in ENVELOPES.items()} == public
