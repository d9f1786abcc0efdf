"""Global contexts: entities that go with many events, those of a tracker and those of a request."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.payload import Entity
from snowplow_aio.model.self_describing import SelfDescribing, SelfDescribingJson
from snowplow_aio.tracking.draft import Draft
from snowplow_aio.tracking.rule_set import RuleSet

Entities = Entity | Sequence[Entity] | None
ContextSource = Entity | Sequence[Entity] | Callable[[Draft], Entities | Awaitable[Entities]]
Rules = str | Sequence[str] | None

_RULE = "must be an entity, a list of at least one, or a function that returns such"


class WrongResultError(TypeError):
    """A function has returned something that it must not return. The message does not quote it."""


class GlobalContext:
    """
    Entities, or a function that makes them, with the rules on the events that get them.

    Args:
        source: An entity, a sequence of entities, or a plain or a coroutine function
            of a `Draft` that returns an entity, a sequence of them or None.

        include: Rules on Iglu URIs, of which one must match; None for all events.

        exclude: Rules of which none may match.

    Attributes:
        name: The name in statistics and logs.

        is_async: Whether the result of the function must be awaited.

        rules: The rules on the events.

        loses: Whether an event is lost when the function fails: never.

    Raises:
        ConfigurationError: If *source* or a rule is something else.
    """

    __slots__ = ("_entities", "_function", "is_async", "name", "rules")

    loses: ClassVar[bool] = False

    def __init__(self, source: ContextSource, *, include: Rules = None, exclude: Rules = None) -> None:
        self.rules: RuleSet = RuleSet.of(include, exclude)
        self._function: Callable[[Draft], Any] | None = None
        self._entities: tuple[Entity, ...] = ()
        if callable(source) and not isinstance(source, type):
            self._function = source
            self.name: str = function_name(source)
        else:
            given = _entities(source)
            check_argument(bool(given), "context", source, _RULE)
            self._entities = given or ()
            self.name = ", ".join(type(entity).__name__ for entity in self._entities)
        self.is_async: bool = self._function is not None and is_coroutine_function(self._function)

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The entities; empty if a function makes them."""
        return self._entities

    def __call__(self, draft: Draft) -> Any:
        """Return the entities, or what must be awaited for them."""
        return self._entities if self._function is None else self._function(draft)

    def applied(self, draft: Draft, result: Any) -> Draft:
        """
        Return *draft* with the entities in *result*, which the function has returned.

        Raises:
            WrongResultError: If *result* is something else.
        """
        entities = _entities(result)
        if entities is None:
            rule = "must return an entity, a list of entities or None"
            raise WrongResultError(f"{rule}, not {type(result).__name__}")
        return draft.replace(context=(*draft.context, *entities)) if entities else draft


def _entities(value: Any) -> tuple[Entity, ...] | None:
    """Return an entity, a sequence of entities or None as a tuple; None if *value* is anything else."""
    if value is None:
        return ()
    entities = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    are_entities = all(isinstance(entity, (SelfDescribing, SelfDescribingJson)) for entity in entities)
    return entities if are_entities else None


def is_coroutine_function(function: Any) -> bool:
    """Return whether *function*, or the `__call__` of an object, is an ``async def``."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - it is known to be callable
    )


def function_name(function: Any) -> str:
    """Return the name of *function* in statistics and logs."""
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)
