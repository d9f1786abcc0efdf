"""The registries that schemas come from: folders, given models, and the models that the library ships."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, TypeGuard

from snowplow_aio import entities, events
from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.iglu.json_text import JSONObject, JSONValue, exact_decimal
from snowplow_aio.iglu.reports import Failure, InvalidData, Unresolved
from snowplow_aio.iglu.validator import DataValidator
from snowplow_aio.model.schema_key import SchemaKey
from snowplow_aio.model.self_describing import SelfDescribing
from snowplow_aio.runtime.foreign_text import cut

SchemaSource: TypeAlias = str | os.PathLike[str] | type[SelfDescribing]

_RULE = "must be an existing folder of Iglu schemas or a SelfDescribing class with a schema"


class Registries:
    """
    Checks data against schemas, which it looks up in several registries.

    The folders are asked first, then the given classes, then the models that
    the library ships. A schema that was found is read once. A schema that was
    not found is looked up again each time, because its file may be written
    while the program runs.

    Args:
        sources: Folders in the static layout
            (``<root>/<vendor>/<name>/jsonschema/<M-R-A>`` or ``<root>/schemas/…``)
            and `SelfDescribing` classes.

    Raises:
        ConfigurationError: If a folder does not exist, or a source is something else.
    """

    def __init__(self, sources: Iterable[SchemaSource] = ()) -> None:
        self._roots: list[Path] = []
        self._models: dict[SchemaKey, type[SelfDescribing]] = {}
        self._validators: dict[SchemaKey, DataValidator] = {}
        for source in sources:
            self._add(source)

    def _add(self, source: SchemaSource) -> None:
        if _has_schema(source):
            self._models[source.schema_key] = source
        elif isinstance(source, str | os.PathLike) and Path(source).is_dir():
            self._roots += [Path(source) / "schemas", Path(source)]
        else:
            raise ConfigurationError.about("schemas", source, _RULE)

    def check(self, key: SchemaKey, data: JSONValue) -> Failure | None:
        """
        Check *data* against the schema *key*.

        Returns:
            None when the data fits, else the rules that it breaks, or why the
            schema cannot be used.
        """
        try:
            validator = self._validator(key)
            reports = [] if validator is None else validator.reports(data)
        except (OSError, ValueError) as error:
            # The author of a file that is no schema needs to see the reason.
            return Unresolved(key, cut(str(error)))
        if validator is None:
            return Unresolved(key)
        return InvalidData(key, reports) if reports else None

    def _validator(self, key: SchemaKey) -> DataValidator | None:
        if key not in self._validators:
            schema = self._schema(key)
            if schema is None:
                return None
            self._validators[key] = DataValidator(schema)
        return self._validators[key]

    def _schema(self, key: SchemaKey) -> JSONObject | None:
        for root in self._roots:
            file = root / key.path
            # A key may have the vendor "..", which would leave the folder.
            if key.vendor not in {".", ".."} and file.is_file():
                return _exact(file.read_text("utf-8"))
        model = self._models.get(key) or shipped_models().get(key)
        return None if model is None else _exact(json.dumps(model.iglu_schema(), default=float))


def _exact(text: str) -> JSONObject:
    schema = json.loads(text, parse_float=exact_decimal)
    if not isinstance(schema, dict):
        raise ValueError("a schema must be a JSON object")  # noqa: TRY004 - the text has the wrong content
    return schema


def _has_schema(source: object) -> TypeGuard[type[SelfDescribing]]:
    return (
        isinstance(source, type)
        and issubclass(source, SelfDescribing)
        and isinstance(getattr(source, "schema_key", None), SchemaKey)
    )


@cache
def shipped_models() -> dict[SchemaKey, type[SelfDescribing]]:
    """
    Return the self-describing events and entities that the library ships, by their schemas.

    The first call imports all of their modules.
    """
    models = (model for package in (events, entities) for model in _models_of(package))
    return {model.schema_key: model for model in models}


def _models_of(package: ModuleType) -> Iterator[type[SelfDescribing]]:
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for _, member in inspect.getmembers(importlib.import_module(module.name)):
            # A subclass without a schema of its own inherits its parent's: only the parent counts.
            if _has_schema(member) and "schema_key" in vars(member):
                yield member
