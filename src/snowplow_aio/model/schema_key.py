"""
Schema keys: the name of a schema and its version, which an Iglu URI spells.

The rules are those of the pipeline, which checks the form of a URI before it
looks up the schema: vendor, name and format are made of letters, digits, ``-``
and ``_`` (a vendor also of dots), and the version is MODEL-REVISION-ADDITION
without leading zeros and with a MODEL of at least 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from snowplow_aio.exceptions import InvalidEventError

_VERSION = re.compile(r"([1-9][0-9]*)-(0|[1-9][0-9]*)-(0|[1-9][0-9]*)", re.ASCII)
_URI = re.compile(
    r"iglu:([a-zA-Z0-9\-_.]+)/([a-zA-Z0-9\-_]+)/([a-zA-Z0-9\-_]+)/([^/]*)",
    re.ASCII,
)
_RULE = (
    "must be an Iglu URI like 'iglu:com.acme/save_game/jsonschema/1-0-2' "
    "(MODEL-REVISION-ADDITION, MODEL from 1, no leading zeros)"
)


@dataclass(frozen=True, order=True, slots=True)
class SchemaVer:
    """
    The version of a schema: MODEL-REVISION-ADDITION.

    Args:
        model: Grows with changes that break all data; from 1.

        revision: Grows with changes that break some data; from 0.

        addition: Grows with compatible changes; from 0.

    Example:
        Compare two versions::

            SchemaVer.parse("1-0-2") < SchemaVer(1, 1, 0)  # True
    """

    model: int
    revision: int
    addition: int

    @classmethod
    def parse(cls, text: str) -> SchemaVer:
        """
        Return the version that *text* spells, like ``1-0-2``.

        Raises:
            InvalidEventError: If it is not MODEL-REVISION-ADDITION.
        """
        match = _VERSION.fullmatch(text)
        if match is None:
            rule = "must be MODEL-REVISION-ADDITION like '1-0-2' (MODEL from 1, no leading zeros)"
            raise InvalidEventError.about("version", text, rule)
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.model}-{self.revision}-{self.addition}"


@dataclass(frozen=True, order=True, slots=True)
class SchemaKey:
    """
    The name of a schema; `str()` of it is the Iglu URI.

    Args:
        vendor: The owner of the schema, like ``com.acme``.

        name: The name of the data, like ``save_game``.

        format: The language of the schema, in practice always ``jsonschema``.

        version: The version.

    Example:
        Read an Iglu URI::

            SchemaKey.parse("iglu:com.acme/save_game/jsonschema/1-0-2").name  # 'save_game'
    """

    vendor: str
    name: str
    format: str
    version: SchemaVer

    @classmethod
    def parse(cls, uri: str) -> SchemaKey:
        """
        Return the key that *uri* spells; each URI is parsed once.

        Raises:
            InvalidEventError: If it is no Iglu URI.
        """
        if not isinstance(uri, str):
            raise InvalidEventError.about("schema", uri, _RULE)
        return _parse(uri)

    def __str__(self) -> str:
        return f"iglu:{self.vendor}/{self.name}/{self.format}/{self.version}"

    @property
    def path(self) -> str:
        """The place of the schema in a static registry, like ``com.acme/save_game/jsonschema/1-0-2``."""
        return str(self)[len("iglu:") :]


@lru_cache(maxsize=4096)
def _parse(uri: str) -> SchemaKey:
    match = _URI.fullmatch(uri)
    if match is None or _VERSION.fullmatch(match[4]) is None:
        raise InvalidEventError.about("schema", uri, _RULE)
    return SchemaKey(match[1], match[2], match[3], SchemaVer.parse(match[4]))


def schema_key(schema: Any) -> SchemaKey:
    """
    Return *schema*, an Iglu URI or a SchemaKey, as a SchemaKey.

    Raises:
        InvalidEventError: If it is neither.
    """
    # A key can be made of parts that no URI can have.
    return SchemaKey.parse(str(schema) if isinstance(schema, SchemaKey) else schema)


def schema_uri(schema: Any) -> str:
    """
    Return *schema*, an Iglu URI or a SchemaKey, as an Iglu URI.

    Raises:
        InvalidEventError: If it is neither.
    """
    if type(schema) is str:
        # The form is checked once for each distinct URI.
        _parse(schema)
        return schema
    return str(schema_key(schema))
