"""
Context across Celery tasks: what a task tracks is about the visitor whose request has sent it.

This is about events of your tasks. `CeleryEmitter` has Celery carry the events of any service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from snowplow_aio.integrations.jobs import HEADER, bind, inject
from snowplow_aio.runtime.optional import Needs

with Needs("snowplow-aio[celery]"):
    from celery import current_task, signals

__all__ = ["connect"]

# By the request of a task: ids of tasks are not unique, as a broker may deliver a message twice.
_undo: WeakKeyDictionary[Any, Callable[[], None]] = WeakKeyDictionary()


def connect() -> None:
    """
    Have all Celery tasks that this process sends or runs carry the context of what sends them.

    Call it once in the module that makes the Celery app, which the processes that send tasks
    and the workers both import. It holds for all apps of the process, for tasks of tasks, for retries,
    chains, groups and chords, and in every pool. A header ``snowplow-context`` that is given to
    `apply_async` goes before what is bound.

    A task that is run at once, by `apply` or with ``task_always_eager``, is within what is bound where
    it is called. A task that comes without the header, from celery beat for instance, is about nobody.

    Example:
        >>> app = Celery("shop", broker="redis://redis.example.com:6379/1")
        >>> connect()
    """
    # Functions of a module are kept by nobody else, and are connected once however often this is called.
    signals.before_task_publish.connect(_before_publish, weak=False)
    signals.task_prerun.connect(_before_run, weak=False)
    signals.task_postrun.connect(_after_run, weak=False)


def _before_publish(headers: dict[str, Any] | None = None, body: Any = None, **_: Any) -> None:
    if headers is None:
        return
    # The first protocol of Celery has all of a task in its body, the second one most of it in headers.
    details, links = (body, body) if isinstance(body, dict) else (headers, body[2])
    if HEADER not in headers:
        # False outside of tasks.
        running: Any = current_task
        if running and _is_retry(running.request, details):
            # Celery keeps headers in retries, unless one of them is named "headers".
            headers.update(_carried(running.request) or {})
        else:
            headers.update(inject())
    if HEADER in headers and isinstance(headers.get("headers"), dict):
        # These, which Sentry adds for one, are all that `request.headers` of the task then has.
        headers["headers"] = {HEADER: headers[HEADER], **headers["headers"]}
    if HEADER in headers and links.get("errbacks"):
        # If the process of the task is killed, these are sent by one that knows nothing of it.
        links["errbacks"] = [_with_header(task, headers[HEADER]) for task in links["errbacks"]]


def _with_header(signature: Mapping[str, Any], header: str) -> dict[str, Any]:
    """Return a *signature* as it is sent, with *header* unless it has one of its own."""
    options = signature.get("options") or {}
    headers = {HEADER: header, **(options.get("headers") or {})}
    return {**signature, "options": {**options, "headers": headers}}


def _is_retry(running: Any, details: Mapping[str, Any]) -> bool:
    return bool(running.id == details.get("id") and details.get("retries", 0) > running.retries)


def _carried(request: Any) -> dict[str, Any] | None:
    """Return the header that the task of *request* was sent with, or None."""
    # Headers of a message are attributes of the request; those of a call of `apply` are in its headers.
    for headers in (vars(request), request.headers):
        if isinstance(headers, dict) and HEADER in headers:
            return {HEADER: headers[HEADER]}
    return None


def _before_run(task: Any, **_: Any) -> None:
    carried = _carried(task.request)
    if carried is not None or not task.request.is_eager:
        _undo[task.request] = bind(carried)


def _after_run(task: Any, **_: Any) -> None:
    undo = _undo.pop(task.request, None)
    if undo is not None:
        undo()
