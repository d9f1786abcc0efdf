"""
What is bound to a task: its scope, its subject and its entities.

A scope is the surroundings in which events are tracked, a web request for
instance. What it knows holds for every event that is tracked meanwhile, unless
a nearer subject or the event itself says otherwise. A scope is asked only when
an event is tracked, so a request without events costs next to nothing.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any, Literal, TypeVar, Unpack
from weakref import ref

from snowplow_aio.exceptions import InvalidEventError
from snowplow_aio.model.old_names import refuse_unknown
from snowplow_aio.model.subject import Subject, SubjectFields, layered, subject_with
from snowplow_aio.runtime.bindings import Bindings
from snowplow_aio.tracking.global_contexts import ContextSource, GlobalContext, Rules

_Result = TypeVar("_Result")

Permission = Literal["all", "anonymous", "nothing"]
"""What may be tracked within a scope: events, anonymous events, or nothing."""


class TrackingScope(ABC):
    """What is known of all events that are tracked now; its methods may be called from any thread."""

    __slots__ = ()

    @abstractmethod
    def permission(self) -> Permission:
        """Return what may be tracked; with ``nothing``, `track` checks an event and does not hand it over."""

    @abstractmethod
    def fields(self) -> Mapping[str, str]:
        """
        Return the protocol fields of the subject; none of them is empty.

        They stand between the tracker's subject and the one of `use_subject`.
        """

    @abstractmethod
    def page(self) -> Mapping[str, str]:
        """Return ``url`` and ``refr``, as far as they are known, for events without a page of their own."""

    def is_about(self, other: TrackingScope) -> bool:
        """Return whether what is bound for this scope, such as a user, holds for *other* as well."""
        return self is other


class ScopeOfTask(TrackingScope):
    """
    A scope that holds in the task that binds it. Everywhere else it is as if none were bound.

    Args:
        scope: The scope; None after `end`.
    """

    __slots__ = ("_scope", "_task")

    def __init__(self, scope: TrackingScope) -> None:
        self._scope: TrackingScope | None = scope
        task = _running_task()
        # Contexts with this scope may live as long as a connection, and keep no task alive.
        self._task: ref[asyncio.Task[Any]] | None = None if task is None else ref(task)

    def here(self) -> TrackingScope | None:
        """Return the scope if the caller is its task, else None."""
        task = _running_task()
        is_here = task is None if self._task is None else task is not None and self._task() is task
        return self._scope if is_here else None

    def end(self) -> None:
        """Hold nowhere any more."""
        self._scope = None

    def is_about(self, other: TrackingScope) -> bool:  # noqa: D102 - see TrackingScope
        scope = self.here()
        return scope is None or scope.is_about(other)

    def permission(self) -> Permission:  # noqa: D102 - see TrackingScope
        scope = self.here()
        return "all" if scope is None else scope.permission()

    def fields(self) -> Mapping[str, str]:  # noqa: D102 - see TrackingScope
        scope = self.here()
        return {} if scope is None else scope.fields()

    def page(self) -> Mapping[str, str]:  # noqa: D102 - see TrackingScope
        scope = self.here()
        return {} if scope is None else scope.page()


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        # A thread without a loop.
        return None


bound_scope: ContextVar[TrackingScope | None] = ContextVar("snowplow_aio.scope", default=None)


def current_scope() -> TrackingScope | None:
    """Return the scope that holds here, or None."""
    scope = bound_scope.get()
    return scope.here() if isinstance(scope, ScopeOfTask) else scope


@contextmanager
def held(scope: TrackingScope) -> Generator[None]:
    """Bind *scope* for a block, in which nothing else of the task runs."""
    before = bound_scope.get()
    bound_scope.set(scope)
    try:
        yield
    finally:
        # A block that awaits may be closed in another context.
        if bound_scope.get() is scope:
            bound_scope.set(before)


@contextmanager
def held_apart(scope: TrackingScope) -> Generator[None]:
    """
    Bind *scope* for a block, in which nothing else of the task runs.

    What is bound for the visitor of another request does not hold in it.
    """
    here = bound_scope.get()
    if here is None or here is scope or here.is_about(scope) or scope.is_about(here):
        with held(scope):
            yield
        return
    undo = bind_alone(scope, None, ())
    try:
        yield
    finally:
        undo()


_subjects: Bindings[Subject, Subject] = Bindings("snowplow_aio.subject", layered)

bound_subject: ContextVar[Subject | None] = _subjects.current


def _joined(layers: Sequence[tuple[GlobalContext, ...]]) -> tuple[GlobalContext, ...]:
    return tuple(chain.from_iterable(layers))


_contexts: Bindings[tuple[GlobalContext, ...], tuple[GlobalContext, ...]] = Bindings(
    "snowplow_aio.contexts", _joined
)

bound_contexts: ContextVar[tuple[GlobalContext, ...] | None] = _contexts.current


def current_subject() -> Subject | None:
    """
    Return the subject that `use_subject`, or a web request, has bound for this task.

    Returns:
        A subject; None if nothing is bound. Of a visitor who did not permit all, it has nothing.
    """
    scope, bound = current_scope(), bound_subject.get()
    if scope is None:
        return bound
    # Nothing of a visitor who said no, and no id of one who wants to be anonymous, is handed on.
    permission = scope.permission()
    visitor = subject_with(scope.fields() if permission == "all" else {})
    # A copy, because what is bound must not be changed.
    return visitor if bound is None else layered((visitor, bound))


@contextmanager
def use_subject(
    subject: Subject | None = None, /, **fields: Unpack[SubjectFields]
) -> Generator[Subject, None, None]:
    """
    Bind a subject for this task and the tasks that it starts.

    The fields go before those of the tracker's subject. A subject that is bound
    inside adds to the one outside, which itself never changes. Use it in a
    ``with`` statement or as a decorator.

    It holds where it is entered: in the same context. A dependency that is an async
    generator binds for its request; a plain generator, which frameworks run in a
    thread, binds only there. Leaving it in another context harms nothing.

    Args:
        subject: Fields to bind.

        **fields: More fields, with the names of `Subject`. `CLEAR` removes what the
            tracker's subject has set.

    Yields:
        The subject that is bound.

    Raises:
        InvalidEventError: If a value breaks a rule of `Subject`.
        TypeError: If a field has another name.

    Example:
        Say whose request is being answered::

            with use_subject(user_id="u-42"):
                await tracker.track(PageView(page_url="https://shop.example/"))
    """
    if not (subject is None or isinstance(subject, Subject)):
        raise InvalidEventError.about("subject", subject, "must be a Subject")
    refuse_unknown("use_subject", fields, SubjectFields.__annotations__)
    own = Subject(**fields)
    key = object()
    try:
        yield _subjects.bind(key, own if subject is None else layered((subject, own)))
    finally:
        _subjects.unbind(key)


@contextmanager
def use_context(
    *context: ContextSource, include: Rules = None, exclude: Rules = None
) -> Generator[None, None, None]:
    """
    Bind entities to all events that this task, and the tasks that it starts, track meanwhile.

    The entities stand behind those of the call and before those of the tracker.
    Entities that are bound inside are added to those outside. For dependencies of
    web frameworks, the same holds as for `use_subject`.

    Args:
        *context: Each is what `Tracker.add_global_context` takes: an entity, a sequence of
            entities, or a function that makes them.

        include: A rule, or a sequence of rules, on the Iglu URIs of events, of which one must
            match; None for all events.

        exclude: Rules of which none may match.

    Raises:
        ConfigurationError: If an argument is something else.

    Example:
        Send an entity with all events of one page view::

            with use_context(WebPage()):
                await tracker.track(PageView(page_url="https://shop.example/"))
                await tracker.track(LinkClick(target_url="https://shop.example/cart"))
    """
    added = tuple(GlobalContext(source, include=include, exclude=exclude) for source in context)
    key = object()
    try:
        _contexts.bind(key, added)
        yield
    finally:
        _contexts.unbind(key)


def bind_alone(
    scope: TrackingScope, subject: Subject | None, contexts: tuple[GlobalContext, ...]
) -> Callable[[], None]:
    """
    Bind these instead of all that is bound here.

    Returns:
        A function that binds again what was bound before. Called in a context in which *scope*
        is not bound, it does nothing.
    """
    before, subjects, entities = bound_scope.get(), _subjects.layers.get(), _contexts.layers.get()
    key = object()
    bound_scope.set(scope)
    _subjects.put(() if subject is None else ((key, subject),))
    _contexts.put(((key, contexts),) if contexts else ())

    def undo() -> None:
        if bound_scope.get() is scope:
            bound_scope.set(before)
            _subjects.put(subjects)
            _contexts.put(entities)

    return undo


class Outside:
    """
    What was bound where this object was made, to go back to it for a while.

    A server may start the next request of a connection in the context in which the response of this one
    is sent: uvicorn and daphne do so with requests that are pipelined, and after bodies for which they
    had paused. What a request has bound must not get there.
    """

    __slots__ = ("_contexts", "_subjects")

    def __init__(self) -> None:
        self._subjects = _subjects.layers.get()
        self._contexts = _contexts.layers.get()

    async def call(self, function: Callable[..., Awaitable[_Result]], *given: object) -> _Result:
        """
        Call *function* with subjects and entities as they were outside, and await it.

        The scope holds on, but in the current task only: other middleware may track there.
        """
        scope = bound_scope.get()
        if scope is None:
            return await function(*given)
        here = ScopeOfTask(scope)
        bound_scope.set(here)
        subjects, contexts = _subjects.layers.get(), _contexts.layers.get()
        is_bound = subjects is not self._subjects or contexts is not self._contexts
        if is_bound:
            _subjects.put(self._subjects)
            _contexts.put(self._contexts)
        try:
            return await function(*given)
        finally:
            # A call that nobody has awaited to its end is closed in any context.
            if bound_scope.get() is here:
                bound_scope.set(scope)
                if is_bound:
                    _subjects.put(subjects)
                    _contexts.put(contexts)
            here.end()
