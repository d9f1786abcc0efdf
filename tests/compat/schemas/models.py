"""The models that are compared with the public schemas."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from snowplow_aio import SelfDescribing, entities, events
from tests.conformance.oracle import for_each_public_schema


def _descendants(model: type[SelfDescribing]) -> Iterator[type[SelfDescribing]]:
    for child in model.__subclasses__():
        yield child
        yield from _descendants(child)


def shipped() -> list[type[SelfDescribing]]:
    packages = (events, entities)
    for package in packages:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    places = tuple(f"{package.__name__}." for package in packages)
    found = {m for m in _descendants(SelfDescribing) if m.__module__.startswith(places)}
    return sorted(found, key=lambda model: model.__name__)


every_model = pytest.mark.parametrize(
    "model", for_each_public_schema(shipped()), ids=lambda model: model.__name__
)


def build(model: type[SelfDescribing], data: dict[str, Any]) -> tuple[SelfDescribing | None, set[str]]:
    """Return the event of *data*, or None, and why not."""
    try:
        return model(**data), set()
    except ValidationError as error:
        return None, {fault["msg"] for fault in error.errors()}
