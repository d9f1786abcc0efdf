"""The switch: whether values are checked against the rules of the pipeline."""

from __future__ import annotations

from contextvars import ContextVar, Token


class _Switch:
    """What the two functions return: leaving it as a context manager restores what was before."""

    def __init__(self, *, enabled: bool) -> None:
        global _process_is_validating  # noqa: PLW0603 - the switch of the process
        self._enabled = enabled
        self._before = _process_is_validating
        self._token: Token[bool | None] | None = None
        _process_is_validating = enabled

    def __enter__(self) -> None:
        global _process_is_validating  # noqa: PLW0603
        # Used with `with` it is meant for this task alone.
        _process_is_validating = self._before
        self._token = _task_is_validating.set(self._enabled)

    def __exit__(self, *_error: object) -> None:
        if self._token is not None:
            _task_is_validating.reset(self._token)


_process_is_validating = True
_task_is_validating: ContextVar[bool | None] = ContextVar("snowplow_aio.model.validation", default=None)


def disable_validation() -> _Switch:
    """
    Skip this library's checks of values from now on; what pydantic checks of types stays.

    A plain call is for the whole process. ``with disable_validation():`` is for
    this task and the tasks that it starts, whatever is called plainly meanwhile.
    What the pipeline refuses is then lost there, after the collector has said
    200: that event and no other.
    """
    return _Switch(enabled=False)


def enable_validation() -> _Switch:
    """Check values again from now on: the counterpart of `disable_validation`, used in the same ways."""
    return _Switch(enabled=True)


def is_validating() -> bool:
    """Return whether values are to be checked, in this task."""
    own = _task_is_validating.get()
    return _process_is_validating if own is None else own
