"""
A Celery worker whose tasks track what they do.

Tasks are plain functions, and Celery runs no event loop: each process of the
pool has one in a thread of its own, in which the events are delivered.
"""

import os
from contextlib import ExitStack
from typing import Any

from anyio.from_thread import start_blocking_portal
from celery import Celery, current_task
from celery.signals import worker_process_init, worker_process_shutdown

from snowplow_aio import HttpEmitter, StructuredEvent, Tracker, use_subject

BROKER = os.environ.get("BROKER", "redis://127.0.0.1:6379/0")
COLLECTOR = os.environ.get("COLLECTOR", "http://127.0.0.1:9090")

app = Celery("worker", broker=BROKER)
# Made before Celery forks: each process then has a store of its own, and needs a loop only now.
tracker = Tracker(HttpEmitter(COLLECTOR), namespace="jobs", app_id="shop-jobs", platform="srv")
delivery = ExitStack()


@worker_process_init.connect
def begin(**_: Any) -> None:
    """Start the thread with the loop, and the delivery in it."""
    portal = delivery.enter_context(start_blocking_portal())
    delivery.enter_context(portal.wrap_async_context_manager(tracker))


@worker_process_shutdown.connect
def end(**_: Any) -> None:
    """Close the tracker, which sends what is left, and end the thread."""
    delivery.close()


@app.task(name="ship", acks_late=True)
def ship(order_id: str, user_id: str) -> None:
    """Ship an order."""
    # ... the work ...
    shipped = StructuredEvent(category="order", action="ship", label=order_id)
    with use_subject(user_id=user_id):
        # A task of a worker that died is done once more; with its own id its event stays one event.
        tracker.track_nowait(shipped, event_id=current_task.request.id)
