"""A Celery app whose tasks say what they would have tracked."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from celery import Celery, chain, chord, group
from celery.signals import task_failure, task_success

from snowplow_aio import MemoryEmitter, StructuredEvent, Tracker, use_subject
from snowplow_aio.integrations.celery import connect
from snowplow_aio.integrations.jobs import extract

BROKER = os.environ.get("BROKER", "redis://127.0.0.1:9/0")

# Results are for workers only: where tasks are sent, a backend would keep connections for each thread.
app = Celery("jobs", broker=BROKER, backend=os.environ.get("BROKER"), set_as_current=False)
app.conf.broker_connection_retry_on_startup = True
connect()

_meeting = threading.Barrier(2, timeout=30)


@task_success.connect
def keep_result(sender: Any, result: Any, **_: Any) -> None:
    """
    Keep how a task has ended, for who has sent it.

    Celery keeps the state of an attempt that asks for another one after it has asked. Where another
    thread has been quicker than that, the last state that it keeps is not the end.
    """
    keep(sender.request.id, {"status": "SUCCESS", "result": result})


@task_failure.connect
def keep_failure(task_id: str, exception: BaseException, **_: Any) -> None:
    """Do the same for a task that fails."""
    keep(task_id, {"status": "FAILURE", "result": repr(exception)})


def keep(task_id: str, ending: dict[str, Any]) -> None:
    """Keep how the task of this id has ended."""
    backend: Any = app.backend
    backend.client.set(f"ended-{task_id}", json.dumps(ending))


def tracked() -> list[dict[str, str]]:
    """Return the events that a tracker of the job's own tracks now."""
    emitter = MemoryEmitter()
    Tracker(emitter, namespace="jobs", app_id="jobs").track_nowait(
        StructuredEvent(category="order", action="ship")
    )
    return [payload.fields() for payload in emitter.payloads]


@app.task(name="ship")
def ship() -> Any:
    return tracked()


@app.task(name="send")
def send() -> str:
    """Send a task within a task; return its id."""
    return str(ship.delay().id)


@app.task(name="meet")
def meet() -> Any:
    """Track while a task of somebody else does."""
    found = tracked()
    for _ in range(5):
        _meeting.wait()
        found += tracked()
    return found


@app.task(name="again", bind=True, max_retries=2, default_retry_delay=0)
def again(self: Any) -> Any:
    """Fail twice before it is done."""
    if self.request.retries < 2:
        with use_subject(user_id="of-the-first-attempt"):
            self.retry()
    return tracked()


@app.task(name="gather")
def gather(results: Any) -> Any:
    return [*results, tracked()]


@app.task(name="send_chords")
def send_chords() -> list[str]:
    """Send tasks that wait for each other; return the ids of their last ones."""
    both = chord([ship.s(), again.s()])(gather.s())
    return [str(both.id), str(chain(group(ship.si(), ship.si()), gather.s())().id)]


@app.task(name="fail")
def fail() -> None:
    raise LookupError("no such order")


@app.task(name="die")
def die() -> None:
    os._exit(1)


def note() -> None:
    """Write down what is tracked now."""
    backend: Any = app.backend
    backend.client.rpush("complaints", repr(tracked()))


@app.task(name="complain")
def complain() -> None:
    """Note what is tracked when a task has failed; without arguments, this is a task of its own."""
    note()


@app.task(name="complain_at_once")
def complain_at_once(request: Any, _error: Any, _traceback: Any) -> None:
    """Do the same where the failure is seen: with these arguments, this is a call there."""
    with extract(request.headers):
        note()
