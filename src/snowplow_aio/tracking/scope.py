"""
On what occasion events are tracked: a web request, for instance.

What an occasion says holds for every event tracked during it, unless the event
itself or a subject that is nearer says otherwise. It is asked when an event is
tracked, so that one without events costs next to nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.subject import Subject, subject_with

Permission = Literal["all", "anonymous", "nothing"]
"""What may be tracked on an occasion: events, anonymous events, or none."""


class TrackingScope(ABC):
    """What is known of all events that are tracked now; its methods may be called from any thread."""

    __slots__ = ()

    @abstractmethod
    def permission(self) -> Permission:
        """Return what may be tracked; where it is nothing, `track` does all but hand the event over."""

    @abstractmethod
    def fields(self) -> Mapping[str, str]:
        """
        Return the protocol fields of whom events are about; none of them is empty.

        They stand between the tracker's subject and the one of `use_subject`.
        """

    @abstractmethod
    def page(self) -> Mapping[str, str]:
        """Return ``url`` and ``refr``, where they are known, for events that have none."""


bound_scope: ContextVar[TrackingScope | None] = ContextVar("snowplow_aio.tracking.scope", default=None)

bound_subject: ContextVar[Subject | None] = ContextVar("snowplow_aio.model.subject", default=None)


def current_subject() -> Subject | None:
    """Return the subject that `use_subject`, or a web request, bound for this task, or None."""
    scope, bound = bound_scope.get(), bound_subject.get()
    if scope is None:
        return bound
    # A copy: nobody changes what is bound.
    layers = [layer for layer in (subject_with(scope.fields()), bound) if layer is not None]
    values = {name: value for layer in layers for name, value in layer._values.items()}  # noqa: SLF001
    fields = {key: value for layer in layers for key, value in layer._fields.items()}
    return Subject._of(values, fields)  # noqa: SLF001 - likewise


@contextmanager
def use_subject(subject: Subject | None = None, /, **fields: Any) -> Generator[Subject, None, None]:
    """
    Bind a subject for this task and the tasks it starts, over the tracker's own.

    Binding again inside adds to what is bound; nothing bound is ever changed.

    Args:
        subject: Fields to bind.

        **fields: More of them, with the names of `Subject`.

    Raises InvalidEventError when a value breaks a rule of `Subject`, TypeError for an unknown name.
    """
    if not (subject is None or isinstance(subject, Subject)):
        raise InvalidEventError.about("subject", subject, "must be a Subject")
    layers = [layer for layer in (bound_subject.get(), subject, Subject(**fields)) if layer is not None]
    bound = Subject(**{name: value for layer in layers for name, value in layer._values.items()})  # noqa: SLF001
    token = bound_subject.set(bound)
    try:
        yield bound
    finally:
        bound_subject.reset(token)
