"""
An embeddable collector that gives the pipeline's verdict on every event. It needs the extra ``micro``.

The name here is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snowplow_aio.micro.app import Micro

__all__ = ["Micro"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module("snowplow_aio.micro.app"), name)
    except ModuleNotFoundError as error:
        if error.name not in {"jsonschema", "referencing"}:
            raise
        message = 'the embedded collector needs jsonschema: pip install "snowplow-aio[micro]"'
        raise ModuleNotFoundError(message, name=error.name) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
