"""
Batches of events as messages of Celery; needs the extra ``celery``.

A message is made and published here and not by ``app.send_task``, because settings
of the application change what that does: routes send it elsewhere, a result backend
is loaded for a result that there is not, the protocol of Celery 3 shows the events to
monitors, a compression may be unknown to the worker, and eager tasks are a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snowplow_aio.exceptions import ConfigurationError
from snowplow_aio.runtime.foreign_text import events_text
from snowplow_aio.runtime.optional import Needs

with Needs("snowplow-aio[celery]"):
    from celery import Celery
    from celery.exceptions import QueueNotFound
    from celery.utils import uuid

DELIVER = "snowplow_aio.deliver"
DEAD = "snowplow_aio.dead"

_JSON = frozenset({"json", "application/json"})


def check_app(app: Celery) -> None:
    """
    Check that workers of *app* take what is published here.

    Raises:
        ConfigurationError: If they would throw it away, as they do with messages in a format that
            they do not accept.
    """
    accepted = app.conf.accept_content
    # None stands for Celery's default, JSON alone.
    if accepted is not None and _JSON.isdisjoint(accepted):
        rule = "accept_content must have 'json' in it, or workers of this app throw batches of events away"
        raise ConfigurationError.about("app", accepted, rule)


def publish(
    app: Celery,
    producer: Any,
    name: str,
    events: Sequence[Any],
    details: Mapping[str, Any],
    *,
    queue: str,
    **options: Any,
) -> None:
    """
    Publish *events* as the argument of the task *name*.

    Args:
        app: The app with the settings of the queue.

        producer: A producer of kombu.

        details: The other arguments of the task.

        queue: The name of the queue.

        **options: Of `Producer.publish`, like time-outs.

    Raises:
        QueueNotFound: If the app does not know the queue and must not make it.
        Exception: Errors of kombu or of the broker's client.
    """
    target = _queue(app, queue)
    exchange: Any = target.exchange
    if exchange is None or exchange.type == "direct":
        # It is reached by its name over the exchange that every broker has.
        address = ("", queue)
    else:
        address = (exchange.name, target.routing_key)
    _publish(
        app,
        producer,
        name,
        (events, details),
        {},
        exchange=address[0],
        routing_key=address[1],
        declare=[target],
        delivery_mode=getattr(exchange, "delivery_mode", None) or app.conf.task_default_delivery_mode,
        **options,
    )


def publish_again(
    app: Celery,
    producer: Any,
    request: Any,
    events: Sequence[Any],
    details: Mapping[str, Any],
    *,
    countdown: float,
    **options: Any,
) -> None:
    """Publish what is left of the batch in *request* to where that came from, for in *countdown* seconds."""
    came_by: Mapping[str, Any] = request.delivery_info or {}
    again = {"countdown": countdown, "retries": request.retries + 1, "task_id": request.id}
    _publish(
        app,
        producer,
        DELIVER,
        (events, details),
        again,
        exchange=came_by.get("exchange") or "",
        routing_key=came_by["routing_key"],
        delivery_mode=app.conf.task_default_delivery_mode,
        **options,
    )


def _publish(
    app: Celery,
    producer: Any,
    name: str,
    arguments: tuple[Sequence[Any], Mapping[str, Any]],
    header: dict[str, Any],
    **options: Any,
) -> None:
    events, details = arguments
    message: Any = app.amqp.as_task_v2(
        header.pop("task_id", None) or uuid(),
        name,
        args=(events,),
        kwargs=dict(details),
        ignore_result=True,
        # What logs and monitors show: nothing of an event.
        argsrepr=f"<{events_text(len(events))}>",
        kwargsrepr="{}",
        **header,
    )
    producer.publish(
        message.body, headers=message.headers, serializer="json", **message.properties, **options
    )


def _queue(app: Celery, name: str) -> Any:
    try:
        return app.amqp.queues[name]
    except KeyError:
        raise QueueNotFound(name) from None
