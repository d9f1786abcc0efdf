"""What a call returns that has done its work already, and may be awaited or not."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


class Done(Coroutine[Any, Any, None]):
    """
    A coroutine for work that is done at the call. Awaiting it waits for *rest*; nobody has to.

    Args:
        rest: What a patient caller waits for; None if there is nothing.
    """

    __slots__ = ("_rest", "_steps")

    def __init__(self, rest: Awaitable[None] | None) -> None:
        self._rest = rest
        self._steps: Generator[Any, Any, None] | None = None

    def __await__(self) -> Generator[Any, Any, None]:
        rest, self._rest = self._rest, None
        if rest is not None:
            yield from rest.__await__()

    def send(self, value: Any) -> Any:
        """Run until the next wait, as a coroutine does."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an exception inside, as a coroutine does."""
        return self._begun().throw(*error)

    def close(self) -> None:
        """End without waiting."""
        if self._steps is not None:
            self._steps.close()
        rest, self._rest = self._rest, None
        if isinstance(rest, Coroutine):
            # Python warns of a coroutine that nobody awaits.
            rest.close()

    def _begun(self) -> Generator[Any, Any, None]:
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps

    def __del__(self) -> None:
        self.close()
