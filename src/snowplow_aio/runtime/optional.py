"""Imports of packages that are not installed with this one alone."""

from __future__ import annotations

from types import TracebackType


class Needs:
    """
    Imports optional packages; the error about one that is missing says how to install it.

    Args:
        requirement: What to install, in the words of pip.

    Example:
        Import what an extra brings::

            with Needs("snowplow-aio[micro]"):
                import jsonschema
    """

    def __init__(self, requirement: str) -> None:
        self._requirement = requirement

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("snowplow_aio"):
            message = f"No module named {error.name!r}; it comes with: pip install '{self._requirement}'"
            raise ModuleNotFoundError(message, name=error.name) from None
