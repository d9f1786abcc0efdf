"""Values that are bound to a task, and can be taken back in any order and from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Generic, TypeVar

_Layer = TypeVar("_Layer")
_Value = TypeVar("_Value")

Layers = tuple[tuple[object, _Layer], ...]
"""Layers with their keys; a later one goes before."""


class Bindings(Generic[_Layer, _Value]):
    """
    A context variable whose value is made of layers.

    A framework may enter a binding in one context and leave it in another: in a thread
    that runs a plain dependency, or in the task that closes an async generator. The
    token of a context variable would raise there. So a layer is taken away by its key,
    where it is, and the layers of others stay.

    Args:
        name: The name of the context variable.

        combine: Makes the value of at least one layer; a later one goes before.

    Attributes:
        current: The variable; None if no layer is bound. It is only read.

        layers: The variable of the layers with their keys. It is only read.
    """

    __slots__ = ("_combine", "current", "layers")

    def __init__(self, name: str, combine: Callable[[Sequence[_Layer]], _Value]) -> None:
        self.current: ContextVar[_Value | None] = ContextVar(name, default=None)
        self.layers: ContextVar[Layers[_Layer]] = ContextVar(f"{name}.layers", default=())
        self._combine = combine

    def bind(self, key: object, layer: _Layer) -> _Value:
        """Put *layer* on top of the others, and return the value that they make."""
        layers = (*self.layers.get(), (key, layer))
        self.layers.set(layers)
        value = self._combine([bound for _, bound in layers])
        self.current.set(value)
        return value

    def put(self, layers: Layers[_Layer]) -> None:
        """Bind *layers*, which were bound somewhere, instead of those that are."""
        self.layers.set(layers)
        self.current.set(self._combine([bound for _, bound in layers]) if layers else None)

    def unbind(self, key: object) -> None:
        """Take away the topmost layer with this *key*; do nothing where there is none."""
        layers = self.layers.get()
        for i in reversed(range(len(layers))):
            if layers[i][0] is key:
                self.put(layers[:i] + layers[i + 1 :])
                return
