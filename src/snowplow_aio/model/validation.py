"""The switch for validation: whether values are checked against the rules of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import ref

from snowplow_aio.runtime.bindings import Bindings


class _Switch:
    """The result of the two functions; a context manager, which restores the former state when it is left."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled: bool = enabled
        _calls.append((ref(self), enabled))
        _forget_older_calls()

    def __enter__(self) -> None:
        # In a `with` statement it is for this task alone, and was no plain call.
        _calls[:] = [call for call in _calls if call[0]() is not self]
        _of_task.bind(self, self.enabled)

    def __exit__(self, *_error: object) -> None:
        _of_task.unbind(self)


def _last(switches: Sequence[bool]) -> bool:
    return switches[-1]


# The calls that hold for the process, of which the last counts. One whose result is still there may
# turn out to be for a `with` statement.
_calls: list[tuple[ref[_Switch], bool]] = []


def _forget_older_calls() -> None:
    """Forget the calls that no later one can bring back."""
    ended = [call for call in _calls if call[0]() is None]
    for call in ended[:-1]:
        _calls.remove(call)


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
    if own is not None:
        return own
    return _calls[-1][1] if _calls else True
