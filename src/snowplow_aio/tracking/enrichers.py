"""Functions that events go through before they are accepted: to change them, or to leave them out."""

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
    A function that events go through, and what becomes of one when it fails.

    Args:
        function: A plain or a coroutine function of a `Draft`, which returns it,
            another one, or None for an event that is not to be tracked.

        include: Rules on Iglu URIs, of which one must match; None for all events.

        exclude: Rules of which none may match.

        on_fault: Whether an event is kept as it was, or dropped, when the function fails.

    Attributes:
        name: What statistics and logs call it.

        is_async: Whether what the function returns must be awaited.

        rules: The events it is for.

        loses: Whether its failure costs the event.

    Raises ConfigurationError when one of them is something else.
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
        """Return what the function returns, or what must be awaited for it."""
        # With a subject of its own, so that a failure leaves no half of a change.
        return self._function(draft.replace(subject=merged([draft.subject])))

    def applied(self, draft: Draft, result: Any) -> Draft | None:  # noqa: ARG002 - as of a global context
        """
        Return what becomes of *draft* by the *result* of the function.

        Raises WrongResultError when that is neither a draft nor None.
        """
        if result is not None and not isinstance(result, Draft):
            raise WrongResultError(f"must return a Draft or None, not {type(result).__name__}")
        return result
