"""What the compiler is told about a class (hatch_build.py); nothing where nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Class = TypeVar("_Class", bound=type)

# True to mypy, on which the compiler stands, and to nothing else.
MYPY = False

if MYPY:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_attributes: object) -> Callable[[_Class], _Class]:
        """Return a decorator that leaves a class as it is."""
        return lambda kind: kind


__all__ = ["mypyc_attr"]
