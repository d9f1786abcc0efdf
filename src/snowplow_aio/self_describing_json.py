"""Self-describing data as it is: an Iglu URI and anything that JSON can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snowplow_aio.iglu import SchemaKey, schema_uri

JSONValue = Any

# URIs whose form is right, so that it is looked at once; not more than anybody uses.
_known: set[str] = set()
_MOST_KNOWN = 4096


class SelfDescribingJson:
    """
    An event or a context entity as plain data; frozen, and the data goes out as it is.

    Args:
        schema: The Iglu URI of the data's schema, or a SchemaKey.

        data: Anything that JSON can say, usually a dict.

    Raises InvalidEventError when the schema is not an Iglu URI.
    """

    __slots__ = ("_data", "_schema")
    __match_args__ = ("schema", "data")

    def __init__(self, schema: str | SchemaKey, data: JSONValue) -> None:
        # Without a call where it is known: two or three are made for each event.
        if type(schema) is str and schema in _known:
            self._schema: str = schema
        else:
            self._schema = _checked(schema)
        self._data: JSONValue = data

    @property
    def schema(self) -> str:
        """The Iglu URI."""
        return self._schema

    @property
    def data(self) -> JSONValue:
        """What it describes."""
        return self._data

    def to_json(self) -> Mapping[str, JSONValue]:
        """Return the two keys of a self-describing JSON."""
        return {"schema": self._schema, "data": self._data}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SelfDescribingJson):
            return NotImplemented
        return self._schema == other._schema and bool(self._data == other._data)

    def __hash__(self) -> int:
        return hash((self._schema, self._data))

    def __repr__(self) -> str:
        return f"SelfDescribingJson(schema={self._schema!r}, data={self._data!r})"

    def __reduce__(self) -> tuple[type[SelfDescribingJson], tuple[str, JSONValue]]:
        return SelfDescribingJson, (self._schema, self._data)


def _checked(schema: str | SchemaKey) -> str:
    uri = schema_uri(schema)
    if len(_known) < _MOST_KNOWN:
        _known.add(uri)
    return uri
