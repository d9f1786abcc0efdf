"""The results of checking data against its schema, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from snowplow_aio.model.schema_key import SchemaKey


@dataclass(frozen=True, slots=True)
class Report:
    """
    One rule that the data breaks.

    Args:
        message: The place and the rule, as one sentence.

        path: The place in the data, like ``$.items[0].price``.

        keyword: The keyword of the schema, like ``maximum``.

        targets: The names that the rule is about, like those of missing properties.
    """

    message: str
    path: str
    keyword: str
    targets: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class InvalidData:
    """
    The data does not fit its schema.

    Args:
        key: The schema.

        reports: The rules that the data breaks, at least one.
    """

    key: SchemaKey
    reports: Sequence[Report]


@dataclass(frozen=True, slots=True)
class Unresolved:
    """
    The schema cannot be used, so the data cannot be checked.

    Args:
        key: The schema.

        error: Why its file cannot be used; None when no registry has the schema.
    """

    key: SchemaKey
    error: str | None = None


Failure: TypeAlias = InvalidData | Unresolved
