"""What can be copied and pickled, and what says that it cannot."""

from __future__ import annotations

from dataclasses import fields
from types import MappingProxyType
from typing import Any, NoReturn


class CopiedByFields:
    """
    A frozen dataclass of which some fields are read-only mappings: these cannot be pickled by themselves.

    Such a value is copied and pickled by its fields.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        proxies = [name for name, value in values.items() if isinstance(value, MappingProxyType)]
        plain = {name: dict(value) if name in proxies else value for name, value in values.items()}
        return _made, (type(self), plain, proxies)


def _made(kind: type[Any], values: dict[str, Any], proxies: list[str]) -> Any:
    return kind(
        **{name: MappingProxyType(value) if name in proxies else value for name, value in values.items()}
    )


class NeverCopied:
    """A thing with a life of its own, such as waiting events: a copy would have them, too."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(f"{kind} cannot be copied or pickled; make another one with the same arguments")
