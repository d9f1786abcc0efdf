"""
Context across jobs: the visitor of a request goes with the work that it causes.

`inject` puts what is bound where a job is sent into a header of its message, and `extract`
binds it where the job is done. For Celery, taskiq and arq there are modules that do both.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar, overload

from snowplow_aio.integrations.job_header import JobContext, read, written
from snowplow_aio.model.arguments import check_argument
from snowplow_aio.tracking.scope import (
    Permission,
    TrackingScope,
    bind_alone,
    bound_contexts,
    bound_subject,
    current_scope,
)

__all__ = ["HEADER", "extract", "inject"]

HEADER: Final = "snowplow-context"
"""The name of the header."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Headers = Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None
"""The headers of a message: names and values are strings or bytes."""


@overload
def inject(headers: None = None) -> dict[str, str]: ...


@overload
def inject(headers: Mapping[_Key, _Value]) -> dict[_Key | str, _Value | str]: ...


@overload
def inject(headers: Sequence[tuple[_Key, _Value]]) -> list[tuple[_Key | str, _Value | bytes]]: ...


def inject(headers: Any = None) -> Any:
    """
    Return headers for the message of a job, with the context of the code that sends it.

    The context is what may be tracked, the visitor and the page of the web request, and the
    subjects and entities that are bound. It is one header, ``snowplow-context``, of at most
    16,384 bytes of printable ASCII. Entities that do not fit are left out, and a line a minute
    is logged about them. Functions that `use_context` has bound are not carried, because they
    need an event. Of a visitor who may be tracked anonymously only, no identifying field is in
    it, and of one who may not be tracked, nothing.

    Args:
        headers: Other headers of the message, which stay as they are. If nothing is bound, that
            holds for a ``snowplow-context`` among them, too; otherwise it is replaced.

    Returns:
        A dict of strings. Given a sequence of pairs, as clients of Kafka take them, a list of
        pairs, in which the value is bytes.

    Raises:
        ConfigurationError: If *headers* are neither a mapping nor a sequence of pairs.

    Example:
        Send a message with aio-pika, and one with aiokafka::

            await exchange.publish(Message(body, headers=inject()), routing_key="orders")
            await producer.send("orders", body, headers=inject([]))
    """
    if headers is None or isinstance(headers, Mapping):
        own = dict(headers or {})
        text = written(_current())
        return {name: own[name] for name in own if not _is_own(name)} | {HEADER: text} if text else own
    is_list = isinstance(headers, list | tuple) and all(_is_pair(header) for header in headers)
    # Not shown: some headers are secrets.
    rule = "must be a mapping, a list of pairs, or None"
    check_argument(is_list, "headers", type(headers).__name__, rule)
    text = written(_current())
    others = [header for header in headers if not text or not _is_own(header[0])]
    return [*others, (HEADER, text.encode())] if text else others


@contextmanager
def extract(headers: Headers) -> Generator[None, None, None]:
    """
    Bind the context that `inject` has put into *headers*, for the job that they came with.

    Events that are tracked in the block are about the visitor and the page of the request that
    has caused the job, with what was bound there, and only what this visitor permits is
    tracked. Whatever is bound outside of the block does not hold in it: if the
    header is missing, the events are about nobody. The block may ``await``, and be left in
    another context than it was entered in.

    It never raises. Each value in the header is checked, as those of a `Subject` are, and left
    out if it breaks a rule. If the header is there and not even what may be tracked can be
    read, nothing is tracked in the block, and a line a minute is logged about it.

    Headers of a visitor's own request must not be given to it: they can name any user.

    Args:
        headers: The headers of the message: a mapping, pairs, or None for a message without
            any. Names and values are strings or bytes.

    Example:
        Receive a message with aio-pika::

            async with message.process():
                with extract(message.headers):
                    await ship(message.body)
    """
    undo = bind(headers)
    try:
        yield
    finally:
        undo()


def bind(headers: Headers) -> Callable[[], None]:
    """Bind the context in *headers*, as `extract` does, and return a function that undoes it."""
    context = read(_own_values(headers))
    return bind_alone(JobScope(context), context.subject, context.contexts)


class JobScope(TrackingScope):
    """
    The visitor and the page of the request that has caused a job.

    Args:
        context: The context that was carried.
    """

    __slots__ = ("_context",)

    def __init__(self, context: JobContext) -> None:
        self._context = context

    def permission(self) -> Permission:
        return self._context.permission

    def fields(self) -> Mapping[str, str]:
        return self._context.visitor

    def page(self) -> Mapping[str, str]:
        return self._context.page


def _current() -> JobContext:
    """Return what is bound here."""
    scope, subject, contexts = current_scope(), bound_subject.get(), bound_contexts.get() or ()
    if scope is None:
        return JobContext(subject=subject, contexts=contexts)
    permission = scope.permission()
    if permission == "nothing":
        # Nothing of this visitor is even read.
        return JobContext(permission=permission)
    return JobContext(
        permission=permission,
        visitor=scope.fields(),
        subject=subject,
        page=scope.page(),
        contexts=contexts,
    )


def _own_values(headers: Any) -> list[object]:
    """Return the values of all headers of our name; of headers that cannot be read, one that cannot be."""
    if headers is None:
        return []
    if isinstance(headers, str | bytes):
        return [None]
    try:
        # Headers of some clients are not registered as mappings.
        items = getattr(headers, "items", None)
        pairs = headers if items is None else items()
        return [header[1] for header in pairs if _is_pair(header) and _is_own(header[0])]
    except Exception:  # noqa: BLE001 - they come from outside
        return [None]


def _is_pair(header: Any) -> bool:
    return isinstance(header, list | tuple) and len(header) == 2


def _is_own(name: object) -> bool:
    """Return whether *name* is that of our header; some clients change the case of names."""
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    return isinstance(text, str) and text.lower() == HEADER
