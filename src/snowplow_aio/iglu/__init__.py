"""
Iglu schemas: their names, where they are found, and whether data fits them.

The names here are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snowplow_aio.model.schema_key import SchemaKey, SchemaVer

__all__ = ["SchemaKey", "SchemaVer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module("snowplow_aio.model.schema_key"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
