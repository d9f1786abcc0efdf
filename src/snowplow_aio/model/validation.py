"""The switch for validation: whether values are checked against the rules of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from snowplow_aio.runtime.bindings import Bindings


class _Switch:
    """The result of the two functions; a context manager, which restores the former state when it is left."""

    def __init__(self, *, enabled: bool) -> None:
        global _process_is_validating  # noqa: PLW0603 - the switch of the process
        self._enabled = enabled
        self._before = _process_is_validating
        _process_is_validating = enabled

    def __enter__(self) -> None:
        global _process_is_validating  # noqa: PLW0603
        # In a `with` statement it is for this task alone.
        _process_is_validating = self._before
        _of_task.bind(self, self._enabled)

    def __exit__(self, *_error: object) -> None:
        _of_task.unbind(self)


def _last(switches: Sequence[bool]) -> bool:
    return switches[-1]


_process_is_validating = True
_of_task: Bindings[bool, bool] = Bindings("snowplow_aio.model.validation", _last)
_task_is_validating = _of_task.current


def disable_validation() -> _Switch:
    """
    Stop checking values against the rules of the pipeline; types are still checked.

    A plain call is for the whole process. ``with disable_validation():`` is for this
    task and the tasks that it starts, and goes before plain calls. An event that
    breaks a rule is then sent, and the pipeline loses it after the collector has
    answered 200; other events are not affected. Leaving it in another context than
    it was entered in, as a framework may do, harms nothing.

    Returns:
        A context manager that restores the former state when it is left.

    Example:
        Track an event with a title that is too long::

            with disable_validation():
                await tracker.track(PageView(page_url="https://shop.example/", page_title="x" * 3000))
    """
    return _Switch(enabled=False)


def enable_validation() -> _Switch:
    """
    Check values again; the counterpart of `disable_validation`, for the same uses.

    Returns:
        A context manager that restores the former state when it is left.
    """
    return _Switch(enabled=True)


def is_validating() -> bool:
    """Return whether values are to be checked, in this task."""
    own = _task_is_validating.get()
    return _process_is_validating if own is None else own
