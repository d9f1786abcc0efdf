"""Copying and pickling: values can be; what belongs to this process says that it cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn


def copy_of_value(self: Any) -> tuple[Any, ...]:
    """Return how a frozen dataclass is made anew, though its mappings are read-only: a ``__reduce__``."""
    members = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    read_only = [name for name, member in members.items() if isinstance(member, MappingProxyType)]
    return _made_anew, (type(self), members | {name: dict(members[name]) for name in read_only}, read_only)


def _made_anew(kind: type[Any], members: Mapping[str, Any], read_only: Sequence[str]) -> Any:
    return kind(**{**members, **{name: MappingProxyType(members[name]) for name in read_only}})


def no_copy(self: object, protocol: object, /) -> NoReturn:  # noqa: ARG001 - of `pickle`
    """
    Refuse to copy or pickle something: a ``__reduce_ex__``.

    Raises:
        TypeError: Always.
    """
    kind = type(self).__name__
    rule = "it holds connections and waiting events of this process; make another one"
    raise TypeError(f"a {kind} cannot be copied or pickled: {rule}")
