"""Context across taskiq tasks: what a task tracks is about the visitor whose request has sent it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from snowplow_aio.integrations.jobs import HEADER, bind, inject
from snowplow_aio.runtime.optional import Needs

with Needs("taskiq"):
    from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult

__all__ = ["SnowplowMiddleware"]

# Tasks of a broker in memory may run within each other.
_undo: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("snowplow_aio.taskiq", default=())


class SnowplowMiddleware(TaskiqMiddleware):
    """
    Has the tasks of a broker carry the context of what sends them.

    Add it to the broker, which the processes that send tasks and the workers both import. Add it
    first: then what other middleware tracks is about the visitor, too. The context is a label
    ``snowplow-context``; one that is given by ``with_labels`` goes before what is bound. A retry has
    that of the task.

    A task that a scheduler sends, or that comes without the label, is about nobody. With a
    pool of processes for plain functions, nothing is bound in these processes.

    Example:
        >>> broker = broker.with_middlewares(SnowplowMiddleware())
    """

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:  # noqa: D102 - see TaskiqMiddleware
        if HEADER not in message.labels:
            # A new dict, because the old one may be that of all messages of the task.
            message.labels = {**message.labels, **inject()}
        return message

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:  # noqa: D102 - see TaskiqMiddleware
        _undo.set((*_undo.get(), bind(message.labels)))
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:  # noqa: ARG002, D102 - see TaskiqMiddleware
        if bound := _undo.get():
            _undo.set(bound[:-1])
            bound[-1]()
