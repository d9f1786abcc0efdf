"""Enrichers: functions that change events, or leave them out, before any emitter gets them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from snowplow_aio.model.arguments import check_argument
from snowplow_aio.model.subject import merged
from snowplow_aio.tracking.draft import Draft
from snowplow_aio.tracking.global_contexts import (
    Rules,
    WrongResultError,
    function_name,
    is_coroutine_function,
)
from snowplow_aio.tracking.rule_set import RuleSet

EnrichFunction = Callable[[Draft], Draft | Awaitable[Draft | None] | None]
OnFault = Literal["keep", "drop"]


class Enricher:
    """
    A function that events go through, with the rules on the events and the cost of a failure.

    Args:
        function: A plain or a coroutine function of a `Draft`, which returns the draft,
            another draft, or None for an event that is not to be tracked.

        include: Rules on Iglu URIs, of which one must match; None for all events.

        exclude: Rules of which none may match.

        on_fault: What happens to an event when the function fails: ``keep`` tracks it as
            it was before, ``drop`` does not track it.

    Attributes:
        name: The name in statistics and logs.

        is_async: Whether the result of the function must be awaited.

        rules: The rules on the events.

        loses: Whether an event is lost when the function fails.

    Raises:
        ConfigurationError: If an argument is something else.
    """

    __slots__ = ("_function", "is_async", "loses", "name", "rules")

    def __init__(
        self,
        function: EnrichFunction,
        *,
        include: Rules = None,
        exclude: Rules = None,
        on_fault: OnFault = "keep",
    ) -> None:
        is_function = callable(function) and not isinstance(function, type)
        check_argument(is_function, "enricher", function, "must be a function")
        check_argument(on_fault in ("keep", "drop"), "on_fault", on_fault, "must be 'keep' or 'drop'")
        self.rules: RuleSet = RuleSet.of(include, exclude)
        self._function = function
        self.name: str = function_name(function)
        self.is_async: bool = is_coroutine_function(function)
        self.loses: bool = on_fault == "drop"

    def __call__(self, draft: Draft) -> Any:
        """Return the result of the function, or what must be awaited for it."""
        # With a subject of its own, so that a failure does not leave half of a change.
        return self._function(draft.replace(subject=merged((draft.subject,))))

    def applied(self, draft: Draft, result: Any) -> Draft | None:  # noqa: ARG002 - as of a global context
        """
        Return the draft, or None, that *result* is, which the function has returned.

        Raises:
            WrongResultError: If *result* is something else.
        """
        if result is not None and not isinstance(result, Draft):
            raise WrongResultError(f"must return a Draft or None, not {type(result).__name__}")
        return result
